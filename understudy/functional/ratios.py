"""The ratio of two means with an interval, such as the share of a gap that a strategy closes.

Symbols, as in Fieller 1954, "Some problems in interval estimation" (JRSS B 16)::

    a, b              numerator and denominator of each repetition        (n,)
    rho               ratio of their expectations
    v_a, v_b, v_ab    variances of the means of a and b, and their covariance
    t                 97.5% quantile of Student's distribution with n - 1 degrees of freedom
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from understudy.functional.intervals import student


def fieller_interval(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """Ratio of the means of paired repetitions with Fieller's 95% interval.

    The interval has every ratio that Student's test of ``a - rho b`` does not reject::

        (mean(a) - rho mean(b))^2 <= t^2 (v_a - 2 rho v_ab + rho^2 v_b)

    It is exact for normal repetitions, where a bootstrap of a few of them is too narrow. If the interval of
    the denominator contains 0, ratios of any size fit, and the solution is no interval: both ends are
    infinite then.

    Args:
        above: a, one value per repetition, at least 2.
        below: b, paired with ``above``; their mean is not 0.

    Returns:
        Ratio, low end, high end; the ends are ``-inf`` and ``inf`` if the denominator cannot be told from 0.

    Raises:
        ValueError: for fewer repetitions, unequal numbers, or a denominator of mean 0.

    Example:
        >>> [round(end, 3) for end in fieller_interval([1.0, 2.0, 3.0], [3.0, 4.0, 5.0])]
        [0.5, -0.319, 0.692]
    """
    a, b = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2 or not b.mean():
        raise ValueError(
            "above and below must have one value per repetition, at least 2, and below a mean other than 0, "
            f"got {a.shape} and {b.shape}"
        )
    covariance = np.cov(a, b) / len(a) * student(len(a) - 1) ** 2
    ratio = float(a.mean() / b.mean())
    # The inequality is A rho^2 - 2 B rho + C <= 0, whose solutions are an interval only where A is above 0.
    A, B, C = (
        float(x.mean() * y.mean() - covariance[row, column])
        for x, y, row, column in ((b, b, 1, 1), (a, b, 0, 1), (a, a, 0, 0))
    )
    if A <= 0:
        return ratio, -math.inf, math.inf
    half = math.sqrt(max(0.0, B**2 - A * C))
    return ratio, min(ratio, (B - half) / A), max(ratio, (B + half) / A)
