"""Progress of jobs in other processes: each worker notes its own, and the driver adds all up."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import final

from understudy.core.executors.job import Job, threads_for
from understudy.core.files import write_text

SLOT = "slot-"
"""Beginning of the names of files in which workers note their progress."""
_EVERY = 0.5  # seconds between two notes


@final
class Slot:
    """The progress of one worker.

    Args:
        note: takes the progress of all finished jobs, and that of the present one.
        finished: progress of jobs that the worker finished before it was started again.
    """

    def __init__(self, note: Callable[[int, int], object], finished: int = 0) -> None:
        self._note = note
        self._finished = finished
        self._current = 0
        self._noted = 0.0

    def begin(self) -> None:
        """Begin a job; what a job that was given up has reached counts no more."""
        self._current = 0

    def add(self, amount: int) -> None:
        """Go on by an amount."""
        self._current += amount
        if time.monotonic() - self._noted > _EVERY:
            self._noted = time.monotonic()
            self._note(self._finished, self._current)

    def finish(self) -> None:
        """Finish a job."""
        self._finished, self._current = self._finished + self._current, 0
        self._note(self._finished, 0)


def work(job: Job, progress: Slot) -> None:
    """Do a job with the threads that it may use, and note its progress."""
    progress.begin()
    with threads_for(job):
        for amount in job.steps():
            progress.add(amount)
    progress.finish()


def slot_in(path: Path) -> Slot:
    """The slot of a worker that notes its progress in a file."""
    finished = int(path.read_text(encoding="utf-8").split()[0]) if path.exists() else 0
    return Slot(lambda done, current: write_text(path, f"{done} {current}"), finished)


def total_of(folder: Path) -> int:
    """The progress of all workers that note it in a folder."""
    texts = (path.read_text(encoding="utf-8") for path in folder.glob(f"{SLOT}*"))
    return sum(int(number) for text in texts for number in text.split())
