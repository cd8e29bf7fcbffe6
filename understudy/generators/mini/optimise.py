"""The training loop of every network, and how long it runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

_WARMUP_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much is spent on each network.

    Attributes:
        images: printed glyphs to train on; a tenth as many, drawn with another seed, are held out.
        vae_steps, clip_steps, unet_steps, classifier_steps: optimisation steps.
        batch_size: images per step.
        checkpoint_every: UNet steps between checkpoints.
        vae_channels, unet_channels: widths by resolution, finest first.
        unet_peak_lr: learning rate of the UNet after warm-up.
    """

    images: int = 80_000
    vae_steps: int = 2_000
    clip_steps: int = 3_000
    unet_steps: int = 8_000
    classifier_steps: int = 2_000
    batch_size: int = 128
    checkpoint_every: int = 1_000
    vae_channels: tuple[int, int, int] = (16, 32, 64)
    unet_channels: tuple[int, int] = (32, 96)
    unet_peak_lr: float = 1.5e-3

    def smoke(self) -> Self:
        """A few steps of everything, to see that it runs."""
        return replace(
            self,
            images=512,
            vae_steps=4,
            clip_steps=4,
            unet_steps=6,
            classifier_steps=4,
            batch_size=16,
            checkpoint_every=3,
        )


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a network is trained.

    Attributes:
        name: name of the network in progress lines.
        num_images: images to draw batches from.
        steps: optimisation steps.
        batch_size: images per step.
        peak_lr: learning rate after warm-up.
    """

    name: str
    num_images: int
    steps: int
    batch_size: int
    peak_lr: float

    def learning_rate(self, step: int) -> float:
        """A short linear warm-up, times a cosine to zero."""
        warm = min(1.0, (step + 1) / min(_WARMUP_STEPS, self.steps))
        return self.peak_lr * warm * 0.5 * (1 + math.cos(math.pi * (step / self.steps)))


def optimise(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[Tensor, torch.Generator], Tensor],
    schedule: Schedule,
    *,
    after_step: Callable[[int, torch.optim.Optimizer], None] = lambda step, optimizer: None,
    resume: dict[str, Any] | None = None,
) -> None:
    """Train with AdamW; the batch of step i depends on i alone.

    Args:
        parameters: weights to train.
        loss: maps the indices of a batch, int64 (B,), and a source of randomness to the loss.
        schedule: steps, batch size and learning rate.
        after_step: called with the number of finished steps and the optimiser.
        resume: a checkpoint with ``optimizer`` and ``step``.
    """
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=schedule.peak_lr, weight_decay=0.01)
    first = 0
    if resume:
        optimizer.load_state_dict(resume["optimizer"])
        first = resume["step"]
    start, recent = time.monotonic(), []
    for step in range(first, schedule.steps):
        rng = torch.Generator().manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate(step)
        value = loss(torch.randint(schedule.num_images, (schedule.batch_size,), generator=rng), rng)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        recent.append(value.item())
        after_step(step + 1, optimizer)
        if (step + 1) % 100 == 0 or step + 1 == schedule.steps:
            mean, seconds = np.mean(recent[-100:]), time.monotonic() - start
            print(f"{schedule.name} {step + 1}/{schedule.steps} loss {mean:.4f} {seconds:.0f}s", flush=True)
