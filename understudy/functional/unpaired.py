"""Interval of the difference between two means with different trainings and test images.

Symbols::

    a, b     values per training and test image, as in :mod:`understudy.functional.intervals`   (S, N), (T, M)
    R        resamples
"""

from __future__ import annotations

import numpy as np

from understudy.functional.intervals import resampled_means, student_stretch


def unpaired_bootstrap_difference(
    a: np.ndarray, b: np.ndarray, rng: np.random.Generator, *, num_resamples: int
) -> tuple[float, float, float]:
    """``mean(a) - mean(b)`` with a 95% interval; the two share neither test images nor trainings.

    Both are resampled independently, as in :func:`understudy.functional.intervals.bootstrap_mean`. The
    deviations of each resampled mean are stretched by its ratio of Student to normal quantile before they are
    subtracted, which makes the interval at least as wide as Welch's (1947).

    Args:
        a: bool or float of shape (S, N), N at least 2.
        b: bool or float of shape (T, M), M at least 2.
        rng: source of the resamples.
        num_resamples: R.

    Returns:
        Mean difference, low end, high end; the ends lie within the differences that values of ``a`` and ``b``
        can have, so differences of accuracies within [-1, 1].

    Raises:
        ValueError: for another shape.

    Example:
        >>> a, b = np.eye(4)[:3] == 0, np.eye(5)[:2] == 0
        >>> mean, low, high = unpaired_bootstrap_difference(a, b, np.random.default_rng(0), num_resamples=500)
        >>> round(mean, 2), low < mean < high
        (-0.05, True)
    """
    moves, means = [], []
    for values in (a, b):
        if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2:
            raise ValueError(
                f"values must be of shape (seeds, images) with at least 2 images, got {values.shape}"
            )
        values = values.astype(np.float64)
        means.append(float(values.mean()))
        moves.append(
            student_stretch(values) * (resampled_means(values[None], rng, num_resamples)[:, 0] - means[-1])
        )
    difference = means[0] - means[1]
    low, high = difference + np.quantile(moves[0] - moves[1], [0.025, 0.975])
    least, most = float(a.min()) - float(b.max()), float(a.max()) - float(b.min())
    return difference, min(difference, max(least, float(low))), max(difference, min(most, float(high)))
