"""Bayesian bootstrap and jackknife: intervals for a statistic that is not a mean over images.

Symbols::

    w      weights of the points of a set                        (N,), mean 1
    R      resamples
    T      statistic, a function of weighted points
"""

from __future__ import annotations

import numpy as np

_LEVEL = 0.95
_LEAST_SHAPE = 0.5


def bootstrap_weights(groups: np.ndarray, num_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Equal weights, and weights of resamples beside them, in which every group keeps its share.

    Rubin 1981, "The Bayesian bootstrap" (Annals of Statistics 9): the weights of a group of n points are n
    times a draw from a Dirichlet distribution. To first order they spread as drawing points with replacement
    does, but no point falls out and none comes twice, so covariances keep their rank, and distances within a
    set are never those of a point to its own copy. His parameter, 1, spreads too little by (n - 1) / (n + 1)
    in variance; (n - 2) / n is exact from n = 4 on, and below it is 1/2.

    Args:
        groups: int of shape (N,), such as classes, of which a set was given or asked to have so and so many.
        num_resamples: R.
        rng: source of the resamples.

    Returns:
        float64 of shape (N, 1 + R), positive; each column has the mean 1 in every group, the first is all
        ones.

    Example:
        >>> weights = bootstrap_weights(np.array([0, 0, 0, 7]), 2, np.random.default_rng(0))
        >>> weights[:, 0], weights[:3].mean(axis=0).round(6), weights[3]
        (array([1., 1., 1., 1.]), array([1., 1., 1.]), array([1., 1., 1.]))
    """
    weights = np.ones((len(groups), 1 + num_resamples))
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        drawn = rng.standard_gamma(max(_LEAST_SHAPE, 1 - 2 / len(own)), (len(own), num_resamples))
        weights[own, 1:] = drawn / drawn.mean(axis=0)
    return weights


def centred_interval(
    values: np.ndarray, *, least: float = -np.inf, most: float = np.inf
) -> tuple[float, float, float]:
    """A measured value with a 95% interval from its resamples, centred on that value.

    The resamples are shifted so that their mean is the measured value.

    Resampled points are less even than fresh ones, which moves whatever measures spread or distance; the
    shift takes that out. The bias of the measured value itself stays in: its cause is the size of the sample,
    not chance.

    Args:
        values: the measured value, then those of the resamples, float of shape (1 + R,), R at least 1.
        least: lower limit of the statistic, to which the interval is cut.
        most: upper limit.

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
    low, high = value + np.quantile(resampled - resampled.mean(), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return value, min(value, max(least, float(low))), max(value, min(most, float(high)))


def jackknife_variance(without: np.ndarray, groups: np.ndarray) -> float:
    """Jackknife variance of a statistic of a set whose groups keep their shares.

    It is computed from the values with each point left out.

    Efron and Stein 1981, "The jackknife estimate of variance" (Annals of Statistics 9): too large rather than
    too small. It holds for neighbours as well, of which resampled points have too many at distance 0.
    Variances of independent sets add up.

    Args:
        without: T without each point, float of shape (N,).
        groups: int of shape (N,), such as classes, of which a set was given or asked to have so and so many.

    Returns:
        The variance; a group of one point adds nothing.

    Example:
        >>> jackknife_variance(np.array([1.5, 1.0, 0.5]), np.zeros(3, dtype=int))
        0.3333333333333333
    """
    variance = 0.0
    for group in np.unique(groups):
        own = without[groups == group]
        variance += (len(own) - 1) / len(own) * float(np.square(own - own.mean()).sum())
    return variance
