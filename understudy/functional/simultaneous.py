"""Intervals of many differences that hold at once: a table of arms, not one row of it.

Symbols::

    K      differences, such as that of every arm to real images
    S, N   trainings and test images, as in :mod:`understudy.functional.intervals`
    V_k    variance of the mean of difference k
    A      covariance of the K means over test images     (K, K)
    T, R   treatments, such as generators, and runs of each
    q      quantile of the studentised range
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from scipy.special import ndtr

from understudy.functional.intervals import TAIL, strata, variance_of_mean

_NUM_DRAWS = 5_000


def simultaneous_tail(
    values: np.ndarray, rng: np.random.Generator, *, groups: np.ndarray | None = None
) -> float:
    """Error on either side of each interval with which all K intervals hold at once in 95% of experiments.

    Hothorn, Bretz and Westfall 2008, "Simultaneous inference in general parametric models" (Biometrical
    Journal 50): the 95% quantile of the largest of K normal deviations that have the correlations of the
    differences. Differences to the same arm move together, so it lies between the error of a single interval
    and a K-th of it (Bonferroni). The differences share the test images, whose luck correlates them as
    measured; three trainings are too few to measure a correlation, so the part of V_k that is not from images
    counts as independent, which makes the intervals wider rather than narrower.

    Args:
        values: float of shape (K, S, N), K at least 1 and N at least 2.
        rng: source of the deviations.
        groups: int of shape (N,), if other test images would have as many in each group, see
            :func:`understudy.functional.intervals.variance_of_mean`.

    Returns:
        The error, at most 0.025: that of the interval of one difference.

    Raises:
        ValueError: for another shape.

    Example:
        >>> one = np.random.default_rng(0).normal(size=(1, 3, 100))
        >>> simultaneous_tail(one, np.random.default_rng(0)) == TAIL
        True
    """
    if values.ndim != 3 or not len(values):
        raise ValueError(f"values must be (differences, trainings, images), got {values.shape}")
    variances = np.array([variance_of_mean(of_one, groups)[0] for of_one in values])
    varying = variances > 0  # equal arms cannot differ by chance
    if varying.sum() < 2:
        return TAIL
    values, variances = values[varying], variances[varying]
    covariance = _covariance_over_images(values.mean(axis=1), groups)
    correlation = covariance / np.sqrt(np.outer(variances, variances))
    np.fill_diagonal(correlation, 1)
    eigenvalues, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(eigenvalues.clip(min=0))
    largest = np.abs(rng.standard_normal((_NUM_DRAWS, len(values))) @ root.T).max(axis=1)
    return float(min(TAIL, ndtr(-np.quantile(largest, 1 - 2 * TAIL))))


def _covariance_over_images(means: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """A: covariance of the means over images (K, N); with groups, of images within them."""
    num_images = means.shape[1]
    parts = [means] if groups is None else strata(means, groups)
    covariances = [np.cov(part) * part.shape[1] for part in parts if part.shape[1] > 1]
    return np.asarray(np.sum(covariances, axis=0) / num_images**2)


def tukey_half_width(means: np.ndarray) -> float:
    """Half width with which the intervals of all differences of two treatments hold at once over runs.

    Tukey 1953 in randomised blocks (Scheffe 1959, "The analysis of variance", section 4.3): every run is a
    block with one value of each treatment, so what all treatments of a run share cancels::

        q[0.95; T, f] sqrt(E / R),    f = (T - 1)(R - 1)

    E is the mean square of what treatments and runs do not explain, over f. All treatments count as equally
    variable, which gives f degrees of freedom where the R differences of a pair alone would give R - 1. With
    two treatments this is the paired Student interval.

    Args:
        means: value of each treatment in each run, float of shape (T, R), both at least 2.

    Returns:
        The half width, in the unit of ``means``; 0 if treatments and runs explain everything.

    Raises:
        ValueError: for another shape.

    Example:
        >>> round(tukey_half_width(np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 5.0]])), 2)
        2.48
    """
    if means.ndim != 2 or min(means.shape) < 2:
        raise ValueError(f"means must be (treatments, runs), at least 2 of each, got {means.shape}")
    num_treatments, num_runs = means.shape
    rest = means - means.mean(axis=1, keepdims=True) - means.mean(axis=0) + means.mean()
    freedom = (num_treatments - 1) * (num_runs - 1)
    mean_square = float(np.square(rest).sum()) / freedom
    return _studentised_range(num_treatments, freedom) * math.sqrt(mean_square / num_runs)


@cache
def _studentised_range(num_treatments: int, freedom: int) -> float:
    """The 95% quantile q; its integrals take a second."""
    from scipy.stats import studentized_range  # slow to import, and needed only if there are several runs

    return float(studentized_range.ppf(1 - 2 * TAIL, num_treatments, freedom))
