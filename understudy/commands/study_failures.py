"""Points of a study that cannot be run: they stop the study, or become a line of its result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

from understudy.commands.study_kinds import Point, StudyKind, label_of
from understudy.core.errors import InputError
from understudy.core.micro_batch import is_out_of_memory
from understudy.core.processes import Processes
from understudy.core.progress import Observer


@final
class Failures:
    """Why points could not be run.

    Args:
        kind: of the study; unless it ranks its points, every error stops it.
        observer: is told each reason once.

    Attributes:
        reasons: by point.

    Raises:
        InputError: for a kind that ranks, if several processes share the work: the others would not know what
            failed in the first.
    """

    def __init__(self, kind: StudyKind, observer: Observer) -> None:
        if kind.ranks and Processes().count > 1:
            raise InputError("this study needs a single process: start it without accelerate launch")
        self.reasons: dict[Point, str] = {}
        self._kind, self._observer = kind, observer

    @contextmanager
    def of(self, point: Point) -> Iterator[None]:
        """Work for a point; the reason why it cannot be done is remembered instead of raised."""
        try:
            yield
        except (InputError, MemoryError, RuntimeError) as error:
            reason = reason_of(error)
            if not self._kind.ranks or reason is None:
                raise
            if point not in self.reasons:
                self._observer.say(f"study: {label_of(point)} is left out: {reason}")
            self.reasons[point] = reason

    def check(self, asked: Sequence[Any]) -> None:
        """Check that some of the runs can be done.

        Args:
            asked: runs with a ``point`` each.

        Raises:
            InputError: with all reasons; the common one, if there is only one.
        """
        if not self.reasons or any(one.point not in self.reasons for one in asked):
            return
        reasons = list(dict.fromkeys(self.reasons.values()))
        if len(reasons) == 1:
            raise InputError(reasons[0])
        lines = "\n".join(f"  {label_of(point)}: {reason}" for point, reason in self.reasons.items())
        raise InputError(f"no {self._kind.unit} can be used:\n{lines}")


def reason_of(error: Exception) -> str | None:
    """The reason why a run failed, for users; None for a fault of the program."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out_of_memory(error)):
        return f"memory ran out ({(str(error).splitlines() or ['MemoryError'])[0]})"
    return None
