"""The range of noise levels at which a set of images takes shape, measured on the images.

Symbols::

    y       images, scaled to the standard deviation sigma_data and centred             (N, D)
    lambda  eigenvalues of their covariance                                             (min(N, D),)
    sigma   standard deviation of the noise; Karras et al. 2022 (arXiv:2206.00364)

Published noise levels suit the images that they were chosen on. How much noise hides an image depends on the
correlation of its pixels: if every pixel is repeated k x k times, noise averages out over the copies, and it
takes k times the noise to hide the same content. The covariance of the train images accounts for this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from understudy.functional.edm import SIGMA_DATA

_MAX_IMAGES = 1000
_COLUMNS = 4096  # pixel values of every image that are computed at once, in double precision
_EMPTY = 1e-8  # variance per pixel below which images are all the same


@final
@dataclass(frozen=True, kw_only=True)
class NoiseLevels:
    """A log-normal distribution of sigma for training, and its limits.

    Attributes:
        p_mean: mean of ln(sigma).
        p_std: standard deviation of ln(sigma), positive.
        sigma_min: lower limit, not negative.
        sigma_max: upper limit. Drawing starts at the largest training level below it.
    """

    p_mean: float = -1.2
    p_std: float = 1.2
    sigma_min: float = 0.0
    sigma_max: float = math.inf


PUBLISHED = NoiseLevels()
"""The training levels of Karras et al. 2022, table 1, without limits."""


def explained_variance(sigma: float, eigenvalues: Tensor) -> float:
    """Share of the variance of the images that the best linear denoiser recovers.

    The Wiener filter keeps the share lambda / (lambda + sigma^2) of each principal component, so the result
    is ``sum(lambda^2 / (lambda + sigma^2)) / sum(lambda)``.

    Args:
        sigma: noise level, not negative.
        eigenvalues: float (K,), not negative, with a positive sum.

    Returns:
        In [0, 1]: 1 without noise, falling towards 0.

    Example:
        >>> explained_variance(1.0, torch.tensor([3.0, 1.0]))
        0.6875
    """
    recovered = eigenvalues.square() / (eigenvalues + sigma**2).clamp(min=torch.finfo(torch.float64).tiny)
    return float(recovered.sum() / eigenvalues.sum())


def noise_range(eigenvalues: Tensor, *, share: float = 0.05) -> tuple[float, float]:
    """The noise levels between which the images take shape.

    Args:
        eigenvalues: float (K,), not negative, with a positive sum.
        share: in (0, 1/2).

    Returns:
        The levels at which the explained variance is ``1 - share`` and ``share``, ascending, positive.

    Example:
        >>> [round(sigma, 3) for sigma in noise_range(torch.tensor([1.0]), share=0.2)]
        [0.5, 2.0]
    """
    spectrum = eigenvalues.double()
    top = math.log(float(spectrum.max())) / 2
    low, high = (_solved(explained, spectrum, around=top) for explained in (1 - share, share))
    return low, high


def _solved(explained: float, spectrum: Tensor, *, around: float) -> float:
    """The sigma of an explained variance, by bisection of its logarithm."""
    low, high = around - 20, around + 20
    while high - low > 1e-9:
        middle = (low + high) / 2
        if explained_variance(math.exp(middle), spectrum) > explained:
            low = middle
        else:
            high = middle
    return math.exp(low)


def covariance_eigenvalues(y: Tensor) -> Tensor:
    """Eigenvalues of the covariance of images, from the smaller one of the two Gram matrices.

    That of large images is added up over blocks of pixels, so that no copy of all images is made.

    Args:
        y: float (N, D).

    Returns:
        float64 (min(N, D),), descending, not negative.
    """
    if len(y) > y.shape[1]:
        centred = _centred(y)
        gram = centred.T @ centred
    else:
        gram = y.new_zeros(len(y), len(y), dtype=torch.float64)
        for columns in y.split(_COLUMNS, dim=1):
            centred = _centred(columns)
            gram.addmm_(centred, centred.T)
    eigenvalues: Tensor = torch.linalg.eigvalsh(gram / len(y)).clamp(min=0).flip(0)
    return eigenvalues


def _centred(y: Tensor) -> Tensor:
    """Images in double precision, around their mean."""
    y = y.double()
    return y - y.mean(dim=0)


def hiding_sigma(y: Tensor, labels: Tensor, *, offset: float = 0.5) -> float:
    """The noise level at which no class mean lies further than ``offset`` deviations off the noise's mean.

    Drawing starts from noise without an image. At a lower level, noised images of a class do not look like
    that, so drawing would start where the denoiser was not trained.

    Args:
        y: float (N, D).
        labels: int64 (N,).
        offset: positive.

    Returns:
        ``max(|class mean|) / offset``, not negative.

    Example:
        >>> hiding_sigma(torch.tensor([[3.0], [5.0], [-1.0]]), torch.tensor([0, 0, 1]))
        8.0
    """
    _, classes, counts = labels.unique(return_inverse=True, return_counts=True)
    squares = y.new_zeros(len(counts), dtype=torch.float64)
    for columns in y.split(_COLUMNS, dim=1):
        sums = columns.new_zeros(len(counts), columns.shape[1], dtype=torch.float64)
        sums.index_add_(0, classes, columns.double())
        squares += (sums / counts[:, None]).square().sum(dim=1)
    return float(squares.max().sqrt()) / offset


def measured_levels(y: Tensor, labels: Tensor, *, grey_level: float) -> NoiseLevels:
    """Noise levels for a set of images, scaled to the standard deviation sigma_data and centred.

    The levels at which the best linear denoiser recovers 95% and 5% of the variance lie one deviation below
    and above the mean of ln(sigma). So about two thirds of all training steps fall between them; the others
    learn to remove the last noise, and to begin. The largest level hides every class mean
    (:func:`hiding_sigma`) and leaves at most 5% of the variance. The smallest is one grey level, because less
    noise is invisible.

    Args:
        y: float (N, D), N at least 1; about 1,000 images, evenly spaced, if there are more.
        labels: int64 (N,).
        grey_level: distance of two neighbouring pixel values, in the unit of ``y``.

    Returns:
        Levels with 0 < sigma_min < sigma_max. For images that are all the same, the published ones from
        sigma_min, without an upper limit.
    """
    chosen = slice(None, None, max(1, len(y) // _MAX_IMAGES))
    eigenvalues = covariance_eigenvalues(y[chosen])
    if float(eigenvalues.sum()) < _EMPTY * y.shape[1]:
        return NoiseLevels(sigma_min=min(grey_level, SIGMA_DATA / 2))
    low, high = noise_range(eigenvalues)
    return NoiseLevels(
        p_mean=math.log(low * high) / 2,
        p_std=math.log(high / low) / 2,
        sigma_min=min(grey_level, low),
        sigma_max=max(high, hiding_sigma(y, labels)),
    )
