"""An interval for a rank correlation over few objects."""

from __future__ import annotations

import math

from understudy.functional.intervals import student


def rank_correlation_interval(correlation: float, num: int) -> tuple[float, float, float]:
    """Spearman's rank correlation with a 95% interval over the objects that were ranked.

    Fisher's z with the variance of Bonett and Wright 2000, "Sample size requirements for estimating Pearson,
    Kendall and Spearman correlations" (Psychometrika 65)::

        tanh(atanh(r) -+ 1.96 sqrt((1 + r^2 / 2) / (n - 3)))

    The interval says what other objects of the same kind would give. A correlation of 1 has no finite z; its
    low end is that of half the smallest step below, ``1 - 6 / (n (n^2 - 1))``, and likewise for -1.

    Args:
        correlation: r, in [-1, 1].
        num: n, at least 4.

    Returns:
        The correlation, low end, high end, in [-1, 1].

    Raises:
        ValueError: outside these ranges.

    Example:
        >>> [round(end, 2) for end in rank_correlation_interval(0.83, 12)]
        [0.83, 0.41, 0.96]
    """
    if not -1 <= correlation <= 1 or num < 4:
        raise ValueError(f"correlation must be in [-1, 1] and num at least 4, got {correlation} and {num}")
    most = 1 - 6 / (num * (num**2 - 1))
    within = max(-most, min(most, correlation))
    half = student(math.inf) * math.sqrt((1 + within**2 / 2) / (num - 3))
    low, high = (math.tanh(math.atanh(within) + sign * half) for sign in (-1, 1))
    return correlation, min(correlation, low), max(correlation, high)
