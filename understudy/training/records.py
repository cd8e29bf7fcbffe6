"""What a training leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What one arm reached on real test images.

    Attributes:
        arm: its name.
        seeds: seed of each training.
        probabilities: predicted probabilities on the test set, float (num_seeds, N, num_classes).
        labels: true labels of the test set, int64 (N,).
        val_accuracy: accuracy on validation images per seed; the only figure used to choose among arms.
        val_loss: mean negative log probability of the true class on validation images, per seed.
        seconds: training time, all seeds together.
        steps: optimisation steps of a training.
        histories: per seed, ``curve`` along the training and figures at the ends of ``phases``.
    """

    arm: str
    seeds: tuple[int, ...]
    probabilities: np.ndarray
    labels: np.ndarray
    val_accuracy: tuple[float, ...]
    val_loss: tuple[float, ...]
    seconds: float
    steps: int
    histories: tuple[Mapping[str, Any], ...]
