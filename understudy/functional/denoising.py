"""Formulas of denoising diffusion: signal-to-noise ratio, loss weight, targets.

Symbols, as in Ho et al. 2020 (arXiv:2006.11239) and Hang et al. 2023 (arXiv:2303.09556)::

    x0         clean latents                          (B, C, H, W)
    eps        standard normal noise                  (B, C, H, W)
    t          timestep                               (B,), int64
    alpha_bar  cumulative signal power of a schedule  (T,), in (0, 1), decreasing
    snr        alpha_bar / (1 - alpha_bar)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

PredictionType = Literal["epsilon", "v_prediction"]


def signal_to_noise_ratio(alpha_bar: Tensor, t: Tensor) -> Tensor:
    """Signal power over noise power at timestep t.

    Hang et al. 2023 (arXiv:2303.09556), section 3.1.

    Args:
        alpha_bar: float of shape (T,), in (0, 1).
        t: int64 of shape (B,), in [0, T).

    Returns:
        float of shape (B,), positive.

    Example:
        >>> signal_to_noise_ratio(torch.tensor([0.8, 0.5]), torch.tensor([1]))
        tensor([1.])
    """
    power = alpha_bar[t]
    return power / (1 - power)


def min_snr_weight(snr: Tensor, gamma: float, prediction_type: PredictionType = "epsilon") -> Tensor:
    """Loss weight that keeps low-noise timesteps from dominating.

    Hang et al. 2023 (arXiv:2303.09556), eq. 8 and section 3.4: min(snr, gamma) in the space of x0, divided by the
    factor between the squared error in x0 and in what the network predicts: snr for epsilon, snr + 1 for v.

    Args:
        snr: float of shape (B,), positive.
        gamma: where the weight stops growing; positive, 5 in the paper; ``inf`` gives the unweighted loss for epsilon.
        prediction_type: what the network predicts.

    Returns:
        float of shape (B,), in (0, 1].

    Raises:
        ValueError: for another prediction type.

    Example:
        >>> min_snr_weight(torch.tensor([2.5, 5.0, 50.0]), 5.0)
        tensor([1.0000, 1.0000, 0.1000])
    """
    clipped = snr.clamp(max=gamma)
    if prediction_type == "epsilon":
        return clipped / snr
    if prediction_type == "v_prediction":
        return clipped / (snr + 1)
    raise ValueError(f"prediction_type must be 'epsilon' or 'v_prediction', got {prediction_type!r}")


def add_noise(x0: Tensor, eps: Tensor, alpha_bar: Tensor, t: Tensor) -> Tensor:
    """Diffuse clean latents to timestep t: ``sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps``.

    Ho et al. 2020 (arXiv:2006.11239), eq. 4.

    Args:
        x0: float of shape (B, C, H, W).
        eps: as x0.
        alpha_bar: float of shape (T,).
        t: int64 of shape (B,).

    Returns:
        x_t, as x0.
    """
    power = alpha_bar[t].to(x0.dtype).view(-1, 1, 1, 1)
    return power.sqrt() * x0 + (1 - power).sqrt() * eps


def denoising_target(x0: Tensor, eps: Tensor, alpha_bar: Tensor, t: Tensor, prediction_type: PredictionType) -> Tensor:
    """What the network is asked to predict.

    epsilon: Ho et al. 2020, eq. 14. v: Salimans & Ho 2022 (arXiv:2202.00512), section 4,
    ``v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0``.

    Args:
        x0: float of shape (B, C, H, W).
        eps: as x0.
        alpha_bar: float of shape (T,).
        t: int64 of shape (B,).
        prediction_type: what the network predicts.

    Returns:
        float, as x0.

    Raises:
        ValueError: for another prediction type.
    """
    if prediction_type == "epsilon":
        return eps
    if prediction_type == "v_prediction":
        power = alpha_bar[t].to(x0.dtype).view(-1, 1, 1, 1)
        return power.sqrt() * eps - (1 - power).sqrt() * x0
    raise ValueError(f"prediction_type must be 'epsilon' or 'v_prediction', got {prediction_type!r}")


def weighted_denoising_loss(residual: Tensor, weight: Tensor) -> Tensor:
    """Mean over the batch of weight times mean squared residual.

    Hang et al. 2023 (arXiv:2303.09556), eq. 5 with the weight of eq. 8.

    Args:
        residual: prediction minus target, float of shape (B, C, H, W).
        weight: float of shape (B,), from :func:`min_snr_weight`.

    Returns:
        float scalar, not negative.

    Example:
        >>> weighted_denoising_loss(torch.ones(2, 1, 2, 2), torch.tensor([1.0, 0.5]))
        tensor(0.7500)
    """
    per_image = residual.square().flatten(start_dim=1).mean(dim=1)
    return torch.mean(weight * per_image)
