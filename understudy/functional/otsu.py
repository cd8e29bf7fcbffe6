"""How well one threshold separates grey levels into two groups."""

from __future__ import annotations

import numpy as np

_LEVELS = 256


def best_threshold(levels: np.ndarray) -> tuple[int, float]:
    """The threshold that parts grey levels best, and the share of their variance between the two groups.

    Otsu 1979, "A threshold selection method from gray-level histograms", equations 12 and 18::

        eta(k) = w0(k) w1(k) (mu1(k) - mu0(k))^2 / sigma_T^2

    for the largest eta over thresholds k, where w0 and w1 are the shares of the levels up to and above k, and
    mu0 and mu1 their means. It is 1 for two levels, and 3/4 for levels that are spread evenly.

    Args:
        levels: integers in [0, 255], of any shape.

    Returns:
        The last level of the lower group, and a share in [0, 1], which is 0 if all levels are the same.

    Raises:
        ValueError: if there are none, or levels outside the range.

    Example:
        >>> best_threshold(np.array([7, 7, 7, 255])), round(best_threshold(np.arange(256))[1], 2)
        ((7, 1.0), 0.75)
    """
    if levels.size == 0 or levels.min() < 0 or levels.max() >= _LEVELS:
        raise ValueError(f"levels must be in [0, {_LEVELS - 1}], got {levels.size} levels")
    shares = np.bincount(levels.ravel(), minlength=_LEVELS) / levels.size
    values = np.arange(_LEVELS)
    total = float(shares @ values)
    variance = float(shares @ (values - total) ** 2)
    if variance == 0:
        return int(levels.flat[0]), 0.0
    w0 = np.cumsum(shares)[:-1]
    mu = np.cumsum(shares * values)[:-1]
    between = np.zeros(_LEVELS - 1)
    parted = (w0 > 0) & (w0 < 1)  # both groups have members
    between[parted] = (total * w0[parted] - mu[parted]) ** 2 / (w0[parted] * (1 - w0[parted]))
    best = int(between.argmax())
    return best, min(1.0, float(between[best]) / variance)
