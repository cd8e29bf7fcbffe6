"""Domain check: whether a classifier of the real images recognises what the generator draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from understudy.functional.intervals import binomial_limits

_FEWEST = 50  # drawn images below which chance and knowledge are hardly told apart
_CLEARLY = 0.95  # chance above which agreement cannot lie clearly above it


def measure_domain(labels: np.ndarray, recognised: np.ndarray, *, num_classes: int) -> dict[str, Any]:
    """Compare the share of drawn images whose class is recognised with chance.

    Chance is the share of the largest class: what a classifier that sees no difference reaches at most.

    Args:
        labels: intended class of each drawn image, int (N,).
        recognised: whether the classifier names it, bool (N,).
        num_classes: number of classes.

    Returns:
        ``images`` (N), ``agreement`` (``mean``, ``low``, ``high``; 95%, Clopper and Pearson 1934),
        ``chance``, and ``knows``: whether the whole interval lies above chance; None with fewer than 50
        images, or if nearly all are of one class.

    Raises:
        ValueError: without images, or for different numbers of them.

    Example:
        >>> labels = np.arange(100) % 10
        >>> measure_domain(labels, labels < 9, num_classes=10)["knows"]
        True
        >>> measure_domain(labels, labels == 0, num_classes=10)["knows"]
        False
    """
    if len(labels) != len(recognised) or not len(labels):
        raise ValueError(f"labels and recognised must be (N,), got {len(labels)} and {len(recognised)}")
    mean, num = float(recognised.mean()), len(labels)
    low, high = binomial_limits(mean, num)
    chance = float(np.bincount(labels, minlength=num_classes).max()) / num
    can_tell = num >= _FEWEST and chance < _CLEARLY
    return {
        "images": num,
        "agreement": {"mean": mean, "low": low, "high": high},
        "chance": chance,
        "knows": low > chance if can_tell else None,
    }
