"""Choose synthetic points that together are distributed like the real ones.

Symbols::

    x   candidates, in the order in which they were drawn        (M, D)
    y   real points                                              (N, D)
    q   number of points to choose
    k   Gaussian kernel exp(-|a - b|^2 / (2 h^2))
    h   bandwidth, the median distance between real points
    C   covariance of the real points in their d leading principal components    (d, d)
"""

from __future__ import annotations

import numpy as np

# The median distance is that of at most this many evenly spaced points: 16 MiB of distances instead of N^2.
_MEDIAN_POINTS = 2000
_ROUNDING = 1e-12  # relative error of a sum of products of float64 numbers, with a margin


def kernel_herding(x: np.ndarray, y: np.ndarray, q: int, *, block: int = 1024) -> np.ndarray:
    """Candidates whose mean embedding is near that of the real points, by kernel herding.

    Chen, Welling and Smola 2010 (arXiv:1203.3472), started at the mean embedding: after T points the next one
    is ``argmax_x mean_j k(x, y_j) - sum_t k(x, x_t) / (T + 1)``, here over the remaining candidates. Because
    k(x, x) is constant, this is the candidate that most reduces the maximum mean discrepancy between the
    chosen and the real points. A smaller q gives the first points of a larger one.

    Args:
        x: float of shape (M, D).
        y: float of shape (N, D), N at least 1.
        q: number of points to choose, at least 0; all candidates are chosen if q is larger than M.
        block: candidates compared with all real points at once; memory is about ``8 * block * N`` bytes.

    Returns:
        Indices into ``x`` in the order of choice, int64 of shape (min(q, M),), all different.

    Raises:
        ValueError: if there are no real points, or widths differ.

    Example:
        >>> kernel_herding(np.array([[0.0], [0.1], [5.0]]), np.array([[0.0], [5.0]]), 2)
        array([1, 2])
    """
    x, y = _float64_points(x, y)
    h, centre = _bandwidth(x, y), y.mean(axis=0)
    x, y = x - centre, y - centre  # the expanded square loses digits far from the origin
    length_M, length_N = np.square(x).sum(axis=1), np.square(y).sum(axis=1)
    near_real, near_chosen, left = np.empty(len(x)), np.zeros(len(x)), np.ones(len(x), dtype=bool)
    for part in (slice(start, start + block) for start in range(0, len(x), block)):
        near_real[part] = _gaussian(length_M[part, None] + length_N - 2 * x[part] @ y.T, h).mean(axis=1)
    chosen = np.empty(min(q, len(x)), dtype=np.int64)
    for number in range(len(chosen)):
        # Rounded so that candidates with equal gains are taken in order despite floating-point error.
        gain = np.round(near_real - near_chosen / (number + 1), 12)
        best = int(np.where(left, gain, -np.inf).argmax())
        chosen[number], left[best] = best, False
        near_chosen += _gaussian(length_M + length_M[best] - 2 * x @ x[best], h)
    return chosen


def matched(x: np.ndarray, y: np.ndarray, q: int) -> np.ndarray:
    """A different candidate for each real point, with the smallest possible sum of distances.

    This linear assignment problem is solved exactly (Crouse 2016, "On implementing 2D rectangular assignment
    algorithms", IEEE Transactions on Aerospace and Electronic Systems 52). If q is larger than N, further
    rounds give every real point another of the remaining candidates. A round with fewer than N candidates
    serves the real points that :func:`kernel_herding` chooses first, which represent all real points.

    Args:
        x: float of shape (M, D).
        y: float of shape (N, D), N at least 1; memory is about ``8 * M * N`` bytes, and time grows at worst
            as ``M * N^2``.
        q: as in :func:`kernel_herding`.

    Returns:
        Indices into ``x``, int64 of shape (min(q, M),), all different, round by round.

    Raises:
        ValueError: as :func:`kernel_herding`.

    Example:
        >>> matched(np.array([[0.0], [0.2], [9.0]]), np.array([[0.1], [0.0]]), 2)
        array([1, 0])
    """
    # slow to import; `understudy list` and checks need only the names of selections
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    x, y = _float64_points(x, y)
    left, rounds = np.arange(len(x)), [np.empty(0, dtype=np.int64)]
    missing = min(q, len(x))
    while missing:
        targets = y if missing >= len(y) else y[kernel_herding(y, y, missing)]
        _, found = linear_sum_assignment(cdist(targets, x[left]))
        rounds.append(left[found])
        left, missing = np.delete(left, found), missing - len(found)
    return np.concatenate(rounds)


def mean_herding(x: np.ndarray, y: np.ndarray, q: int) -> np.ndarray:
    """Candidates whose mean is near that of the real points, by herding.

    Welling 2009, "Herding dynamical weights to learn" (ICML), as Rebuffi et al. 2017 (arXiv:1611.07725,
    algorithm 4) choose images: after T points the next one is
    ``argmin_x |mean_j y_j - (x + sum_t x_t) / (T + 1)|`` over the remaining candidates. It is kernel herding
    with a linear kernel, so it matches the mean and nothing else. Time grows as ``q * M * D``.

    Args:
        x: float of shape (M, D).
        y: float of shape (N, D), N at least 1.
        q: as in :func:`kernel_herding`.

    Returns:
        As :func:`kernel_herding`.

    Raises:
        ValueError: as :func:`kernel_herding`.

    Example:
        >>> mean_herding(np.array([[0.0], [0.9], [2.0]]), np.array([[1.0]]), 3)
        array([1, 2, 0])
    """
    x, y = _float64_points(x, y)
    x = x - y.mean(axis=0)
    length_M, total, left = np.square(x).sum(axis=1), np.zeros(x.shape[1]), np.ones(len(x), dtype=bool)
    chosen = np.empty(min(q, len(x)), dtype=np.int64)
    for number in range(len(chosen)):
        across = 2 * x @ total
        # |x + total|^2 without a constant:
        best = _take_smallest(length_M + across, left, scale=length_M + np.abs(across))
        chosen[number] = best
        total += x[best]
    return chosen


def covariance_matching(x: np.ndarray, y: np.ndarray, q: int, *, d: int = 32) -> np.ndarray:
    """Candidates whose covariance is near that of the real points, one by one.

    Rezaei et al. 2026, "High-dimensional analysis of synthetic data selection" (arXiv:2510.08123): in the d
    leading principal components of the real points, the next point is the remaining candidate with which the
    covariance of the chosen points is closest to C in Frobenius norm. With one point there is no covariance,
    so the first one is the candidate nearest to the real mean. A mean that is shifted changes nothing after
    that. Time grows as ``q * M * d^2``.

    Args:
        x: float of shape (M, D).
        y: float of shape (N, D), N at least 1. N points span at most N - 1 components; with one, or with
            equal ones, C is 0 and all D components count.
        q: as in :func:`kernel_herding`.
        d: number of principal components, at least 1.

    Returns:
        As :func:`kernel_herding`.

    Raises:
        ValueError: as :func:`kernel_herding`.

    Example:
        >>> covariance_matching(np.array([[0.0], [0.1], [2.0], [9.0]]), np.array([[-1.0], [1.0]]), 2)
        array([0, 2])
    """
    x, y = _in_components(*_float64_points(x, y), d)
    wanted = y.T @ y / max(len(y) - 1, 1)
    found, mean, left = np.zeros_like(wanted), np.zeros(x.shape[1]), np.ones(len(x), dtype=bool)
    chosen = np.empty(min(q, len(x)), dtype=np.int64)
    for number in range(len(chosen)):
        u = x - mean
        scale = length_M = np.square(u).sum(axis=1)
        if number:
            # With x, the covariance is found + u u^T / (T + 1); its squared distance to C without a constant:
            found *= (number - 1) / number
            missing = wanted - found
            across = np.einsum("md,md->m", u @ missing, u)
            scale = np.square(length_M / (number + 1)) + 2 * np.linalg.norm(missing) * length_M / (number + 1)
            length_M = np.square(length_M / (number + 1)) - 2 * across / (number + 1)
        best = _take_smallest(length_M, left, scale=scale)
        chosen[number] = best
        found += np.outer(u[best], u[best]) / (number + 1) if number else 0
        mean += u[best] / (number + 1)
    return chosen


def _in_components(x: np.ndarray, y: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sets in the d leading principal components of y, from its mean; as they are if y has no spread."""
    centre = y.mean(axis=0)
    _, lengths, axes = np.linalg.svd(y - centre, full_matrices=False)
    spanned = lengths > 1e-9 * np.abs(y).max(initial=0.0)
    axes = axes[spanned][:d] if spanned.any() else np.eye(x.shape[1])
    return (x - centre) @ axes.T, (y - centre) @ axes.T


def _take_smallest(value: np.ndarray, left: np.ndarray, *, scale: np.ndarray) -> int:
    """The candidate with the smallest value of those that are left, which it is no longer afterwards.

    ``scale`` is the size of the terms that were added up to a value. Values that differ by less than their
    floating-point error are equal, and the first candidate is taken.
    """
    error = _ROUNDING * scale
    highest = np.where(left, value + error, np.inf).min()
    best = int((left & (value - error <= highest)).argmax())
    left[best] = False
    return best


def _bandwidth(x: np.ndarray, y: np.ndarray) -> float:
    """Median distance between distinct real points.

    If all real points are equal, it is the median distance to the candidates; if those are equal too, 1.
    """
    from scipy.spatial.distance import cdist, pdist  # slow to import, see matched

    y = y[:: -(-len(y) // _MEDIAN_POINTS)]
    x = x[:: -(-len(x) // _MEDIAN_POINTS) or 1]
    for distances in (pdist(y), cdist(x, y).ravel()):
        if (distances > 0).any():
            return float(np.median(distances[distances > 0]))
    return 1.0


def _gaussian(squared: np.ndarray, h: float) -> np.ndarray:
    return np.asarray(np.exp(-np.maximum(squared, 0) / (2 * h**2)))


def _float64_points(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Check the shapes of both sets, and convert them to float64."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not len(y):
        raise ValueError(
            f"candidates and real points must be (M, D) and (N, D) with N > 0, got {x.shape} and {y.shape}"
        )
    return x.astype(np.float64), y.astype(np.float64)
