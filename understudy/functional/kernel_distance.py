"""Maximum mean discrepancy of large weighted sets, computed tile by tile.

The kernels are those of KID and CMMD, and a Gaussian kernel.

Symbols, as in Gretton et al. 2012, "A Kernel Two-Sample Test" (JMLR 13)::

    x, y   points of two sets                                    (M, D), (N, D)
    w, v   weights of the points, one column per resample        (M, R), (N, R)
    k      kernel
    MMD^2  E k(x, x') + E k(y, y') - 2 E k(x, y)
    C      classes

:mod:`understudy.functional.mmd` is differentiable and holds all pairs in memory; here no array is larger than
a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Kernel = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Maps inner products (B, C) and squared lengths (B, 1) and (1, C) to values (B, C)."""


def cubic_kernel(width: int) -> Kernel:
    """``(x . y / D + 1)^3``, whose unbiased MMD^2 is the kernel Inception distance.

    Bińkowski et al. 2018, "Demystifying MMD GANs" (arXiv:1801.01401, section 4).

    Args:
        width: D.
    """

    def kernel(products: np.ndarray, _: np.ndarray, __: np.ndarray) -> np.ndarray:
        base = products / products.dtype.type(width) + 1
        return np.asarray(base * base * base)

    return kernel


def gaussian_kernel(bandwidth: float) -> Kernel:
    """``exp(-|x - y|^2 / (2 h^2)) - 1``.

    The constant cancels in MMD^2. Subtracting it keeps the digits of values at distances far below h.

    Args:
        bandwidth: h, positive, in the units of the points.
    """

    def kernel(products: np.ndarray, x_squared: np.ndarray, y_squared: np.ndarray) -> np.ndarray:
        squared = np.maximum(x_squared + y_squared - 2 * products, 0)
        return np.asarray(np.expm1(squared / squared.dtype.type(-2 * bandwidth**2)))

    return kernel


def direction_kernel(bandwidth: float) -> Kernel:
    """:func:`gaussian_kernel` of points scaled to length 1, which with h = 10 is the kernel of CMMD.

    Jayasumana et al. 2024, "Rethinking FID" (arXiv:2401.09603, section 4). A point at the origin has no
    direction and stays there.

    Args:
        bandwidth: h, positive.
    """
    gaussian = gaussian_kernel(bandwidth)

    def kernel(products: np.ndarray, x_squared: np.ndarray, y_squared: np.ndarray) -> np.ndarray:
        x_length, y_length = (
            np.sqrt(np.where(squared > 0, squared, 1)) for squared in (x_squared, y_squared)
        )
        return gaussian(
            products / (x_length * y_length),
            (x_squared > 0).astype(products.dtype),
            (y_squared > 0).astype(products.dtype),
        )

    return kernel


def mean_kernels(
    x: np.ndarray,
    w: np.ndarray,
    y: np.ndarray | None = None,
    v: np.ndarray | None = None,
    *,
    kernels: Sequence[Kernel],
    block: int = 1024,
) -> np.ndarray:
    """Weighted means of kernels over the pairs between two sets, or over the pairs within one set.

    Three such means add up to MMD^2 (Gretton et al. 2012, eq. 3). The sum is unbiased if the points of a set
    are drawn independently. With a fixed number of points per class they are not, and it is too small, see
    :func:`mmd2_within_classes`. A pair has the weight ``w_i v_j``. All kernels and resamples share one pass
    over the pairs.

    Args:
        x: float of shape (M, D). Kernels of float32 points are computed in float32 and added up in float64;
            for other types, everything is in float64.
        w: float of shape (M, R), not negative.
        y: float of shape (N, D); None for the pairs i != j of ``x``.
        v: float of shape (N, R); None if and only if ``y`` is None.
        kernels: K kernels.
        block: side of a tile; memory is about ``5 * block**2`` numbers.

    Returns:
        float64 of shape (K, R).

    Raises:
        ValueError: for shapes that do not fit, or a set without a pair.

    Example:
        >>> x, ones = np.array([[0.0], [1.0]]), np.ones((2, 1))
        >>> cubic = [cubic_kernel(1)]
        >>> mean_kernels(x, ones, kernels=cubic), mean_kernels(x, ones, x, ones, kernels=cubic)
        (array([[1.]]), array([[2.75]]))
    """
    within = y is None or v is None
    others, other_weights = (x, w) if y is None or v is None else (y, v)
    _check(x, w, others, other_weights, least=2 if within else 1)
    pairs = w.sum(axis=0) * other_weights.sum(axis=0) - (np.square(w).sum(axis=0) if within else 0)
    total = np.zeros((len(kernels), w.shape[1]))
    for start in range(0, len(x), block):
        for other in range(start if within else 0, len(others), block):
            on_diagonal = within and other == start
            tile = _tile(x[start : start + block], others[other : other + block])
            w_tile, v_tile = (
                w[start : start + block],
                other_weights[other : other + block].astype(tile[0].dtype),
            )
            for index, kernel in enumerate(kernels):
                values = kernel(*tile)
                if on_diagonal:
                    np.fill_diagonal(values, 0)
                # Tiles below the diagonal are the transposes of those above, so those count twice.
                total[index] += (w_tile * (values @ v_tile)).sum(axis=0) * (
                    2 if within and not on_diagonal else 1
                )
    return np.asarray(total / pairs)


def mmd2_within_classes(
    x: np.ndarray,
    y: np.ndarray,
    *,
    labels: tuple[np.ndarray, np.ndarray],
    weights: tuple[np.ndarray, np.ndarray],
    kernels: Sequence[Kernel],
    block: int = 1024,
) -> np.ndarray:
    """Mean over classes of the unbiased MMD^2 between the points of each class.

    ``1 / C sum_c MMD^2(x of class c, y of class c)``, each by Gretton et al. 2012, eq. 3, as the intra FID of
    Miyato and Koyama 2018 (arXiv:1802.05637, section 4.1) is the mean of the Fréchet distances within
    classes. It is unbiased for any fixed numbers of points per class, since the points of one class are drawn
    independently. The MMD^2 of all points at once is not: pairs within a set are of the same class less often
    than pairs between the sets, so two sets of one distribution lie below 0, by about ``1 / M + 1 / N`` of
    what classes differ by. Class shares do not matter here, because all classes count equally.

    Args:
        x: float of shape (M, D).
        y: float of shape (N, D).
        labels: class of each point of ``x``, int (M,), and of ``y``, int (N,); every class has at least two
            points in both.
        weights: w, float (M, R), and v, float (N, R), as in :func:`mean_kernels`.
        kernels: K kernels.
        block: side of a tile.

    Returns:
        float64 of shape (K, R).

    Raises:
        ValueError: for shapes that do not fit, or a class with fewer than two points in a set.

    Example:
        >>> x, ones = np.array([[0.0], [0.0], [1.0], [1.0]]), np.ones((4, 1))
        >>> both = {"labels": (np.array([0, 0, 1, 1]),) * 2, "weights": (ones, ones)}
        >>> mmd2_within_classes(x, x, **both, kernels=[cubic_kernel(1)])
        array([[0.]])
    """
    classes = np.union1d(*labels)
    total = np.zeros((len(kernels), weights[0].shape[1]))
    for label in classes:
        (one, w), (other, v) = (
            (points[of == label], weight[of == label])
            for points, of, weight in zip((x, y), labels, weights, strict=True)
        )
        total += mean_kernels(one, w, kernels=kernels, block=block)
        total += mean_kernels(other, v, kernels=kernels, block=block)
        total -= 2 * mean_kernels(one, w, other, v, kernels=kernels, block=block)
    return np.asarray(total / len(classes))


def _tile(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    dtype = np.float32 if x.dtype == y.dtype == np.float32 else np.float64
    x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
    return x @ y.T, np.square(x).sum(axis=1)[:, None], np.square(y).sum(axis=1)[None]


def _check(x: np.ndarray, w: np.ndarray, y: np.ndarray, v: np.ndarray, *, least: int) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < least:
        raise ValueError(
            f"x and y must be (M, D) and (N, D) with M and N at least {least}, got {x.shape} and {y.shape}"
        )
    if w.ndim != 2 or w.shape != (len(x), v.shape[-1]) or v.shape != (len(y), w.shape[1]):
        raise ValueError(f"weights must be ({len(x)}, R) and ({len(y)}, R), got {w.shape} and {v.shape}")
