"""Intervals of many differences that hold at once: a table of arms, not one row of it.

Symbols::

    K      differences, such as that of every arm to real images
    S, N   trainings and test images, as in :mod:`understudy.functional.intervals`
    V_k    variance of the mean of difference k
    A      covariance of the K means over test images     (K, K)
    R      runs
    s_k    standard deviation of difference k between runs
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from understudy.functional.intervals import TAIL, strata, student, variance_of_mean

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


def bonferroni_half_widths(differences: np.ndarray) -> np.ndarray:
    """Half widths with which the intervals of all K differences hold at once over runs.

    Every run gives one value of each difference, so what both sides of a difference share in a run cancels.
    Each interval is Student's over the R values of its difference, at a K-th of the error (Dunn 1961,
    "Multiple comparisons among means", Journal of the American Statistical Association 56)::

        t[1 - 0.025 / K; R - 1] s_k / sqrt(R)

    This holds whatever the variances and correlations of the differences are. Tukey's studentised range is
    narrower with few runs, but takes all treatments as equally variable: with five equal treatments, one of
    them with a standard deviation of 3 between runs and four of 0.2, it makes some pair differ in 16% of
    simulated experiments with three runs and in 14% with five; these intervals do so in 4%.

    Args:
        differences: value of each difference in each run, float of shape (K, R), K at least 1, R at least 2.

    Returns:
        Float of shape (K,), in the unit of ``differences``; 0 where all runs have the same value.

    Raises:
        ValueError: for another shape.

    Example:
        >>> bonferroni_half_widths(np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]])).round(2).tolist()
        [3.58, 0.0]
    """
    if differences.ndim != 2 or differences.shape[0] < 1 or differences.shape[1] < 2:
        raise ValueError(f"differences must be (differences, runs), at least 2 runs, got {differences.shape}")
    num_differences, num_runs = differences.shape
    quantile = student(num_runs - 1, TAIL / num_differences)
    return np.asarray(quantile * differences.std(axis=1, ddof=1) / math.sqrt(num_runs))
