"""How well one threshold separates grey levels into two groups."""

from __future__ import annotations

import numpy as np

_LEVELS = 256


def two_level_share(levels: np.ndarray) -> float:
    """The share of the variance of grey levels that lies between two groups, at the best threshold.

    Otsu 1979, "A threshold selection method from gray-level histograms", equations 12 and 18::

        eta(k) = w0(k) w1(k) (mu1(k) - mu0(k))^2 / sigma_T^2

    for the largest eta over thresholds k, where w0 and w1 are the shares of the levels up to and above k, and
    mu0 and mu1 their means. It is 1 for two levels, and 3/4 for levels that are spread evenly.

    Args:
        levels: integers in [0, 255], of any shape.

    Returns:
        In [0, 1]; 0 if all levels are the same.

    Raises:
        ValueError: if there are none, or levels outside the range.

    Example:
        >>> two_level_share(np.array([0, 0, 0, 255])), round(two_level_share(np.arange(256)), 2)
        (1.0, 0.75)
    """
    if levels.size == 0 or levels.min() < 0 or levels.max() >= _LEVELS:
        raise ValueError(f"levels must be in [0, {_LEVELS - 1}], got {levels.size} levels")
    shares = np.bincount(levels.ravel(), minlength=_LEVELS) / levels.size
    values = np.arange(_LEVELS)
    total = float(shares @ values)
    variance = float(shares @ (values - total) ** 2)
    if variance == 0:
        return 0.0
    w0 = np.cumsum(shares)[:-1]
    mu = np.cumsum(shares * values)[:-1]
    parted = (w0 > 0) & (w0 < 1)  # both groups have members
    between = (total * w0[parted] - mu[parted]) ** 2 / (w0[parted] * (1 - w0[parted]))
    return min(1.0, float(between.max(initial=0.0)) / variance)
