"""Maximum mean discrepancy: how far apart the distributions behind two sets of points are.

Symbols, as in Gretton et al. 2012, "A Kernel Two-Sample Test" (JMLR 13)::

    x, y   points drawn from p and from q               (M, D), (N, D)
    z_i    pair (x_i, y_i) in the paired estimate       M = N = B
    k      kernel
    h      k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i)
    MMD^2  E k(x, x') + E k(y, y') - 2 E k(x, y); with a characteristic kernel, 0 only if p = q

All functions are differentiable; points in half precision are converted to float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gaussian_kernel(x: Tensor, y: Tensor, bandwidths: Tensor) -> Tensor:
    """Mean over bandwidths of ``exp(-|x - y|^2 / (2 h^2))``.

    Gretton et al. 2012, section 8. The kernel is characteristic (their section 2.2), and so is a mean of such
    kernels. With several bandwidths there is no need to choose one (Li et al. 2015, arXiv:1502.02761, section
    3).

    Args:
        x: float of shape (M, D).
        y: float of shape (N, D).
        bandwidths: h, float of shape (K,), positive, in the units of the points.

    Returns:
        float of shape (M, N), in [0, 1]; 1 for equal points, with gradient 0.

    Raises:
        ValueError: for other shapes.

    Example:
        >>> gaussian_kernel(torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([5.0]))
        tensor([[1.0000, 0.6065]])
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must be (M, D) and (N, D), got {tuple(x.shape)} and {tuple(y.shape)}")
    if bandwidths.ndim != 1 or not len(bandwidths):
        raise ValueError(f"bandwidths must be (K,) with K > 0, got {tuple(bandwidths.shape)}")
    # Differences instead of the expanded square, which loses digits for close points and which autocast would
    # compute in half precision.
    distance_MN = torch.cdist(
        _at_least_float32(x), _at_least_float32(y), compute_mode="donot_use_mm_for_euclid_dist"
    )
    scale_K = 2 * bandwidths.to(distance_MN).square()
    return torch.exp(-distance_MN.square() / scale_K[:, None, None]).mean(dim=0)


def moment_kernel(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """``x . y / s + (x . y)^2 / s^2``: its MMD^2 is the squared distance of first and second moments.

    It is ``|E x - E y|^2 / s + |E x x^T - E y y^T|_F^2 / s^2``. The kernel is not characteristic: MMD^2 is 0
    for any two distributions with the same mean and covariance.

    Args:
        x: float of shape (M, D), relative to the point about which moments are taken.
        y: float of shape (N, D), as ``x``.
        scale: s, float scalar, positive, in squared units of the points.

    Returns:
        float of shape (M, N).

    Example:
        >>> moment_kernel(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.5]]), torch.tensor(2.0))
        tensor([[6.]])
    """
    product = _at_least_float32(x) @ _at_least_float32(y).T / scale
    return product + product.square()


@torch.no_grad()
def median_bandwidth(x: Tensor) -> Tensor:
    """Median distance between distinct points, the usual first choice of h.

    Gretton et al. 2012, section 8, where ``x`` has the points of both sets. Pairs of equal points are left
    out, so that copies do not pull the median to 0.

    Args:
        x: float of shape (M, D), M at least 2.

    Returns:
        float scalar, positive, in the units of the points, without gradient; the lower median if there are
        two.

    Raises:
        ValueError: for fewer than 2 points, another shape, or if all points are equal.

    Example:
        >>> median_bandwidth(torch.tensor([[0.0], [0.0], [1.0], [3.0]]))
        tensor(2.)
    """
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"x must be (M, D) with M > 1, got {tuple(x.shape)}")
    distance = torch.pdist(_at_least_float32(x))
    distance = distance[distance > 0]
    if not len(distance):
        raise ValueError(
            f"x must have at least 2 distinct points, got {len(x)} equal ones: such features have no scale"
        )
    return distance.median()


def mmd2_unbiased(x: Tensor, y: Tensor, bandwidths: Tensor) -> Tensor:
    """Unbiased estimate of MMD^2 from two independent sets of independent points.

    Gretton et al. 2012, eq. 3. Points in fixed numbers per class are not independent, see
    :func:`understudy.functional.kernel_distance.mmd2_within_classes`.

    Args:
        x: float of shape (M, D), M at least 2.
        y: float of shape (N, D), N at least 2, independent of ``x``.
        bandwidths: float of shape (K,), positive.

    Returns:
        float scalar, at most 2; may be negative.

    Raises:
        ValueError: for fewer than 2 points in a set, or shapes that do not fit.

    Example:
        >>> x = torch.tensor([[0.0], [0.0]])
        >>> mmd2_unbiased(x, x + 100, torch.tensor([1.0]))
        tensor(2.)
    """
    num_x, num_y = len(x), len(y)
    if num_x < 2 or num_y < 2:
        raise ValueError(f"x and y must have at least 2 points each, got {num_x} and {num_y}")
    # i != j leaves out the diagonal, where the kernel is 1.
    within_x = (gaussian_kernel(x, x, bandwidths).sum() - num_x) / (num_x * (num_x - 1))
    within_y = (gaussian_kernel(y, y, bandwidths).sum() - num_y) / (num_y * (num_y - 1))
    return within_x + within_y - 2 * gaussian_kernel(x, y, bandwidths).mean()


def mmd2_paired(x: Tensor, y: Tensor, bandwidths: Tensor, weight: Tensor | None = None) -> Tensor:
    """Unbiased estimate of MMD^2 from independent pairs, where y_i may depend on x_i.

    Gretton et al. 2012, eq. 4: the mean of h(z_i, z_j) over i != j. It leaves out k(x_i, y_i), so a y_i made
    from x_i, such as a denoised x_i, adds no bias. With weights, the pair (i, j) counts
    ``w_i w_j / sum_{i != j} w_i w_j``, which is unbiased for weights that do not depend on the points.

    Args:
        x: float of shape (B, D), B at least 2.
        y: as ``x``.
        bandwidths: float of shape (K,), positive.
        weight: float of shape (B,), not negative, at least two positive; equal weights if None.

    Returns:
        float scalar, at most 2; may be negative.

    Raises:
        ValueError: for fewer than 2 pairs, or shapes that do not fit.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> mmd2_paired(x, x.clone(), torch.tensor([1.0]))
        tensor(0.)
    """
    if len(x) < 2:
        raise ValueError(f"x must have at least 2 points, got {len(x)}")
    return _weighted_mean_off_diagonal(_core(x, y, _gaussian(bandwidths)), _weights(x, weight))


def mmd2_per_class(
    x: Tensor, y: Tensor, labels: Tensor, bandwidths: Tensor, weight: Tensor | None = None
) -> Tensor:
    """:func:`mmd2_paired` over the combinations (i, j) that share a class.

    It compares the distributions given the class. A class counts by the weights of its pairs, so a class of
    mostly noise (small weights) hardly counts, and a class with a single pair in the batch does not count.

    Args:
        x: float of shape (B, D).
        y: as ``x``; y_i has the class of x_i.
        labels: int64 of shape (B,).
        bandwidths: float of shape (K,), positive.
        weight: float of shape (B,), positive; equal weights if None.

    Returns:
        float scalar, at most 2; may be negative.

    Raises:
        ValueError: if no class has two pairs, or shapes do not fit.

    Example:
        >>> x = torch.tensor([[0.0], [0.0], [7.0]])
        >>> mmd2_per_class(x, x + 100, torch.tensor([0, 0, 1]), torch.tensor([1.0]))
        tensor(2.)
    """
    core = _core(x, y, _gaussian(bandwidths))
    return _weighted_mean_off_diagonal(core, _weights(x, weight), _same_class(labels, len(x)))


def moment_mmd2_per_class(
    x: Tensor, y: Tensor, labels: Tensor, scale: Tensor, weight: Tensor | None = None
) -> Tensor:
    """:func:`mmd2_per_class` with :func:`moment_kernel`: do mean and covariance agree, class by class?

    Args:
        x: float of shape (B, D), relative to the mean of the class.
        y: as ``x``, relative to the same point; y_i has the class of x_i and may depend on x_i.
        labels: int64 of shape (B,).
        scale: s, float scalar, positive; the mean of |x|^2 makes the result independent of units.
        weight: float of shape (B,), positive; equal weights if None.

    Returns:
        float scalar, an unbiased estimate; may be negative.

    Raises:
        ValueError: if no class has two pairs, or shapes do not fit.

    Example:
        >>> x, y = torch.zeros(2, 1), torch.ones(2, 1)
        >>> moment_mmd2_per_class(x, y, torch.tensor([0, 0]), torch.tensor(2.0))
        tensor(0.7500)
    """
    core = _core(x, y, lambda one, other: moment_kernel(one, other, scale))
    return _weighted_mean_off_diagonal(core, _weights(x, weight), _same_class(labels, len(x)))


def _gaussian(bandwidths: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, y: gaussian_kernel(x, y, bandwidths)


def _same_class(labels: Tensor, count: int) -> Tensor:
    """Which combinations (i, j) share a class, bool (B, B)."""
    if labels.shape != (count,):
        raise ValueError(f"labels must be of shape ({count},), got {tuple(labels.shape)}")
    same = labels[:, None] == labels
    if int(same.sum()) == count:
        raise ValueError(f"labels must have a class with at least 2 images, got {labels.tolist()}")
    return same


def _core(x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The matrix of h, (B, B)."""
    if x.shape != y.shape:
        raise ValueError(f"paired points must have the same shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    across = kernel(x, y)
    return kernel(x, x) + kernel(y, y) - across - across.T


def _weights(x: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return torch.ones(len(x), device=x.device)
    if weight.shape != x.shape[:1]:
        raise ValueError(f"weight must be of shape ({len(x)},), got {tuple(weight.shape)}")
    return weight


def _weighted_mean_off_diagonal(core: Tensor, weight: Tensor, counted: Tensor | None = None) -> Tensor:
    weight = weight.to(core)
    products = weight[:, None] * weight
    if counted is not None:
        products = products * counted
    products = products - products.diag().diag()
    return (products * core).sum() / products.sum()


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
