"""Interval of the difference between two means with different trainings and test images.

Symbols::

    a, b     values per training and test image, as in :mod:`understudy.functional.intervals`   (S, N), (T, M)
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtrit

from understudy.functional.clusters import per_cluster
from understudy.functional.intervals import variance_of_mean, with_images


def unpaired_difference(
    a: np.ndarray, b: np.ndarray, clusters: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
) -> tuple[float, float, float]:
    """Difference of two accuracies with a 95% interval; the two share neither test images nor trainings.

    Welch 1947, with the variances of :func:`understudy.functional.intervals.variance_of_mean`. Each side gets
    two more test images, one that is always predicted correctly and one that never is (Agresti and Caffo
    2000, "Simple and effective confidence intervals for proportions and differences of proportions", American
    Statistician 54), so that the interval keeps its width if all predictions are correct.

    Args:
        a: bool, or float in [0, 1], of shape (S, N), N at least 2.
        b: the same of shape (T, M), M at least 2.
        clusters: cluster of each image of ``a`` and of ``b``, see :mod:`understudy.functional.clusters`.

    Returns:
        ``mean(a) - mean(b)``, low end, high end, in [-1, 1].

    Raises:
        ValueError: for another shape.

    Example:
        >>> [round(end, 2) for end in unpaired_difference(np.ones((3, 100)), np.ones((2, 50)))]
        [0.0, -0.03, 0.05]
    """
    drawn = [per_cluster(values, each) for values, each in zip((a, b), clusters, strict=True)]
    padded = [with_images(values, (0.0, 1.0)) for values in drawn]
    (of_a, freedom_a), (of_b, freedom_b) = (variance_of_mean(values) for values in padded)
    freedom = (of_a + of_b) ** 2 / (of_a**2 / freedom_a + of_b**2 / freedom_b)
    difference, centre = float(a.mean() - b.mean()), float(padded[0].mean() - padded[1].mean())
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(of_a + of_b)
    return difference, min(difference, max(-1.0, centre - half)), max(difference, min(1.0, centre + half))
