"""Noise schedules: diffusion (Stable Diffusion 1, 2, XL) and flow matching (Stable Diffusion 3)."""

from __future__ import annotations

from typing import Any, Protocol, final

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from understudy.core.errors import InputError
from understudy.functional.denoising import (
    PredictionType,
    add_flow_noise,
    add_noise,
    denoising_target,
    signal_to_noise_ratio,
)
from understudy.generators.generator import NoiseSchedule

_MAX_LAST_SNR = 0.1


class Schedule(NoiseSchedule, Protocol):
    """The training timesteps of a pipeline, and how noise is added at each of them."""

    @property
    def is_flow(self) -> bool:
        """Whether this is flow matching, which needs other samplers than diffusion."""

    def noised(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Add the noise of timesteps ``t``, int64 (B,), to latents ``x0``, (B, C, h, w)."""

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the denoiser should predict, as x0."""

    def network_time(self, t: Tensor) -> Tensor:
        """Timesteps, int64 (B,), in the unit of the denoiser."""

    def grid_snr(self, solver: Any) -> Tensor:
        """Signal-to-noise ratios at a solver's timesteps, ascending, float32 (num_steps,)."""


@final
class DiffusionSchedule:
    """A variance-preserving schedule, ``sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps``.

    Args:
        config: configuration of the pipeline's scheduler.

    Raises:
        InputError: for another kind of schedule, or an unknown prediction type.
    """

    is_flow = False

    def __init__(self, config: Any) -> None:
        if "beta_schedule" not in config or config["prediction_type"] not in ("epsilon", "v_prediction"):
            raise InputError(
                "the generator's scheduler must have a beta_schedule and the prediction_type 'epsilon' or "
                f"'v_prediction', got {config.get('_class_name', 'another')} with "
                f"{config.get('prediction_type')!r}: choose another pipeline"
            )
        self.prediction_type: PredictionType = config["prediction_type"]
        self._alpha_bar: Tensor = DDPMScheduler.from_config(config).alphas_cumprod
        if not len(self._alpha_bar) or not ((self._alpha_bar >= 0) & (self._alpha_bar <= 1)).all():
            raise InputError(
                "the generator's scheduler must keep a share of the signal from 0 to 1 at each timestep, got "
                f"beta_start {config.get('beta_start')}, beta_end {config.get('beta_end')} and "
                f"{len(self._alpha_bar)} training timesteps: copy the folder 'scheduler' of the original "
                "pipeline"
            )
        self.snr = signal_to_noise_ratio(self._alpha_bar, torch.arange(len(self._alpha_bar)))
        self._check_last(float(self.snr[-1]))

    def _check_last(self, snr: float) -> None:
        """Check the last timestep, at which drawing starts from pure noise."""
        if snr > _MAX_LAST_SNR:
            raise InputError(
                "the generator's scheduler must end in nearly pure noise, but its last of "
                f"{len(self.snr)} training timesteps has a signal-to-noise ratio of {snr:.2g} (Stable "
                "Diffusion: 0.005): set num_train_timesteps in its scheduler_config.json to the number that "
                "the model was trained with"
            )
        if snr <= 0 and self.prediction_type == "epsilon":
            raise InputError(
                "the generator's scheduler has no signal at its last timestep (rescale_betas_zero_snr), "
                "where a model with the prediction_type 'epsilon' predicts nothing: set one of the two in "
                "its scheduler_config.json to what the model was trained with"
            )

    def noised(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """See :func:`understudy.functional.denoising.add_noise`."""
        return add_noise(x0, eps, self._alpha_bar.to(x0.device), t)

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """See :func:`understudy.functional.denoising.denoising_target`."""
        return denoising_target(x0, eps, self._alpha_bar.to(x0.device), t, self.prediction_type)

    def network_time(self, t: Tensor) -> Tensor:
        """The timestep itself."""
        return t

    def grid_snr(self, solver: Any) -> Tensor:
        """The schedule's ratio at each of the solver's timesteps."""
        return self.snr[solver.timesteps.cpu().long()]


@final
class FlowSchedule:
    """The straight path of flow matching, ``(1 - sigma) x0 + sigma eps``.

    The sigmas are those that the pipeline was trained with, including the shift. diffusers lists them from
    noise to data; here timestep 0 has the smallest sigma and T - 1 has sigma 1, so that noise grows with the
    timestep as in diffusion.

    Args:
        config: configuration of the pipeline's scheduler.

    Raises:
        InputError: for another kind of scheduler, or sigmas that depend on the image size.
    """

    is_flow = True
    prediction_type: PredictionType = "flow"

    def __init__(self, config: Any) -> None:
        if "shift" not in config or config.get("use_dynamic_shifting") or config.get("invert_sigmas"):
            raise InputError(
                "the generator's scheduler must be a FlowMatchEulerDiscreteScheduler with a fixed shift, "
                f"got {config.get('_class_name', 'another')}: set use_dynamic_shifting and invert_sigmas to "
                "false in its scheduler_config.json"
            )
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(config)
        self._sigmas: Tensor = scheduler.sigmas.flip(0)
        self._num_timesteps: int = config["num_train_timesteps"]
        self.snr = _flow_snr(self._sigmas)

    def noised(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """See :func:`understudy.functional.denoising.add_flow_noise`."""
        return add_flow_noise(x0, eps, self._sigmas.to(x0.device)[t])

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The direction from data to noise."""
        return eps - x0

    def network_time(self, t: Tensor) -> Tensor:
        """Sigma times the number of timesteps, float32."""
        return self._sigmas.to(t.device)[t] * self._num_timesteps

    def grid_snr(self, solver: Any) -> Tensor:
        """Ratios at the solver's sigmas, without the last, which is the clean image."""
        return _flow_snr(solver.sigmas[:-1].cpu())


def _flow_snr(sigma: Tensor) -> Tensor:
    return ((1 - sigma) / sigma) ** 2
