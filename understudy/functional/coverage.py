"""How well synthetic points lie where real ones do: density and coverage."""

from __future__ import annotations

import numpy as np

from understudy.functional.distances import squared_distances


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
        block: real points at once; memory is about ``16 * block * max(N, M)`` bytes.

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
    inside, covered = 0, 0
    for start in range(0, len(real), block):
        part = real[start : start + block]
        # Each point is among its own neighbours, at distance 0.
        radii_B = np.partition(squared_distances(part, real), k, axis=1)[:, k]
        inside_BM = squared_distances(part, synthetic) < radii_B[:, None]
        inside += int(inside_BM.sum())
        covered += int(inside_BM.any(axis=1).sum())
    return inside / (k * len(synthetic)), covered / len(real)
