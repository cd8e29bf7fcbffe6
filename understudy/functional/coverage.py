"""How well synthetic points lie where real ones do, by balls around points: precision and recall, density and coverage.

Symbols::

    real       N points, synthetic  M points                     (N, D), (M, D)
    k          neighbours
    ball       of a point: reaches to its k-th nearest other point of its own set
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from understudy.functional.distances import squared_distances


class NeighbourTerms(NamedTuple):
    """What each point adds to four measures, which are the means.

    Attributes:
        precision: whether a synthetic point lies in a real ball, bool (M,).
        recall: whether a real point lies in a synthetic ball, bool (N,).
        density: real balls that a synthetic point lies in, over k, float64 (M,).
        coverage: whether a real ball has a synthetic point inside, bool (N,).
    """

    precision: np.ndarray
    recall: np.ndarray
    density: np.ndarray
    coverage: np.ndarray


def squared_radii(x: np.ndarray, *, k: int, block: int = 1024) -> np.ndarray:
    """Squared distance of each point to its k-th nearest other one.

    Args:
        x: float of shape (N, D).
        k: at least 1 and less than N.
        block: side of a tile of distances; memory is about ``40 * block**2`` bytes.

    Returns:
        float64 of shape (N,).

    Raises:
        ValueError: for another shape or k.

    Example:
        >>> squared_radii(np.array([[0.0], [1.0], [3.0]]), k=1)
        array([1., 1., 4.])
    """
    if x.ndim != 2 or not 1 <= k < len(x):
        raise ValueError(f"x must be (N, D) with N > k and k at least 1, got {x.shape} and k = {k}")
    # Each point is among its own neighbours, at distance 0.
    nearest_NK = np.full((len(x), k + 1), np.inf)
    for start in range(0, len(x), block):
        for other in range(start, len(x), block):
            tile = squared_distances(x[start : start + block], x[other : other + block])
            _keep_nearest(nearest_NK[start : start + block], tile)
            if other > start:
                _keep_nearest(nearest_NK[other : other + block], tile.T)
    return np.asarray(nearest_NK.max(axis=1))


def _keep_nearest(nearest: np.ndarray, distances: np.ndarray) -> None:
    """Replace ``nearest`` (B, K) by the K smallest of itself and ``distances`` (B, C), in place."""
    both = np.concatenate([nearest, distances], axis=1)
    nearest[:] = torch.from_numpy(both).topk(nearest.shape[1], dim=1, largest=False, sorted=False).values.numpy()


def neighbour_terms(
    real: np.ndarray, synthetic: np.ndarray, real_radii: np.ndarray, synthetic_radii: np.ndarray, *, k: int, block: int = 1024
) -> NeighbourTerms:
    """Terms of precision and recall, density and coverage.

    Precision and recall: Kynkäänniemi et al. 2019 (arXiv:1904.06991, eq. 1 and 2), balls closed. Density and coverage: Naeem et al. 2020
    (arXiv:2002.09797, section 3), balls open. Each as in the authors' code; it matters only for copies.

    Args:
        real: float of shape (N, D).
        synthetic: float of shape (M, D).
        real_radii: of :func:`squared_radii`, (N,).
        synthetic_radii: the same of the synthetic points, (M,).
        k: neighbours that the radii reach to.
        block: side of a tile of distances; memory is about ``40 * block**2`` bytes.

    Returns:
        One term per point and measure.

    Raises:
        ValueError: for shapes that do not fit.

    Example:
        >>> real, synthetic = np.array([[0.0], [1.0], [9.0]]), np.array([[0.5], [0.6]])
        >>> terms = neighbour_terms(real, synthetic, squared_radii(real, k=1), squared_radii(synthetic, k=1), k=1)
        >>> [float(term.mean().round(2)) for term in terms]
        [1.0, 0.0, 2.0, 0.67]
    """
    if real.ndim != 2 or synthetic.ndim != 2 or (len(real_radii), len(synthetic_radii)) != (len(real), len(synthetic)):
        raise ValueError(
            f"points and radii must be (N, D), (N,), (M, D) and (M,), got {real.shape}, {real_radii.shape}, {synthetic.shape} and "
            f"{synthetic_radii.shape}"
        )
    precision, recall = np.zeros(len(synthetic), dtype=bool), np.zeros(len(real), dtype=bool)
    count, coverage = np.zeros(len(synthetic)), np.zeros(len(real), dtype=bool)
    for start in range(0, len(real), block):
        near = slice(start, start + block)
        for other in range(0, len(synthetic), block):
            far = slice(other, other + block)
            tile = squared_distances(real[near], synthetic[far])
            precision[far] |= (tile <= real_radii[near, None]).any(axis=0)
            recall[near] |= (tile <= synthetic_radii[far]).any(axis=1)
            inside = tile < real_radii[near, None]
            count[far] += inside.sum(axis=0)
            coverage[near] |= inside.any(axis=1)
    return NeighbourTerms(precision, recall, count / k, coverage)


def density_and_coverage(real: np.ndarray, synthetic: np.ndarray, *, k: int = 5, block: int = 1024) -> tuple[float, float]:
    """Density (fidelity) and coverage (diversity) of synthetic points.

    Naeem et al. 2020 (arXiv:2002.09797, section 3). Each real point has a ball that reaches to its k-th nearest other real point.
    Density is the number of balls that a synthetic point lies in, over k, mean over synthetic points. Coverage is the share of balls with a
    synthetic point inside. Balls are open, as in the authors' code. Coverage grows with the number of synthetic points: compare sets of
    one size.

    Args:
        real: float of shape (N, D), N at least 2.
        synthetic: float of shape (M, D), M at least 1.
        k: neighbours, at least 1; N - 1 where that is less.
        block: side of a tile of distances; memory is about ``40 * block**2`` bytes.

    Returns:
        Density, at least 0 and on average 1 for points of the real distribution, and coverage, in [0, 1].

    Raises:
        ValueError: for fewer points, unequal widths or a k below 1.

    Example:
        >>> density_and_coverage(np.array([[0.0], [1.0], [9.0]]), np.array([[0.5], [0.6]]), k=1)
        (2.0, 0.6666666666666666)
    """
    if real.ndim != 2 or synthetic.ndim != 2 or real.shape[1] != synthetic.shape[1] or len(real) < 2 or not len(synthetic):
        raise ValueError(f"real and synthetic must be (N, D) and (M, D) with N > 1 and M > 0, got {real.shape} and {synthetic.shape}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    k = min(k, len(real) - 1)
    no_balls = np.zeros(len(synthetic))  # they matter for recall alone
    terms = neighbour_terms(real, synthetic, squared_radii(real, k=k, block=block), no_balls, k=k, block=block)
    return float(terms.density.mean()), float(terms.coverage.mean())
