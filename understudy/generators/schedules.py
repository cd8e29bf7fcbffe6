"""Noise schedules: diffusion (Stable Diffusion 1, 2, XL) and flow matching (SD 3, FLUX.1, Sana)."""

from __future__ import annotations

from typing import Any, Protocol, final

import numpy as np
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from understudy.core.errors import InputError
from understudy.functional.denoising import (
    PredictionType,
    add_flow_noise,
    add_noise,
    denoising_target,
    num_steps_from_snr,
    signal_to_noise_ratio,
    strength_of,
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

    def set_timesteps(self, solver: Any, steps: int) -> None:
        """Set the timesteps of a solver for drawing from pure noise, as the pipeline sets them."""

    def grid_snr(self, solver: Any) -> Tensor:
        """Signal-to-noise ratios at a solver's timesteps, ascending, float32 (num_steps,)."""


def strength_near(snr: float, schedule: Schedule, solver: Any, *, sampler: str, steps: int) -> float:
    """The strength, in (0, 1], at which drawing starts at the grid point nearest to an SNR.

    Args:
        snr: signal-to-noise ratio.
        schedule: of the pipeline.
        solver: whose timesteps are set.
        sampler: name of the solver, for the message.
        steps: number of steps of the full grid.

    Raises:
        InputError: if the solver cannot take so many steps.
    """
    try:
        schedule.set_timesteps(solver, steps)
    except ValueError as error:
        raise InputError(
            f"draw.steps must be fewer for draw.sampler={sampler!r}, got {steps}, more than it can place"
        ) from error
    return strength_of(num_steps_from_snr(schedule.grid_snr(solver), snr), steps)


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

    def set_timesteps(self, solver: Any, steps: int) -> None:
        """Let the solver place its timesteps."""
        solver.set_timesteps(steps)

    def grid_snr(self, solver: Any) -> Tensor:
        """The schedule's ratio at each of the solver's timesteps."""
        return self.snr[solver.timesteps.cpu().long()]


@final
class FlowSchedule:
    """The straight path of flow matching, ``(1 - sigma) x0 + sigma eps``.

    The sigmas are those that the pipeline was trained with, including the shift. diffusers lists them from
    noise to data; here timestep 0 has the smallest sigma and T - 1 has sigma 1, so that noise grows with the
    timestep as in diffusion. A shift that depends on the size of the image (``use_dynamic_shifting``; Esser
    et al. 2024, section 5.3.2) is constant here, because all images of a generator have one size.

    Args:
        config: configuration of the pipeline's scheduler.
        num_patches: how many positions the transformer has for an image; None if the pipeline cannot shift
            by them.
        even_steps: whether the pipeline takes n equal steps before the shift, with sigmas from 1 to 1 / n, as
            FLUX.1 does; otherwise the solver places them.

    Raises:
        InputError: for another kind of scheduler, or sigmas that depend on the image size in a pipeline that
            cannot use them.
    """

    is_flow = True
    prediction_type: PredictionType = "flow"

    def __init__(self, config: Any, *, num_patches: int | None = None, even_steps: bool = False) -> None:
        is_dynamic = bool(config.get("use_dynamic_shifting"))
        if "shift" not in config or config.get("invert_sigmas") or (is_dynamic and num_patches is None):
            fixed = " with a fixed shift" if num_patches is None else ""
            raise InputError(
                f"the generator's scheduler must be a FlowMatchEulerDiscreteScheduler{fixed}, got "
                f"{config.get('_class_name', 'another')} with use_dynamic_shifting {is_dynamic} and "
                f"invert_sigmas {bool(config.get('invert_sigmas'))}: copy the folder 'scheduler' of the "
                "original pipeline"
            )
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(config)
        sigmas: Tensor = scheduler.sigmas.flip(0)
        self._options: dict[str, float] = {}
        if is_dynamic and num_patches is not None:
            self._options = {"mu": _mu(scheduler.config, num_patches)}
            sigmas = scheduler.time_shift(self._options["mu"], 1.0, sigmas)
        self._sigmas = sigmas
        self._even_steps = even_steps
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

    def set_timesteps(self, solver: Any, steps: int) -> None:
        """Give the solver the pipeline's sigmas before the shift, and the shift if it is not the solver's."""
        if self._even_steps:
            solver.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), **self._options)
        else:
            solver.set_timesteps(steps, **self._options)

    def grid_snr(self, solver: Any) -> Tensor:
        """Ratios at the solver's sigmas, without the last, which is the clean image."""
        return _flow_snr(solver.sigmas[:-1].cpu())


def _mu(config: Any, num_patches: int) -> float:
    """The parameter of a shift that depends on the image size: a line through two points, not clipped."""
    slope = (config["max_shift"] - config["base_shift"]) / (
        config["max_image_seq_len"] - config["base_image_seq_len"]
    )
    return float(config["base_shift"] + slope * (num_patches - config["base_image_seq_len"]))


def _flow_snr(sigma: Tensor) -> Tensor:
    return ((1 - sigma) / sigma) ** 2
