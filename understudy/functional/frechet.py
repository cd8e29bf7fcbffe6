"""Fréchet distance between two sets of points, each summarised by a Gaussian distribution.

Symbols, as in Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule" (arXiv:1706.08500, eq. 6)::

    m, C     mean and covariance of one set                      (D,), (D, D)
    m_w, C_w mean and covariance of the other set                (D,), (D, D)
    A        root of C: A^T A = C                                (min(N, D), D)
    d^2      |m - m_w|^2 + Tr(C + C_w - 2 (C C_w)^(1/2))
"""

from __future__ import annotations

import numpy as np


def mean_and_root(
    x: np.ndarray, weights: np.ndarray | None = None, *, block: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and a root of the covariance with no more rows than the covariance can have rank.

    Args:
        x: float of shape (N, D), N at least 2.
        weights: float of shape (N,), not negative, at least two positive; equal weights if None. The
            covariance is unbiased if the weights do not depend on the points: its denominator is
            ``sum w - sum w^2 / sum w`` instead of N - 1.
        block: points per step; memory is about ``16 * block * D + 24 * D * min(N, D)`` bytes.

    Returns:
        m, float64 of shape (D,), and A, float64 of shape (min(N, D), D).

    Raises:
        ValueError: for another shape.

    Example:
        >>> mean, root = mean_and_root(np.array([[0.0, 1.0], [2.0, 1.0]]))
        >>> mean, root.T @ root
        (array([1., 1.]), array([[2., 0.],
               [0., 0.]]))
    """
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"x must be (N, D) with N > 1, got {x.shape}")
    w = np.ones(len(x)) if weights is None else weights
    if w.shape != (len(x),):
        raise ValueError(f"weights must be ({len(x)},), got {w.shape}")
    parts = [slice(start, start + block) for start in range(0, len(x), block)]
    total = w.sum()
    mean = sum((w[part] @ x[part].astype(np.float64) for part in parts), np.zeros(x.shape[1])) / total
    scale = np.sqrt(w / (total - np.square(w).sum() / total))[:, None]
    if len(x) <= x.shape[1]:
        return mean, (x - mean) * scale
    covariance = np.zeros((x.shape[1], x.shape[1]))
    for part in parts:
        rows = (x[part] - mean) * scale[part]
        covariance += rows.T @ rows
    return mean, _root(covariance)


def frechet_distance(mean_x: np.ndarray, root_x: np.ndarray, mean_y: np.ndarray, root_y: np.ndarray) -> float:
    """Squared Fréchet distance between two Gaussian distributions from :func:`mean_and_root`.

    Dowson and Landau 1982, "The Fréchet distance between multivariate normal distributions" (J. Multivariate
    Analysis 12), as used by Heusel et al. 2017, eq. 6. ``Tr (C C_w)^(1/2)`` is the nuclear norm of
    ``A A_w^T``, so with fewer points than features no matrix is D wide and high. The distance between samples
    is biased upwards, more for fewer points, so compare sets of equal size.

    Args:
        mean_x: m, float64 of shape (D,).
        root_x: A, float64 of shape (P, D).
        mean_y: m_w, as ``mean_x``.
        root_y: A_w, float64 of shape (Q, D).

    Returns:
        At least 0, in squared units of the features; rounding is about 1e-6 of the variances.

    Raises:
        ValueError: for shapes that do not fit.

    Example:
        >>> frechet_distance(np.array([0.0]), np.array([[1.0]]), np.array([3.0]), np.array([[2.0]]))
        10.0
    """
    if mean_x.shape != mean_y.shape or root_x.shape[1:] != mean_x.shape or root_y.shape[1:] != mean_y.shape:
        raise ValueError(
            "means and roots must have the same width, "
            f"got {mean_x.shape}, {root_x.shape}, {mean_y.shape} and {root_y.shape}"
        )
    product = root_x @ root_y.T
    small = product @ product.T if product.shape[0] <= product.shape[1] else product.T @ product
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(small), 0, None)).sum()
    return max(
        0.0,
        float(
            np.square(mean_x - mean_y).sum() + np.square(root_x).sum() + np.square(root_y).sum() - 2 * shared
        ),
    )


def _root(covariance: np.ndarray) -> np.ndarray:
    try:
        return np.asarray(np.linalg.cholesky(covariance).T)
    except np.linalg.LinAlgError:  # constant or linearly dependent features
        values, vectors = np.linalg.eigh(covariance)
        return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))).T)
