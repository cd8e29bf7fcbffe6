"""Do jobs with the executor that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from understudy.core.executors import here, ray_actors, slurm, worker_processes
from understudy.core.executors.executor import EXECUTORS, Terms
from understudy.core.executors.job import Job

__all__ = ["EXECUTORS", "do_jobs", "here", "ray_actors", "slurm", "worker_processes"]


def do_jobs(
    jobs: Sequence[Job], terms: Terms, *, advance: Callable[[int], object] = lambda amount: None
) -> None:
    """Do the jobs that are not done yet.

    Args:
        jobs: all on the same device.
        terms: number of workers and so on.
        advance: called with the progress.

    Raises:
        InputError: as :class:`~understudy.core.executors.executor.Executor`.
    """
    waiting = [job for job in jobs if not job.is_done]
    if not waiting:
        return
    with closing(EXECUTORS[terms.compute.executor](waiting, terms)) as progress:
        for amount in progress:
            if amount:
                advance(amount)
