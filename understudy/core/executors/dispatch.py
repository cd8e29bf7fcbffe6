"""Give each worker one job at a time, and failed jobs to the next one that is free."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Protocol

from understudy.core.errors import FullDiskError, InputError
from understudy.core.executors.job import Job

ATTEMPTS = 3
"""Times that a job may fail before it stops the run."""
_LOOK = 0.5  # seconds between two looks at the progress


class Worker(Protocol):
    """A process that does one job at a time."""

    def start(self, index: int) -> Future[Any]:
        """Start the job with this number."""

    def finish(self, index: int, result: Any) -> None:
        """Take the result of a job that ended without an error."""

    def recover(self, error: BaseException) -> int:
        """Make the worker fit for the next job after an error.

        Returns:
            How many failures of the job this is: 0 if it is not to blame, :data:`ATTEMPTS` if it is hopeless.
        """


def is_final(error: BaseException) -> bool:
    """Whether a job that failed with this error would fail everywhere."""
    return isinstance(error, InputError) and not isinstance(error, FullDiskError)


def dispatch(
    jobs: Sequence[Job], workers: Sequence[Worker], total: Callable[[], int]
) -> Generator[int, None, None]:
    """Do all jobs; yields 0 when all workers have started, then progress.

    Args:
        jobs: what to do.
        workers: at least one.
        total: returns the progress of all workers together.

    Raises:
        InputError: that of a job; and the last error of a job that has failed :data:`ATTEMPTS` times, with a
            note that names the job.
    """
    waiting, failures = deque(range(len(jobs))), Counter[int]()
    free, running = deque(workers), dict[Future[Any], tuple[Worker, int]]()
    reported = 0
    while waiting or running:
        while waiting and free:
            worker, index = free.popleft(), waiting.popleft()
            running[worker.start(index)] = worker, index
        reached = max(reported, total())  # a job that is tried again takes back what it had reported
        yield reached - reported
        reported = reached
        finished, _ = wait(running, timeout=_LOOK, return_when=FIRST_COMPLETED)
        for future in finished:
            worker, index = running.pop(future)
            if (error := future.exception()) is None:
                worker.finish(index, future.result())
            else:
                failures[index] += worker.recover(error)
                if is_final(error) or failures[index] >= ATTEMPTS:
                    error.add_note(f"in a worker, for {jobs[index].name}")
                    raise error
                waiting.appendleft(index)
            free.append(worker)
    yield max(0, total() - reported)
