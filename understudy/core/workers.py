"""Trainings side by side: jobs of one thread each, in this process or in several."""

from __future__ import annotations

import os
import pickle
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
import psutil

from understudy.core.errors import InputError
from understudy.core.registry import Registry
from understudy.core.stop import ignore_stops
from understudy.core.threads import num_threads, one_thread

_WORTH = 10.0  # seconds of waiting work that pay for the start of processes, which takes each about 4 s
_IDLE = 60  # seconds after which a process without work ends; stages that follow each other share processes
_received: dict[str, Sequence[Job]] = {}
"""In a worker: the jobs that it was sent last, by the key of their list."""


class Job(Protocol):
    """Work whose result is a file, and depends neither on the process that does it nor on other jobs."""

    @property
    def device(self) -> str:
        """Torch device."""

    @property
    def is_done(self) -> bool:
        """Whether the file exists."""

    def steps(self) -> Iterator[int]:
        """Do the work and write the file; yields the progress of each step in units of the bar."""


def do_jobs(
    jobs: Sequence[Job], *, workers: int | None, advance: Callable[[int], object] = lambda amount: None
) -> None:
    """Do the jobs that are not done yet, each with one thread if it runs on the CPU.

    The first jobs are done in this process. If the time that they take shows that several processes would
    finish the others sooner, those are sent to worker processes.

    Args:
        jobs: all on the same device.
        workers: number of worker processes; None for one per thread, as far as memory allows.
        advance: called with the progress: after each step here, at the end of each job in a worker.

    Raises:
        InputError: if a worker is killed. An error of a job ends all other jobs and is raised again. Jobs
            that are done by then keep their files.
    """
    waiting = [job for job in jobs if not job.is_done]
    if not waiting:
        return
    number = num_workers(workers, waiting[0].device)
    with warnings.catch_warnings(), closing(_progress(waiting, number)) as progress:
        # About jobs that are given up after an error, and processes that are started again.
        warnings.filterwarnings("ignore", category=UserWarning, module="joblib")
        for amount in progress:
            advance(amount)


def num_workers(wanted: int | None, device: str) -> int:
    """Number of processes for jobs on a device; 1 means that this process does them.

    Without a number, it is one per thread of torch, as long as each finds as much free memory as this process
    uses. On other devices than the CPU, and if code outside the package has registered names, which a new
    process would not know, there is only this process.
    """
    if device != "cpu" or Registry.has_outsiders:
        return 1
    room = psutil.virtual_memory().available // psutil.Process().memory_info().rss
    return wanted or max(1, min(num_threads(), room))


def _progress(jobs: Sequence[Job], workers: int) -> Generator[int, None, None]:
    """Do the jobs; yields the progress."""
    others: Generator[int, None, None] | None = None
    started: float | None = None
    with one_thread(jobs[0].device):
        try:
            for index, job in enumerate(jobs):
                waiting = jobs[index + 1 :]
                for amount in job.steps():
                    yield amount
                    started = started or time.monotonic()  # after the first step, which imports libraries
                    seconds = (time.monotonic() - started) / (index + 1)
                    if workers > 1 and others is None and len(waiting) * seconds > _WORTH:
                        others = _side_by_side(waiting, workers)
                if others is not None:
                    break
            yield from others or ()
        except BrokenExecutor as error:
            raise InputError(
                "a worker process was killed, probably because memory ran out: give fewer --workers; what is "
                "finished is kept"
            ) from error
        finally:
            if others is not None:
                others.close()


def _side_by_side(jobs: Sequence[Job], workers: int) -> Any:
    """Start to do the jobs in worker processes; returns an iterator over the progress of finished jobs."""
    from joblib import Parallel, delayed, parallel_config  # slow to import; only trainings need it

    # All jobs are pickled together, so that the images they share stay shared. Joblib passes a large array
    # through shared memory.
    pickled, key = np.frombuffer(pickle.dumps(jobs), dtype=np.uint8), uuid4().hex
    tasks = (delayed(_do)(pickled, key, index, os.getpid()) for index in range(len(jobs)))
    with parallel_config(
        "loky",
        inner_max_num_threads=1,
        idle_worker_timeout=_IDLE,
        initializer=ignore_stops,
    ):
        return Parallel(n_jobs=min(workers, len(jobs)), batch_size=1, return_as="generator_unordered")(tasks)


def _do(pickled: np.ndarray, key: str, index: int, parent: int) -> int:
    """Do a job in a worker process that ``parent`` started; returns its progress."""
    if key not in _received:
        _received.clear()
        _received[key] = pickle.loads(pickled.data)  # noqa: S301 - comes from the process that started this one
    job, progress = _received[key][index], 0
    with one_thread(job.device):
        for amount in job.steps():
            progress += amount
            if os.getppid() != parent:  # it was killed, and may be resumed at any moment
                os._exit(1)
    return progress
