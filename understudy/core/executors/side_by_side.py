"""How much work an executor does at the same time, for estimates."""

from __future__ import annotations

from typing import NamedTuple

from understudy.core.executors.worker_processes import num_trainers, num_workers
from understudy.core.settings import ComputeSettings


class SideBySide(NamedTuple):
    """Jobs that are done at the same time.

    Attributes:
        drawing: parts of a plan; 1 on a CPU, where one part uses all cores that several would share.
        trainings: trainings of classifiers.
    """

    drawing: int
    trainings: int


def side_by_side(compute: ComputeSettings, device: str) -> SideBySide:
    """What the executor of these settings does at the same time.

    Raises:
        InputError: if there are fewer cores or GPUs than workers.
    """
    if compute.executor == "local":
        return SideBySide(1, 1)
    if compute.executor == "auto":
        return SideBySide(1, num_trainers(compute.workers, device))
    number = num_workers(compute, device) if compute.executor == "processes" else compute.workers or 1
    return SideBySide(1 if device == "cpu" else number, number)
