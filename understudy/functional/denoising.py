"""Formulas of denoising diffusion: signal-to-noise ratios, loss weights, targets.

Symbols, as in Ho et al. 2020 (arXiv:2006.11239) and Hang et al. 2023 (arXiv:2303.09556)::

    x0         clean latents                          (B, C, H, W)
    eps        standard normal noise                  (B, C, H, W)
    t          timestep                               (B,), int64
    alpha_bar  cumulative signal power of a schedule  (T,), in (0, 1), decreasing
    sigma      share of noise in flow matching        (B,), in (0, 1], Esser et al. 2024 (arXiv:2403.03206)
    snr        alpha_bar / (1 - alpha_bar), or ((1 - sigma) / sigma) ** 2
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

PredictionType = Literal["epsilon", "v_prediction", "flow"]


def check_prediction_type(prediction_type: str) -> None:
    """Check that the prediction type is one that the formulas cover.

    Raises:
        ValueError: for an unknown prediction type.
    """
    if prediction_type not in get_args(PredictionType):
        raise ValueError(
            f"prediction_type must be 'epsilon', 'v_prediction' or 'flow', got {prediction_type!r}"
        )


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
    """Loss weight that keeps timesteps with little noise from dominating.

    Hang et al. 2023 (arXiv:2303.09556), eq. 8 and section 3.4: the weight of the squared error in x0 is
    min(snr, gamma). It is divided by the ratio of the squared errors of the prediction and of x0, which is
    snr for epsilon, snr + 1 for v and 1 / sigma^2 for flow; see :func:`x0_error`.

    Args:
        snr: float of shape (B,), positive; for v and flow also 0.
        gamma: the ratio above which the weight is constant, positive; 5 in the paper. With ``inf``, the loss
            for epsilon is unweighted.
        prediction_type: quantity that the network predicts.

    Returns:
        float of shape (B,), in [0, 1].

    Raises:
        ValueError: for an unknown prediction type.

    Example:
        >>> min_snr_weight(torch.tensor([2.5, 5.0, 50.0]), 5.0)
        tensor([1.0000, 1.0000, 0.1000])
    """
    clipped = snr.clamp(max=gamma)
    if prediction_type == "epsilon":
        return clipped / snr
    if prediction_type == "v_prediction":
        return clipped / (snr + 1)
    check_prediction_type(prediction_type)
    return clipped * flow_sigma(snr) ** 2


def flow_sigma(snr: Tensor) -> Tensor:
    """Share of noise in flow matching at a signal-to-noise ratio: ``1 / (1 + sqrt(snr))``.

    This is the inverse of ``snr = ((1 - sigma) / sigma) ** 2``.

    Args:
        snr: float of any shape, not negative.

    Returns:
        float as snr, in (0, 1].

    Example:
        >>> flow_sigma(torch.tensor([0.0, 1.0, 9.0]))
        tensor([1.0000, 0.5000, 0.2500])
    """
    return 1 / (1 + snr.sqrt())


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
    # The roots come before the cast, because in half precision 1 - power is 0 at the first timesteps.
    power = alpha_bar[t].view(-1, 1, 1, 1)
    return power.sqrt().to(x0.dtype) * x0 + (1 - power).sqrt().to(x0.dtype) * eps


def add_flow_noise(x0: Tensor, eps: Tensor, sigma: Tensor) -> Tensor:
    """Move clean latents along the straight path to noise: ``(1 - sigma) x0 + sigma eps``.

    Lipman et al. 2023 (arXiv:2210.02747); Esser et al. 2024 (arXiv:2403.03206), eq. 1 with rectified flow.

    Args:
        x0: float of shape (B, C, H, W).
        eps: as x0.
        sigma: float of shape (B,), in [0, 1].

    Returns:
        x_t, as x0.
    """
    share = sigma.to(x0.dtype).view(-1, 1, 1, 1)
    return share * eps + (1 - share) * x0


def denoising_target(
    x0: Tensor, eps: Tensor, alpha_bar: Tensor, t: Tensor, prediction_type: PredictionType
) -> Tensor:
    """The target of a network that is trained on the schedule ``alpha_bar``.

    For epsilon it is ``eps`` (Ho et al. 2020, eq. 14), for v it is
    ``v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0`` (Salimans & Ho 2022, arXiv:2202.00512, section 4),
    and for flow matching ``eps - x0``.

    Args:
        x0: float of shape (B, C, H, W).
        eps: as x0.
        alpha_bar: float of shape (T,).
        t: int64 of shape (B,).
        prediction_type: quantity that the network predicts.

    Returns:
        float, as x0.

    Raises:
        ValueError: for an unknown prediction type.
    """
    if prediction_type == "epsilon":
        return eps
    if prediction_type == "v_prediction":
        power = alpha_bar[t].view(-1, 1, 1, 1)
        return power.sqrt().to(x0.dtype) * eps - (1 - power).sqrt().to(x0.dtype) * x0
    check_prediction_type(prediction_type)
    return eps - x0


def x0_error(residual: Tensor, snr: Tensor, prediction_type: PredictionType) -> Tensor:
    """The error of the predicted clean latents, predicted x0 minus x0, from the residual of the prediction.

    It follows from solving x_t for x0 with the prediction in place of the target: ``-residual / sqrt(snr)``
    for epsilon, ``-residual / sqrt(1 + snr)`` for v, ``-sigma residual`` for flow.

    Args:
        residual: prediction minus target, float of shape (B, C, H, W).
        snr: float of shape (B,), positive; for v and flow also 0.
        prediction_type: quantity that the network predicts.

    Returns:
        float, as residual.

    Raises:
        ValueError: for an unknown prediction type.

    Example:
        >>> x0_error(torch.ones(1, 1, 1, 1), torch.tensor([4.0]), "epsilon").item()
        -0.5
    """
    check_prediction_type(prediction_type)
    factor = {
        "epsilon": lambda: snr.rsqrt(),
        "v_prediction": lambda: (1 + snr).rsqrt(),
        "flow": lambda: flow_sigma(snr),
    }[prediction_type]()
    return -factor.view(-1, 1, 1, 1) * residual


def predicted_x0(x_t: Tensor, prediction: Tensor, snr: Tensor, prediction_type: PredictionType) -> Tensor:
    """The clean latents that follow from noisy latents and a prediction, in one step.

    x_t is solved for x0, with the prediction in place of the target: for epsilon ``x_t / sqrt(alpha_bar) -
    prediction / sqrt(snr)`` (Ho et al. 2020, eq. 15), for v ``sqrt(alpha_bar) x_t - sqrt(1 - alpha_bar)
    prediction`` (Salimans & Ho 2022, arXiv:2202.00512, appendix D), for flow ``x_t - sigma prediction``.

    Args:
        x_t: float of shape (B, C, H, W).
        prediction: of the network at x_t, as x_t.
        snr: float of shape (B,), positive; for v and flow also 0.
        prediction_type: quantity that the network predicts.

    Returns:
        float, as x_t.

    Raises:
        ValueError: for an unknown prediction type.

    Example:
        >>> one = torch.ones(1, 1, 1, 1)
        >>> predicted_x0(one, 0.5 * one, torch.tensor([1.0]), "flow").item()
        0.75
    """
    error = x0_error(prediction, snr, prediction_type)
    share = {
        "epsilon": lambda: (1 + 1 / snr).sqrt(),
        "v_prediction": lambda: (snr / (1 + snr)).sqrt(),
        "flow": lambda: torch.ones_like(snr),
    }[prediction_type]()
    return share.view(-1, 1, 1, 1) * x_t + error


def ddim_step(
    x0: Tensor, eps: Tensor, residual: Tensor, snr: Tensor, prediction_type: PredictionType
) -> tuple[Tensor, Tensor]:
    """The clean latents and the noise that a network sees in x_t, from a first guess of both.

    Every pair that gives x_t will do as a guess. A deterministic step of Song et al. 2021 (arXiv:2010.02502,
    eq. 12 with sigma 0) mixes the result again at the next timestep: there it is the guess. So a whole
    drawing is a chain of these steps, from the guess x0 = 0 and eps = x_T.

    Args:
        x0: guess of the clean latents, float of shape (B, C, H, W).
        eps: guess of the noise, as x0.
        residual: prediction of the network at x_t minus the target of the guess, as x0.
        snr: at t, float of shape (B,), positive; for v and flow also 0.
        prediction_type: quantity that the network predicts.

    Returns:
        x0 and eps according to the network, which also give x_t; as x0.

    Raises:
        ValueError: for an unknown prediction type.

    Example:
        >>> one = torch.ones(1, 1, 1, 1)
        >>> x0, eps = ddim_step(0 * one, 2 * one, one, torch.tensor([4.0]), "epsilon")
        >>> x0.item(), eps.item()
        (-0.5, 3.0)
    """
    error = x0_error(residual, snr, prediction_type)
    return x0 + error, eps - snr.sqrt().view(-1, 1, 1, 1) * error


def num_steps_from_snr(grid_snr: Tensor, snr: float) -> int:
    """Number of solver steps if drawing starts at the grid point nearest to a signal-to-noise ratio.

    Distance is measured in the logarithm of the ratio, as solvers measure their steps (Lu et al. 2022,
    arXiv:2206.00927).

    Args:
        grid_snr: ratio at each grid point in the order of drawing, float of shape (num_steps,), not negative,
            ascending.
        snr: the wanted ratio, positive.

    Returns:
        Between 1 (only the last point) and num_steps (all points).

    Example:
        >>> num_steps_from_snr(torch.tensor([0.01, 0.1, 1.0, 10.0]), 0.2)
        3
    """
    floor = 1e-8  # flow matching starts from pure noise, whose SNR is 0
    distance = (grid_snr.clamp(min=floor).log() - math.log(max(snr, floor))).abs()
    return len(grid_snr) - int(distance.argmin())


def strength_of(num_executed: int, num_steps: int) -> float:
    """The strength at which the image-to-image pipelines of diffusers execute this many steps.

    They execute ``int(num_steps * strength)`` steps, which is one too few if the quotient was rounded down.

    Args:
        num_executed: steps to execute, from 1 to num_steps.
        num_steps: steps of the full grid.

    Returns:
        ``num_executed / num_steps``, or the next larger number.

    Example:
        >>> strength_of(22, 30)
        0.7333333333333333
    """
    strength = num_executed / num_steps
    return strength if int(num_steps * strength) == num_executed else math.nextafter(strength, 1.0)


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
