"""The one training loop; every phase of every arm goes through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import timm.optim
import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.errors import InputError
from understudy.functional.mixup import beta, cutmix, mixup
from understudy.settings import CompareSettings, Phase
from understudy.training.augmentations import AUGMENTATIONS
from understudy.training.backbones import Backbone
from understudy.training.layers import freeze, set_mode
from understudy.training.schedules import SCHEDULES


class DivergedError(InputError):
    """A training whose loss is no number any more."""


@final
@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimisation step.

    Attributes:
        step: its number, from 1 through all phases.
        of: steps of all phases.
        phase: number of its phase, from 0.
        ends_phase: whether it is the last of its phase.
        loss: cross entropy with label smoothing, mean over the batch, before the update.
        learning_rate: of the update.
    """

    step: int
    of: int
    phase: int
    ends_phase: bool
    loss: float
    learning_rate: float


@final
@dataclass(frozen=True, eq=False)
class Images:
    """What a phase trains on, on the model's device, real images first.

    Attributes:
        pixels: uint8 (N, 3, H, W).
        labels: int64 (N,).
        num_real: how many of them are real.
    """

    pixels: Tensor
    labels: Tensor
    num_real: int


def train_phase(
    backbone: Backbone, images: Images, phase: Phase, *, settings: CompareSettings, num_steps: int, rng: torch.Generator
) -> Iterator[tuple[float, float]]:
    """Train in place, one phase, with an optimiser of its own.

    Args:
        backbone: its model is trained, where it is.
        images: to train on.
        phase: which layers, and what mixes images.
        settings: the recipe of the phase; its ``steps`` are not used here.
        num_steps: steps of this phase, at least 1.
        rng: decides the order of images and all changes to them.

    Yields:
        Loss and learning rate after each step.

    Raises:
        DivergedError: if the loss is not finite.
        InputError: if there is nothing to mix, or a share of real images that rounds to none or all of a batch.
    """
    model, schedule, augment = backbone.model, SCHEDULES[settings.schedule], AUGMENTATIONS[settings.augmentation]
    targets = _targets(images.labels, phase, model)
    freeze(model, phase)
    optimiser = timm.optim.create_optimizer_v2(
        model, settings.optimiser, lr=settings.learning_rate, weight_decay=settings.weight_decay, momentum=0.9
    )
    for step, batch in enumerate(_batches_of(images, phase, settings.batch_size, num_steps=num_steps, rng=rng)):
        set_mode(model, phase)  # whoever looks at the model between steps may have changed it
        learning_rate = settings.learning_rate * schedule(step, num_steps)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate
        chosen = batch.to(images.pixels.device)
        x, y = _mixed(augment(images.pixels[chosen], backbone.normalise, rng), targets[chosen], phase, rng)
        loss = F.cross_entropy(model(x), y, label_smoothing=settings.label_smoothing)
        if not torch.isfinite(loss):
            raise DivergedError(f"the classifier's loss is {loss.item()} at step {step + 1}: lower compare.learning_rate")
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        yield loss.item(), learning_rate


def batches(num_images: int, batch_size: int, *, num_steps: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Image numbers for each step: shuffled epochs end to end, cut into equal batches.

    Every image is seen once before any is seen again, also where an epoch is shorter than a batch.

    Args:
        num_images: N, at least 1.
        batch_size: B.
        num_steps: how many batches.
        rng: source of the order.

    Yields:
        int64 of shape (B,), in [0, N).
    """
    waiting = torch.empty(0, dtype=torch.int64)
    for _ in range(num_steps):
        while len(waiting) < batch_size:
            waiting = torch.cat([waiting, torch.randperm(num_images, generator=rng)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def _batches_of(images: Images, phase: Phase, batch_size: int, *, num_steps: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Batches of all images, or with a fixed share of real ones, each kind in epochs of its own."""
    if phase.real_share is None:
        yield from batches(len(images.labels), batch_size, num_steps=num_steps, rng=rng)
        return
    num_real = real_per_batch(phase, batch_size)
    real = batches(images.num_real, num_real, num_steps=num_steps, rng=rng)
    synthetic = batches(len(images.labels) - images.num_real, batch_size - num_real, num_steps=num_steps, rng=rng)
    for first, second in zip(real, synthetic, strict=True):
        yield torch.cat([first, images.num_real + second])


def real_per_batch(phase: Phase, batch_size: int) -> int:
    """Real images in a batch of a phase with a ``real_share``; 0 without.

    Raises:
        InputError: if the share rounds to none or all of the batch.
    """
    if phase.real_share is None:
        return 0
    num_real = round(phase.real_share * batch_size)
    if not 0 < num_real < batch_size:
        raise InputError(f"real_share {phase.real_share:g} of {batch_size} images must leave one of each kind, got {num_real} real ones")
    return num_real


def _targets(labels: Tensor, phase: Phase, model: Any) -> Tensor:
    """Labels, or their probabilities where images are mixed."""
    if not (phase.mixup or phase.cutmix):
        return labels
    if len(labels.unique()) < 2:
        raise InputError("mixup and cutmix need images of at least two classes, got one: leave them out of the phase")
    return F.one_hot(labels, model.num_classes).float()


def _mixed(x: Tensor, y: Tensor, phase: Phase, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The batch, mixed as the phase says."""
    ways: list[tuple[float, Callable[..., tuple[Tensor, Tensor]]]] = [
        (alpha, way) for alpha, way in ((phase.mixup, mixup), (phase.cutmix, cutmix)) if alpha
    ]
    if not ways:
        return x, y
    alpha, way = ways[int(torch.randint(len(ways), (), generator=rng))]
    perm = torch.randperm(len(x), generator=rng).to(x.device)
    lam = beta(alpha, rng)
    if way is cutmix:
        top, left = torch.rand(2, generator=rng).tolist()
        return cutmix(x, y, perm, lam, (top, left))
    return mixup(x, y, perm, lam)


def phase_rng(seed: int, position: int) -> torch.Generator:
    """What decides a phase's batches; ``position`` counts from the last phase, 0, so that arms share their last phase's batches."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence((seed, position)).generate_state(1, np.uint64)[0]))
