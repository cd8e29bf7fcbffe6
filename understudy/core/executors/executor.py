"""The contract of executors, which do jobs in this process, in others, or on other machines."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final

from understudy.core.errors import InputError
from understudy.core.executors.job import Job
from understudy.core.registry import Registry
from understudy.core.settings import ComputeSettings


@final
@dataclass(frozen=True, kw_only=True)
class Terms:
    """What an executor needs to know besides the jobs.

    Attributes:
        root: folder of the run, which holds all files that jobs read and write; an absolute path.
        compute: number of workers and so on.
        device: torch device.
        memory: gigabytes for decoded images, of all workers of a machine; None for a share of what is free.
        needs: files and folders outside of the run that jobs load; absolute paths.
        say: receives messages for the user.
    """

    root: Path
    compute: ComputeSettings
    device: str
    memory: float | None = None
    needs: tuple[Path, ...] = ()
    say: Callable[[str], object] = lambda line: None


class Executor(Protocol):
    """Does jobs that are not done yet."""

    def check(self, terms: Terms) -> None:
        """Check, before any work starts, that workers can do it.

        Raises:
            InputError: if they cannot.
        """

    def clear(self, root: Path) -> None:
        """Remove what a process that was killed has left in a folder, and end what still works there.

        Args:
            root: folder of a run or of a study, in which no other process works.

        Raises:
            InputError: if something may still work there and cannot be ended from here.
        """

    def do(self, jobs: Sequence[Job], terms: Terms) -> Generator[int, None, None]:
        """Do the jobs in any order; yields progress in units of the bar.

        Closing the generator stops the work. What is finished by then keeps its files.

        Args:
            jobs: at least one, and none of them done.
            terms: see :class:`Terms`.

        Raises:
            InputError: that of a job; other errors of jobs are raised again too.
        """


def check_names_known() -> None:
    """Check that other processes know every name that this one has registered.

    Raises:
        InputError: if code outside the package has registered names.
    """
    if Registry.has_outsiders:
        raise InputError(
            "your code has registered names, which other processes do not know: use --executor local"
        )


EXECUTORS: Registry[Callable[[], Executor]] = Registry("executor")
"""The files beside this one register; :mod:`understudy.core.executors.do` imports them all."""
