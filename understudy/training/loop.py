"""The training loop of every phase of every arm."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.core.errors import InputError
from understudy.core.micro_batch import MicroBatch
from understudy.functional.mixup import beta, cutmix, mixup
from understudy.functional.transfer import sent
from understudy.training.accumulation import Gradients, micro_batch_of
from understudy.training.augmentations import AUGMENTATIONS
from understudy.training.auxiliary_batch_norm import AuxiliaryBatchNorm, estimate_statistics
from understudy.training.backbones import Backbone
from understudy.training.batches import (
    Images,
    batches_of,
    chosen_pixels,
    real_first,
    treats_differently,
)
from understudy.training.classifier import TrainedClassifier
from understudy.training.guides import Guides
from understudy.training.heads import begin_head
from understudy.training.layers import freeze
from understudy.training.losses import Loss
from understudy.training.precision import precision_of
from understudy.training.refresh import refresh
from understudy.training.regions import regions_of
from understudy.training.settings import CompareSettings, Phase
from understudy.training.updates import updates_of


class DivergedError(InputError):
    """Raised when the loss of a training is no longer finite."""


@final
@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimisation step.

    Attributes:
        step: its number, from 1 through all phases.
        of: number of steps in all phases together.
        phase: number of its phase, from 0.
        ends_phase: whether it is the last of its phase.
        loss: of the batch, before the update; on a GPU, reading it waits for the computation.
        learning_rate: of the update.
        micro_batch: number of images computed at once.
        classifier: the network after the update; it may be used between steps, but not changed.
    """

    step: int
    of: int
    phase: int
    ends_phase: bool
    loss: float | Tensor
    learning_rate: float
    micro_batch: int
    classifier: TrainedClassifier


_CHECK_EVERY = 50  # steps on a GPU between two checks of the loss
T = TypeVar("T")
Mix = Callable[..., tuple[Tensor, Tensor]]
Steps = Generator[Step, None, T]
"""A training in progress: yields its steps, then returns a T; see :func:`understudy.core.progress.follow`."""


def train_phase(
    backbone: Backbone,
    images: Images,
    phase: Phase,
    *,
    settings: CompareSettings,
    num_steps: int,
    rng: torch.Generator,
    guides: Guides | None = None,
    micro_batch: MicroBatch | None = None,
) -> Iterator[tuple[float | Tensor, float]]:
    """Train a network in place for one phase, with the head that it begins with and a new optimiser.

    Auxiliary batch norm lasts as long as the phase; without real images, its statistics are estimated after
    the last step from ``images.unlabelled``, without augmentation.

    Args:
        backbone: its model is trained in place.
        images: the images of the phase.
        phase: its head, which layers are trained, and how images are used.
        settings: of the phase; ``steps`` is not used.
        num_steps: steps of this phase, at least 1.
        rng: decides the order of images, their augmentation and their mixing.
        guides: teacher and extractor, if the phase needs them.
        micro_batch: number of images computed at once; that of the settings if not given.

    Yields:
        Loss and learning rate after each step.

    Raises:
        DivergedError: if the loss is not finite.
        InputError: as :func:`understudy.training.heads.begin_head`; if Mixup or CutMix has only one class to
            mix, if the share of real images rounds to none or all of a batch, or if auxiliary batch norm is
            set for a network without batch norm.
    """
    precision = precision_of(images.device, images.size)
    begin_head(backbone, images, phase, batch_size=settings.batch_size)
    model, augment = precision.laid_out(backbone.model), AUGMENTATIONS[settings.augmentation]
    targets = targets_of(images.labels, phase, model)
    seed = rng.initial_seed() % 2**32  # drawing a seed would change the batches
    regions = regions_of(backbone, images, phase, batch_size=settings.batch_size, seed=seed)
    freeze(model, phase)
    auxiliary = AuxiliaryBatchNorm(model, phase.auxiliary_batch_norm, name=settings.backbone)
    loss_of = Loss(backbone, phase, label_smoothing=settings.label_smoothing, guides=guides or Guides())
    micro_batch = micro_batch or micro_batch_of(model, settings)
    gradients = Gradients(model, loss_of, auxiliary, precision, micro_batch)
    losses = _Losses(waits=precision.waits)
    order = _order(images, phase, settings.batch_size, num_steps=num_steps, rng=rng)
    updates = updates_of(model, loss_of, phase, settings=settings, num_steps=num_steps)
    for step, ((batch, num_real), (optimiser, learning_rate)) in enumerate(zip(order, updates, strict=True)):
        pixels, chosen = images.chosen(batch)
        x = augment(pixels, backbone.normalise, rng)
        x, y = mixed_batch(x, targets[chosen], phase, rng, num_real=num_real)
        of_batch = None if regions is None else regions[chosen]
        losses.add(gradients.replace(optimiser, x, y, num_real, of_batch))
        optimiser.step()
        if step + 1 == num_steps and phase.auxiliary_batch_norm != "none":
            _end_auxiliary(auxiliary, backbone, images, settings.batch_size)
        yield losses.last, learning_rate
    losses.check()


@final
class _Losses:
    """Checks that losses are finite: each at once, or many together so that a GPU can run ahead."""

    def __init__(self, *, waits: bool) -> None:
        self._every = 1 if waits else _CHECK_EVERY
        self._unchecked: list[Tensor] = []
        self._checked = 0
        self.last: float | Tensor = math.nan

    def add(self, loss: Tensor) -> None:
        """Add the loss of the next step."""
        self.last = loss
        self._unchecked.append(self.last)
        if len(self._unchecked) == self._every:
            self.check()

    def check(self) -> None:
        """Wait for the losses so far and check them.

        Raises:
            DivergedError: naming the first step whose loss is not finite.
        """
        if not self._unchecked:
            return
        values = torch.stack(self._unchecked).tolist()
        for number, value in enumerate(values, start=self._checked + 1):
            if not math.isfinite(value):
                raise DivergedError(
                    f"the loss of the classifier must stay finite, got {value} at step {number}: lower "
                    "compare.learning_rate"
                )
        self._checked, self._unchecked, self.last = self._checked + len(values), [], values[-1]


def _end_auxiliary(
    auxiliary: AuxiliaryBatchNorm, backbone: Backbone, images: Images, batch_size: int
) -> None:
    """Restore plain batch normalisation, with the statistics of real images."""
    auxiliary.remove()
    if not images.num_real:
        assert images.unlabelled is not None, "real images for the statistics"
        numbers = torch.arange(len(images.unlabelled))
        parts = numbers.tensor_split(math.ceil(len(numbers) / batch_size))
        pixels = (chosen_pixels(images.unlabelled, part, images.device) for part in parts)
        estimate_statistics(backbone.model, map(backbone.normalise, pixels))


def _order(
    images: Images, phase: Phase, batch_size: int, *, num_steps: int, rng: torch.Generator
) -> Iterator[tuple[Tensor, int]]:
    """Batches with real images first, and their number; 0 if the phase treats all images alike."""
    order = batches_of(images, phase, batch_size, num_steps=num_steps, rng=rng)
    if phase.refresh_every is not None:
        order = refresh(order, images, phase, batch_size, rng=rng)
    sorts = treats_differently(phase)
    for batch in order:
        yield real_first(batch, images.num_real) if sorts else (batch, 0)


def targets_of(labels: Tensor, phase: Phase, model: Any) -> Tensor:
    """Labels (N,), or class probabilities (N, num_classes) if the phase mixes images."""
    if not (phase.mixup or phase.cutmix):
        return labels
    if len(labels.unique()) < 2:
        raise InputError(
            "mixup and cutmix need images of at least two classes, got one: leave them out of this phase"
        )
    return F.one_hot(labels, model.num_classes).float()


def mixed_batch(
    x: Tensor, y: Tensor, phase: Phase, rng: torch.Generator, *, num_real: int
) -> tuple[Tensor, Tensor]:
    """Apply the phase's Mixup or CutMix to a batch.

    The first ``num_real`` images are mixed only with each other, the remaining images likewise.
    """
    both: tuple[tuple[float, Mix], ...] = ((phase.mixup, mixup), (phase.cutmix, cutmix))
    ways = [(alpha, way) for alpha, way in both if alpha]
    if not ways:
        return x, y
    alpha, way = ways[int(torch.randint(len(ways), (), generator=rng))]
    real, rest = torch.randperm(num_real, generator=rng), torch.randperm(len(x) - num_real, generator=rng)
    perm = sent(torch.cat([real, num_real + rest]), x.device)
    lam = beta(alpha, rng)
    if way is cutmix:
        top, left = torch.rand(2, generator=rng).tolist()
        return cutmix(x, y, perm, lam, (top, left))
    return mixup(x, y, perm, lam)


def phase_rng(seed: int, position: int) -> torch.Generator:
    """The generator of random numbers for a phase.

    ``position`` counts backwards from the last phase, which is 0, so arms with the same last phase share its
    batches.
    """
    (state,) = np.random.SeedSequence((seed, position)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state))
