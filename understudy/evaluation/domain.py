"""Domain check: whether a classifier of the real images recognises what the generator draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from understudy.functional.intervals import binomial_limits

ENOUGH = 100
"""Drawn images that mostly suffice to see that a generator does not know the real ones, with ten classes."""
_FEWEST = 50  # drawn images below which ignorance is not concluded
_USELESS = 0.15  # of the way from chance to all images recognised


def measure_domain(
    labels: np.ndarray, recognised: np.ndarray, *, num_classes: int | None = None
) -> dict[str, Any]:
    """Compare the share of drawn images whose class is recognised with chance.

    The share is the mean over classes, so that it stays if more images of some classes are drawn. A
    classifier that sees nothing reaches 1 / K on average, however often it names each of the K classes.

    Args:
        labels: intended class of each drawn image, int (N,).
        recognised: whether the classifier names it, bool (N,).
        num_classes: K, the classes that the classifier may name; if not given, those of the images.

    Returns:
        ``images`` (N), ``agreement`` (``mean``, ``low``, ``high``; 95%, Clopper and Pearson 1934, for as many
        images as have this variance if classes count alike), ``chance`` (1 / K), and ``knows``: true if the
        whole interval lies above chance, false if it ends less than 15% of the way from chance to 1, with
        at least 50 images; otherwise None, which also holds for a single class.

    Raises:
        ValueError: without images, or for different numbers of them.

    Example:
        >>> labels = np.arange(100) % 10
        >>> measure_domain(labels, labels < 9)["knows"], measure_domain(labels, labels == 0)["knows"]
        (True, False)
    """
    if len(labels) != len(recognised) or not len(labels):
        raise ValueError(f"labels and recognised must be (N,), got {len(labels)} and {len(recognised)}")
    classes, counts = np.unique(labels, return_counts=True)
    mean = float(np.mean([recognised[labels == label].mean() for label in classes]))
    chance = 1 / (num_classes or len(classes))
    low, high = binomial_limits(mean, len(classes) ** 2 / float((1 / counts).sum()))
    knows = None
    if len(classes) > 1 and low > chance:
        knows = True
    elif len(labels) >= _FEWEST and high < chance + _USELESS * (1 - chance):
        knows = False
    return {
        "images": len(labels),
        "agreement": {"mean": mean, "low": low, "high": high},
        "chance": chance,
        "knows": knows,
    }
