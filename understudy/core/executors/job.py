"""A job: work whose result is files, done by whichever process is free."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from understudy.core.threads import one_thread


class Job(ABC):
    """Work that depends neither on the process that does it nor on other jobs, and can be pickled.

    It may be done twice: the files are the same.

    Attributes:
        device: torch device.
    """

    device: str

    @property
    @abstractmethod
    def name(self) -> str:
        """What it makes, for messages, such as ``training 2 of real``."""

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """Whether its files exist."""

    @property
    def threads(self) -> int | None:
        """Threads on a CPU; None for as many as a worker may use."""
        return 1

    @property
    def reads(self) -> Sequence[Path]:
        """Files and folders of the run that it reads."""
        return ()

    @abstractmethod
    def steps(self) -> Iterator[int]:
        """Do the work and write the files; yields the progress of each step in units of the bar."""


def threads_for(job: Job) -> AbstractContextManager[None]:
    """Limit torch to the threads of a job in the block."""
    return nullcontext() if job.threads is None else one_thread(job.device)
