"""Noise levels of EDM, Karras et al. 2022 (arXiv:2206.00364), written as a variance-preserving schedule.

Symbols, as in the paper::

    sigma       standard deviation of the noise added to an image
    sigma_data  standard deviation of the images
    D           denoiser, c_skip(sigma) x + c_out(sigma) F(c_in(sigma) x; c_noise(sigma))

With u = x0 / sigma_data and n = noise, c_in x = sqrt(alpha_bar) u + sqrt(1 - alpha_bar) n for alpha_bar =
sigma_data^2 / (sigma^2 + sigma_data^2), and the target of F is -(sqrt(alpha_bar) n - sqrt(1 - alpha_bar) u):
v-prediction (Salimans & Ho 2022, arXiv:2202.00512) with the opposite sign. The loss weight lambda(sigma) of
table 1 makes the loss of F the plain squared error. So EDM is a network that predicts v, trained without
weights on noise levels from EDM's distribution.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SIGMA_DATA = 0.5
"""Standard deviation of images in [-1, 1]; table 1."""


def lognormal_sigmas(
    num_levels: int,
    *,
    mean: float = -1.2,
    std: float = 1.2,
    smallest: float = 0.0,
    largest: float = math.inf,
) -> Tensor:
    """Noise levels whose logarithms are normal: the quantiles (i + 1/2) / num_levels.

    Levels drawn uniformly from these follow Karras et al. 2022, table 1: ``ln(sigma) ~ N(P_mean, P_std^2)``,
    here without the levels outside limits.

    Args:
        num_levels: T, at least 1.
        mean: P_mean.
        std: P_std, positive.
        smallest: lower limit, not negative.
        largest: upper limit, above ``smallest``.

    Returns:
        float32 (T,), ascending, positive.

    Example:
        >>> lognormal_sigmas(1, mean=0.0)
        tensor([1.])
    """
    limits = torch.tensor([smallest, largest], dtype=torch.float64).log()
    first, last = torch.special.ndtr((limits - mean) / std)
    quantiles = (torch.arange(num_levels, dtype=torch.float64) + 0.5) / num_levels
    logarithms: Tensor = mean + std * torch.special.ndtri(first + (last - first) * quantiles)
    return logarithms.exp().float()


def alpha_bar(sigma: Tensor, sigma_data: float = SIGMA_DATA) -> Tensor:
    """Share of signal power in ``c_in x``: sigma_data^2 / (sigma^2 + sigma_data^2), which is also c_skip.

    Karras et al. 2022, table 1.

    Args:
        sigma: float of any shape, not negative.
        sigma_data: positive.

    Returns:
        float as sigma, in (0, 1].

    Example:
        >>> alpha_bar(torch.tensor([0.0, 0.5]))
        tensor([1.0000, 0.5000])
    """
    return sigma_data**2 / (sigma**2 + sigma_data**2)


def noise_condition(sigma: Tensor) -> Tensor:
    """The noise level as input of the network: c_noise = ln(sigma) / 4.

    Karras et al. 2022, table 1.

    Args:
        sigma: float of any shape, positive.

    Returns:
        float as sigma.
    """
    return sigma.log() / 4
