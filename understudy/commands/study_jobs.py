"""The runs of a study as jobs, for executors that do several at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from understudy.commands.study_failures import reason_of
from understudy.commands.study_folder import StudyRun
from understudy.core.errors import FullDiskError, InputError
from understudy.core.executors.job import Job
from understudy.core.files import write_text
from understudy.pipeline.run import run
from understudy.settings import with_section


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StudyRunJob(Job):
    """A run whose images were read already; its last file is ``results.json``, or the reason why it failed.

    Attributes:
        one: the run.
        device: torch device.
    """

    one: StudyRun
    device: str

    @property
    def name(self) -> str:
        return f"run {self.one.name}"

    @property
    def threads(self) -> None:
        """A run uses all threads that a worker has."""

    @property
    def reads(self) -> Sequence[Path]:
        return (self.one.path,)

    @property
    def is_done(self) -> bool:
        """Whether the run is finished, or has failed."""
        return self.one.is_finished or self._failure.exists()

    @property
    def _failure(self) -> Path:
        return self.one.path / "failed.txt"

    def steps(self) -> Iterator[int]:
        """Do what the run lacks; yields 1 at its end."""
        settings = with_section(self.one.settings, "compute", executor="local")
        try:
            run(settings, self.one.path, device=self.device)
        except FullDiskError:  # another machine may have room
            raise
        except (InputError, MemoryError, RuntimeError) as error:
            if (reason := reason_of(error)) is None:
                raise
            write_text(self._failure, reason)
        yield 1

    def forget(self) -> None:
        """Let a run that failed earlier be tried again."""
        self._failure.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise the error of a run that failed.

        Raises:
            InputError: with the reason.
        """
        if self._failure.exists():
            reason = self._failure.read_text(encoding="utf-8")
            self.forget()
            raise InputError(reason)
