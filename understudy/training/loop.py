"""The one training loop; every arm uses it, and only the images differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import timm.optim
import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.errors import InputError
from understudy.functional.augment import flip_crop, random_affine
from understudy.settings import CompareSettings
from understudy.training.backbones import Backbone

_WARMUP = 0.05
_AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "affine": random_affine,
    "flip-crop": flip_crop,
    "none": lambda x, rng: x,
}


@final
@dataclass(frozen=True)
class Step:
    """One optimisation step.

    Attributes:
        step: its number, from 1.
        loss: cross entropy with label smoothing, mean over the batch, before the update.
        learning_rate: of the update.
    """

    step: int
    loss: float
    learning_rate: float


def train_phase(
    backbone: Backbone, pixels: Tensor, labels: Tensor, *, settings: CompareSettings, num_steps: int, seed_words: tuple[int, ...]
) -> Iterator[Step]:
    """Train in place, one phase: AdamW, warm-up then cosine to zero, label smoothing, augmentation.

    Args:
        backbone: its model is trained, where it is.
        pixels: uint8 of shape (N, 3, H, W), on the model's device.
        labels: int64 of shape (N,), on the model's device.
        settings: the recipe; its ``steps`` are not used here.
        num_steps: steps of this phase, at least 1.
        seed_words: decide the order of images and their augmentation.

    Yields:
        A record after each step.

    Raises:
        InputError: if the loss is not finite.
    """
    rng = torch.Generator().manual_seed(int(np.random.SeedSequence(seed_words).generate_state(1, np.uint64)[0]))
    augment = _AUGMENTATIONS[settings.augmentation]
    model = backbone.model.train()
    groups = timm.optim.param_groups_weight_decay(model, settings.weight_decay)
    optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate)
    for step, batch in enumerate(batches(len(pixels), settings.batch_size, num_steps=num_steps, rng=rng)):
        learning_rate = settings.learning_rate * warmup_cosine(step, num_steps)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate
        chosen = batch.to(pixels.device)
        logits = model(augment(backbone.normalise(pixels[chosen]), rng))
        loss = F.cross_entropy(logits, labels[chosen], label_smoothing=settings.label_smoothing)
        if not torch.isfinite(loss):
            raise InputError(f"the classifier's loss is {loss.item()} at step {step + 1}: lower compare.learning_rate")
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        yield Step(step + 1, loss.item(), learning_rate)


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


def warmup_cosine(step: int, num_steps: int) -> float:
    """Factor of the learning rate: linear up over the first 5% of the steps, then half a cosine down.

    Loshchilov and Hutter 2017 (arXiv:1608.03983), eq. 5, without restarts.

    Args:
        step: from 0.
        num_steps: of the phase.

    Returns:
        In (0, 1].

    Example:
        >>> [round(warmup_cosine(step, 40), 2) for step in (0, 1, 2, 21, 39)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warmup = math.ceil(_WARMUP * num_steps)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (num_steps - warmup)))
