"""How varied a set of points is, without comparison to another set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from understudy.functional.distances import squared_distances
from understudy.functional.intervals import student
from understudy.functional.resampling import freedom, jackknife_spread, jackknife_variance

_LEAST_EIGENVALUE = 1e-12


def mean_distance(x: np.ndarray, *, block: int = 1024) -> float:
    """Mean Euclidean distance over all pairs of different points.

    Args:
        x: float of shape (N, D), N at least 2.
        block: points compared at once; memory is about ``16 * block * N`` bytes.

    Returns:
        At least 0, in the units of the features; its expectation does not depend on N.

    Raises:
        ValueError: for another shape.

    Example:
        >>> mean_distance(np.array([[0.0], [3.0], [6.0]]))
        4.0
    """
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"x must be (N, D) with at least 2 points, got {x.shape}")
    total = sum(
        float(np.sqrt(squared_distances(x[start : start + block], x)).sum())
        for start in range(0, len(x), block)
    )
    return total / (len(x) * (len(x) - 1))


def vendi_score(x: np.ndarray, weights: np.ndarray | None = None, *, block: int = 1024) -> float:
    """Effective number of different points: the exponential of the entropy of the eigenvalues of K / N.

    Friedman and Dieng 2023 (arXiv:2210.02410, definition 3.1, or 3.2 with weights), with the cosine kernel.
    It grows with N, so compare sets of equal size. Points at the origin have no direction; they count as
    equal to each other and different from all others.

    Args:
        x: float of shape (N, D), N at least 1.
        weights: weights of the points, float of shape (N,), not negative; equal weights if None.
        block: points per step; memory is about ``24 * block * D + 8 * min(N, D)**2`` bytes.

    Returns:
        Between 1 (all points have the same direction) and min(N, D + 1) (all are orthogonal).

    Raises:
        ValueError: for another shape.

    Example:
        >>> round(vendi_score(np.eye(3)), 6), round(vendi_score(np.ones((5, 2))), 6)
        (3.0, 1.0)
    """
    if x.ndim != 2 or not len(x):
        raise ValueError(f"x must be (N, D) with at least 1 point, got {x.shape}")
    w = np.ones(len(x)) if weights is None else weights
    if w.shape != (len(x),):
        raise ValueError(f"weights must be ({len(x)},), got {w.shape}")
    shares = w / w.sum()
    # The smaller of the two products has the same eigenvalues, other than zeros.
    if len(x) <= x.shape[1]:
        rows = _scaled_directions(x, shares)
        kernel = rows @ rows.T
    else:
        kernel = np.zeros((x.shape[1] + 1, x.shape[1] + 1))
        for start in range(0, len(x), block):
            rows = _scaled_directions(x[start : start + block], shares[start : start + block])
            kernel += rows.T @ rows
    eigenvalues = np.linalg.eigvalsh(kernel)
    positive = eigenvalues[eigenvalues > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def vendi_influence(x: np.ndarray, *, block: int = 1024) -> np.ndarray:
    """What each point adds to the logarithm of the Vendi score when its weight grows.

    Derivative of the entropy of the eigenvalues, ``-sum_j log(lambda_j) (u_j . x_i)^2`` for eigenvectors u_j
    and directions x_i, up to a constant: points in directions that few others have add most.

    Args:
        x: float of shape (N, D), N at least 1.
        block: as of :func:`vendi_score`.

    Returns:
        float64 of shape (N,).

    Example:
        >>> vendi_influence(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).round(3)
        array([0.405, 0.405, 1.099])
    """
    shares = np.full(len(x), 1 / len(x))
    if len(x) <= x.shape[1]:
        rows = _scaled_directions(x, shares)
        eigenvalues, vectors = np.linalg.eigh(rows @ rows.T)
        return np.asarray(len(x) * np.square(vectors) @ _entropies(eigenvalues))
    parts = [slice(start, start + block) for start in range(0, len(x), block)]
    kernel = np.zeros((x.shape[1] + 1, x.shape[1] + 1))
    for part in parts:
        rows = _scaled_directions(x[part], shares[part])
        kernel += rows.T @ rows
    eigenvalues, vectors = np.linalg.eigh(kernel)
    seen = eigenvalues > _LEAST_EIGENVALUE  # no point lies in the other directions
    vectors, logarithms = vectors[:, seen], np.log(eigenvalues[seen])
    along = (np.square(_scaled_directions(x[part], shares[part]) @ vectors) for part in parts)
    return np.asarray(-len(x) * np.concatenate([squares @ logarithms for squares in along]))


def _entropies(eigenvalues: np.ndarray) -> np.ndarray:
    positive = eigenvalues.clip(min=_LEAST_EIGENVALUE)
    return np.asarray(-positive * np.log(positive))


def vendi_interval(
    sets: Sequence[tuple[np.ndarray, np.ndarray]], *, block: int = 1024
) -> tuple[float, float, float]:
    """Mean Vendi score of sets with a 95% interval over the choice of their points.

    The interval is Student's for the logarithm of the score. Its variance is that of the mean of the
    :func:`vendi_influence` of the points (the infinitesimal jackknife, Efron 1982), with the degrees of
    freedom that the spread of these influences and the number of points leave.

    Args:
        sets: of each set, points (N, D) and groups (N,), such as classes, whose sizes are fixed by design.
        block: as of :func:`vendi_score`.

    Returns:
        Mean, low end, high end; between 1 and the number of points.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> [round(end, 2) for end in vendi_interval([(x, np.zeros(100, dtype=int))])]
        [2.98, 2.95, 3.02]
    """
    mean, variance, spread, left = 0.0, 0.0, 0.0, 0
    for x, groups in sets:
        _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        score = vendi_score(x, block=block)
        # Without a point the others of its group gain weight; a group of one point has no variance.
        weight = sizes / np.maximum(1, sizes - 1) / len(x) / len(sets)
        without = -score * vendi_influence(x, block=block) * weight[group_of]
        mean += score / len(sets)
        variance += jackknife_variance(without, groups)
        spread += jackknife_spread(without, groups)
        left += len(x) - len(sizes)
    degrees = 1 / (1 / freedom(variance, spread) + 1 / max(1, left))
    half = student(degrees) * math.sqrt(variance) / mean
    most = max(len(x) for x, _ in sets)
    return mean, min(mean, max(1.0, mean * math.exp(-half))), max(mean, min(most, mean * math.exp(half)))


def _scaled_directions(x: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Vectors of length sqrt(share) in the direction of the points, (B, D + 1).

    Those of points at the origin lie along the last axis.
    """
    x = x.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(
        np.hstack([x / np.where(lengths > 0, lengths, 1), lengths == 0]) * np.sqrt(shares)[:, None]
    )
