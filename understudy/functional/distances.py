"""Distances between sets of points, block by block."""

from __future__ import annotations

import numpy as np

_ROUNDING = 1e-13  # error of an expanded squared distance, relative to the squared lengths


def nearest_neighbours(
    queries: np.ndarray, references: np.ndarray, *, block: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest reference of every query, by root mean squared difference.

    Args:
        queries: float of shape (N, D).
        references: float of shape (M, D), M at least 1.
        block: queries compared at once; memory is about ``8 * block * M`` bytes.

    Returns:
        Index of the nearest reference, int64 of shape (N,), and its distance, float64 of shape (N,), in the
        units of the features.

    Raises:
        ValueError: for empty references or unequal widths.

    Example:
        >>> nearest_neighbours(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [1.0, 1.0]]))
        (array([1]), array([1.]))
    """
    if (
        queries.ndim != 2
        or references.ndim != 2
        or queries.shape[1] != references.shape[1]
        or not len(references)
    ):
        raise ValueError(
            "queries and references must be (N, D) and (M, D) with M > 0, "
            f"got {queries.shape} and {references.shape}"
        )
    index = np.empty(len(queries), dtype=np.int64)
    distance = np.empty(len(queries))
    references = references.astype(np.float64)
    lengths = np.square(references).sum(axis=1)
    for start in range(0, len(queries), block):
        part = queries[start : start + block].astype(np.float64)
        squared = np.square(part).sum(axis=1)[:, None] + lengths - 2 * part @ references.T
        best = squared.argmin(axis=1)
        index[start : start + block] = best
        # Computed again from the difference, because the expanded form loses its digits for near copies.
        distance[start : start + block] = np.sqrt(np.square(part - references[best]).mean(axis=1))
    return index, distance


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared Euclidean distance of every x to every y.

    Args:
        x: float of shape (N, D).
        y: float of shape (M, D).

    Returns:
        float64 of shape (N, M). Values within rounding of 0 are 0, so equal points have distance 0.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    lengths = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)
    squared = lengths - 2 * x @ y.T
    squared[squared < _ROUNDING * lengths] = 0
    return np.asarray(squared)


def unit_vectors(points: np.ndarray) -> np.ndarray:
    """Points scaled to length 1; points at the origin stay there.

    Args:
        points: float of shape (N, D).

    Returns:
        float64 of the same shape.

    Example:
        >>> unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]]))
        array([[0.6, 0.8],
               [0. , 0. ]])
    """
    points = points.astype(np.float64)
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(np.divide(points, lengths, out=np.zeros_like(points), where=lengths > 0))
