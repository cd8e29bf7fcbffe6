"""How varied a set of points is, without comparison to another set."""

from __future__ import annotations

import numpy as np

from understudy.functional.distances import squared_distances


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


def _scaled_directions(x: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Vectors of length sqrt(share) in the direction of the points, (B, D + 1).

    Those of points at the origin lie along the last axis.
    """
    x = x.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(
        np.hstack([x / np.where(lengths > 0, lengths, 1), lengths == 0]) * np.sqrt(shares)[:, None]
    )
