"""Bayesian bootstrap and jackknife: intervals for statistics that are not means over images.

Symbols::

    w      weights of the points of a set                        (N,), mean 1
    R      resamples
    T      statistic, a function of weighted points
"""

from __future__ import annotations

import math

import numpy as np

from understudy.functional.intervals import TAIL, binomial_limits, student

_LEAST_SHAPE = 0.5


def bootstrap_weights(groups: np.ndarray, num_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """A column of equal weights, then a column of weights per resample; every group keeps its share.

    Rubin 1981, "The Bayesian bootstrap" (Annals of Statistics 9): the weights of a group of n points are n
    times a draw from a Dirichlet distribution. To first order they vary as much as with drawing points with
    replacement. But no point is lost or repeated, so covariances keep their rank, and no distance within a
    set is that of a point to a copy of itself. With Rubin's parameter 1 the variance is too small by a factor
    (n - 1) / (n + 1); (n - 2) / n is exact from n = 4 on, and smaller groups use 1/2.

    Args:
        groups: int of shape (N,), such as classes, whose sizes are fixed by design.
        num_resamples: R.
        rng: source of the resamples.

    Returns:
        float64 of shape (N, 1 + R), positive; the first column is all ones, and every column has mean 1 in
        every group.

    Example:
        >>> weights = bootstrap_weights(np.array([0, 0, 0, 7]), 2, np.random.default_rng(0))
        >>> weights[:, 0], weights[:3].mean(axis=0).round(6), weights[3]
        (array([1., 1., 1., 1.]), array([1., 1., 1.]), array([1., 1., 1.]))
    """
    weights = np.ones((len(groups), 1 + num_resamples))
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        drawn = rng.standard_gamma(max(_LEAST_SHAPE, 1 - 2 / len(rows)), (len(rows), num_resamples))
        weights[rows, 1:] = drawn / drawn.mean(axis=0)
    return weights


def centred_interval(
    values: np.ndarray, *, least: float = -np.inf, most: float = np.inf
) -> tuple[float, float, float]:
    """A measured value with a 95% interval from resamples that are shifted so that their mean is that value.

    Resampled points are spread less evenly than new ones, which biases measures of spread or distance; the
    shift removes this bias. The bias of the measured value itself remains, because it comes from the size of
    the sample and not from resampling.

    Args:
        values: the measured value, then the values of the resamples, float of shape (1 + R,), R at least 1.
        least: smallest value of the statistic; the interval is cut there.
        most: largest value of the statistic.

    Returns:
        Value, low end, high end.

    Raises:
        ValueError: for another shape.

    Example:
        >>> centred_interval(np.array([1.0, 4.0, 6.0]), least=0.5)
        (1.0, 0.5, 1.95)
    """
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values must be (1 + R,) with R > 0, got {values.shape}")
    value, resampled = float(values[0]), values[1:]
    low, high = value + np.quantile(resampled - resampled.mean(), [TAIL, 1 - TAIL])
    return value, min(value, max(least, float(low))), max(value, min(most, float(high)))


def jackknife_variance(without: np.ndarray, groups: np.ndarray) -> float:
    """Jackknife variance of a statistic, from its values with each point left out; groups keep their shares.

    Efron and Stein 1981, "The jackknife estimate of variance" (Annals of Statistics 9), show that it is too
    large rather than too small. It also works for nearest neighbours, where a bootstrap fails because
    repeated points are neighbours at distance 0. Variances of independent sets add up.

    Args:
        without: T without each point, float of shape (N,).
        groups: int of shape (N,), such as classes, whose sizes are fixed by design.

    Returns:
        The variance; a group of one point adds nothing.

    Example:
        >>> jackknife_variance(np.array([1.5, 1.0, 0.5]), np.zeros(3, dtype=int))
        0.3333333333333333
    """
    return float(np.square(_centred(without, groups)).sum())


def jackknife_spread(without: np.ndarray, groups: np.ndarray) -> float:
    """Variance of :func:`jackknife_variance` itself: if few points decide, it is known badly.

    The variance is a sum of N squares; this is N times their variance. Spreads of independent sets add up,
    and :func:`freedom` turns both sums into degrees of freedom.

    Example:
        >>> round(jackknife_spread(np.array([0.0, 1.0] * 50), np.zeros(100, dtype=int)), 12)
        0.0
    """
    squares = np.square(_centred(without, groups))
    return float(np.square(squares - squares.mean()).sum())


def _centred(without: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Differences to the mean of the group, scaled so that their squares add up to the variance."""
    centred = np.empty(len(without))
    for group in np.unique(groups):
        rows = groups == group
        values = without[rows]
        centred[rows] = math.sqrt((len(values) - 1) / len(values)) * (values - values.mean())
    return centred


def freedom(variance: float, spread: float) -> float:
    """Degrees of freedom of an estimated variance: ``2 V^2 / Var(V)`` (Satterthwaite 1946), at least 1.

    Args:
        variance: V.
        spread: Var(V).

    Example:
        >>> freedom(1.0, 0.25), freedom(1.0, 0.0)
        (8.0, inf)
    """
    return max(1.0, 2 * variance**2 / spread) if spread > 0 else math.inf


def share_interval(share: float, variance: float, degrees: float, num: int) -> tuple[float, float, float]:
    """A share of points with a 95% interval that keeps its width where all points are alike.

    The limits of Clopper and Pearson (1934) for as many points as have this variance, at most all (Korn and
    Graubard 1998, as in :func:`understudy.functional.intervals.accuracy_interval`). If every point counts, or
    none, the variance says nothing, and the interval is that of ``num`` points.

    Args:
        share: in [0, 1].
        variance: of the share, such as :func:`jackknife_variance`.
        degrees: its degrees of freedom, see :func:`freedom`.
        num: points that the share is of.

    Example:
        >>> [round(end, 3) for end in share_interval(1.0, 0.0, math.inf, 100)]
        [1.0, 0.964, 1.0]
    """
    points = float(num)
    if variance > 0 and 0 < share < 1:
        ratio = student(num - 1) / student(degrees)
        points = max(1.0, min(points, share * (1 - share) / variance * ratio**2))
    low, high = binomial_limits(share, points)
    return share, min(share, low), max(share, high)
