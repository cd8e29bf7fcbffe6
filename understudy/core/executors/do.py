"""Do jobs with the executor that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from understudy.core.errors import InputError
from understudy.core.executors import here, ray_actors, slurm, worker_processes
from understudy.core.executors.executor import EXECUTORS, Terms
from understudy.core.executors.job import Job
from understudy.core.processes import Processes
from understudy.core.settings import ComputeSettings

__all__ = [
    "EXECUTORS",
    "check_executor",
    "check_one_process",
    "clear",
    "do_jobs",
    "here",
    "ray_actors",
    "slurm",
    "worker_processes",
]


def check_one_process(compute: ComputeSettings) -> None:
    """Check that ``accelerate launch`` has not started several processes beside an executor's own.

    Raises:
        InputError: in every one of them.
    """
    if not compute.is_here and Processes().count > 1:
        raise InputError(
            f"accelerate launch divides the adaptation, and --executor {compute.executor} all other work: "
            "adapt with one command (accelerate launch ... adapt), then go on with another one"
        )


def check_executor(terms: Terms) -> None:
    """Check, before any work starts, that the executor can do it.

    Raises:
        InputError: if it cannot.
    """
    EXECUTORS[terms.compute.executor]().check(terms)


def clear(root: Path) -> None:
    """Remove what a process that was killed has left in a folder, whatever executor it had.

    Args:
        root: folder of a run or of a study, which is locked.

    Raises:
        InputError: if something may still work there and cannot be ended from here.
    """
    for name in EXECUTORS:
        EXECUTORS[name]().clear(root)


def do_jobs(
    jobs: Sequence[Job], terms: Terms, *, advance: Callable[[int], object] = lambda amount: None
) -> None:
    """Do the jobs that are not done yet.

    Args:
        jobs: all on the device of the terms.
        terms: number of workers and so on.
        advance: called with the progress.

    Raises:
        InputError: as :class:`~understudy.core.executors.executor.Executor`.
    """
    waiting = [job for job in jobs if not job.is_done]
    if not waiting:
        return
    with closing(EXECUTORS[terms.compute.executor]().do(waiting, terms)) as progress:
        for amount in progress:
            if amount:
                advance(amount)
