"""Executors ``local`` and ``auto``: jobs in this process, and trainings beside it if that is sooner."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import final

from understudy.core.executors.executor import EXECUTORS, Terms
from understudy.core.executors.job import Job, threads_for
from understudy.core.executors.worker_processes import in_processes, num_trainers

_WORTH = 10.0  # seconds of waiting work that pay for the start of processes, which takes each about 4 s


@EXECUTORS.register("local", summary="this process, one job after the other")
@final
class Local:
    """This process alone."""

    def check(self, terms: Terms) -> None:
        """Nothing can be wrong."""

    def clear(self, root: Path) -> None:
        """Nothing is left: this process leaves only what the run keeps."""

    def do(self, jobs: Sequence[Job], terms: Terms) -> Generator[int, None, None]:
        for job in jobs:
            with threads_for(job):
                yield from job.steps()


@EXECUTORS.register("auto", summary="this process; on a CPU, trainings side by side where that is sooner")
@final
class Auto:
    """This process, and worker processes for trainings if that pays, by the time that the first ones take.

    Work that uses all threads of this process stays here.
    """

    def check(self, terms: Terms) -> None:
        """Nothing can be wrong."""

    def clear(self, root: Path) -> None:
        """Nothing is left but what worker processes leave, which their own executor removes."""

    def do(self, jobs: Sequence[Job], terms: Terms) -> Generator[int, None, None]:
        workers = 1 if jobs[0].threads is None else num_trainers(terms.compute.workers, terms.device)
        if workers == 1:
            yield from Local().do(jobs, terms)
            return
        started: float | None = None
        with ExitStack() as stack:
            others: Generator[int, None, None] | None = None
            for index, job in enumerate(jobs):
                waiting = jobs[index + 1 :]
                with threads_for(job):
                    for amount in job.steps():
                        yield amount
                        started = started or time.monotonic()  # after the first step, which imports libraries
                        seconds = (time.monotonic() - started) / (index + 1)
                        if others is None and len(waiting) * seconds > _WORTH:
                            others = stack.enter_context(closing(in_processes(waiting, terms, workers)))
                            next(others)  # starts them while this process goes on
                if others is not None:
                    break
            yield from others or ()
