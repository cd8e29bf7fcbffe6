"""Draws latents during adaptation, with gradients through the last steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from understudy.adaptation.inputs import Batch, DrawnBatch
from understudy.functional.denoising import ddim_step
from understudy.generators.generator import NoiseSchedule

_WITH_GRADIENTS = 2


@final
@dataclass(frozen=True, eq=False)
class Drawn:
    """Latents without gradients, and what their last steps start from.

    Attributes:
        latents: drawn latents, float32 (B, C, h, w).
        x0, eps: clean latents and noise before the last steps, as ``latents``.
    """

    latents: Tensor
    x0: Tensor
    eps: Tensor


@final
@dataclass(frozen=True, eq=False)
class Drawing:
    """Draws by DDIM (Song et al. 2021, arXiv:2010.02502), without guidance.

    Timesteps are spaced evenly and begin at the last one. Gradients flow through the last two steps alone, as
    in Clark et al. 2024 (arXiv:2309.17400): a drawing without gradients stores what these steps start from,
    and they are repeated with gradients, slice by slice.

    Attributes:
        schedule: timesteps of the denoiser.
        residual: computes prediction minus target for images of a batch, as
            :meth:`understudy.adaptation.objective.Objective.residual`.
        num_steps: steps from noise to image, at least 2.
    """

    schedule: NoiseSchedule
    residual: Callable[[Batch, Tensor], Tensor]
    num_steps: int

    @torch.no_grad()
    def draw(self, batch: DrawnBatch, parts: Sequence[Tensor]) -> Drawn:
        """Draw the images ``parts``, indices int64, of a batch, one part at a time."""
        drawn = []
        for part in parts:
            noise = batch.noise[part.to(batch.noise.device)].float()
            x0, eps = self._steps(batch, part, (torch.zeros_like(noise), noise), slice(0, -_WITH_GRADIENTS))
            latents, _ = self._steps(batch, part, (x0, eps), slice(-_WITH_GRADIENTS, None))
            drawn.append((latents, x0, eps))
        return Drawn(*(torch.cat(tensors) for tensors in zip(*drawn, strict=True)))

    def last_steps(self, batch: DrawnBatch, part: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
        """Repeat the last steps of the images ``part`` with gradients; returns latents, as ``x0``."""
        return self._steps(batch, part, (x0, eps), slice(-_WITH_GRADIENTS, None))[0]

    def _steps(
        self, batch: DrawnBatch, part: Tensor, state: tuple[Tensor, Tensor], which: slice
    ) -> tuple[Tensor, Tensor]:
        snr, selected, (x0, eps) = self.schedule.snr, batch.real.select(part), state
        everything = torch.arange(len(part))
        for time in trailing_timesteps(len(snr), self.num_steps)[which]:
            t = torch.full((len(part),), time, device=x0.device)
            residual = self.residual(replace(selected, x0=x0, eps=eps, t=t), everything)
            x0, eps = ddim_step(x0, eps, residual, snr[t], self.schedule.prediction_type)
        return x0, eps


def trailing_timesteps(num_timesteps: int, num_steps: int) -> list[int]:
    """Evenly spaced timesteps that begin at the last one, as ``trailing`` in diffusers.

    Lin et al. 2024 (arXiv:2305.08891, table 2).

    Example:
        >>> trailing_timesteps(1000, 5)
        [999, 799, 599, 399, 199]
    """
    return [round(num_timesteps * (1 - number / num_steps)) - 1 for number in range(num_steps)]
