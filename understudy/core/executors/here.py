"""Executors ``local`` and ``auto``: jobs in this process, and trainings beside it if that is sooner."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing

from understudy.core.executors.executor import EXECUTORS, Terms
from understudy.core.executors.job import Job, threads_for
from understudy.core.executors.worker_processes import in_processes, num_trainers

_WORTH = 10.0  # seconds of waiting work that pay for the start of processes, which takes each about 4 s


@EXECUTORS.register("local", summary="this process, one job after the other")
def local(jobs: Sequence[Job], terms: Terms) -> Generator[int, None, None]:
    """Do the jobs here."""
    for job in jobs:
        with threads_for(job):
            yield from job.steps()


@EXECUTORS.register("auto", summary="this process; on a CPU, trainings side by side where that is sooner")
def auto(jobs: Sequence[Job], terms: Terms) -> Generator[int, None, None]:
    """Do the first jobs here; if the time that they take shows that it pays, the others in processes.

    Work that uses all threads of this process stays here.
    """
    workers = 1 if jobs[0].threads is None else num_trainers(terms.compute.workers, jobs[0].device)
    if workers == 1:
        yield from local(jobs, terms)
        return
    others: Generator[int, None, None] | None = None
    started: float | None = None
    for index, job in enumerate(jobs):
        waiting = jobs[index + 1 :]
        with threads_for(job):
            for amount in job.steps():
                yield amount
                if others is not None:
                    continue
                started = started or time.monotonic()  # after the first step, which imports libraries
                seconds = (time.monotonic() - started) / (index + 1)
                if len(waiting) * seconds > _WORTH:
                    others = in_processes(waiting, terms, number=workers)
                    next(others)  # start them while this process goes on
        if others is not None:
            break
    if others is not None:
        with closing(others):
            yield from others
