"""Many trainings of one arm, on images and with seeds of their own: the shadow models of a membership audit.

Each training is that of :func:`understudy.training.fit.fit_arm`: same order, augmentation, schedule and optimiser, so the same weights
up to rounding, which grows with the steps. What differs is how the work is laid out. On a GPU the networks are stacked (torch.func), and
one step moves all of them. On a CPU a stack is slower than its parts, since convolutions with many weights fall out of the cache and of the
fast kernels; there, every core trains a network of its own, with channels last in memory and a fused optimiser.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast, final

import timm.optim
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional as F

from understudy.data.labelled_set import LabelledSet
from understudy.training.arms import Arm, find_arm
from understudy.training.augmentations import AUGMENTATIONS
from understudy.training.backbones import Backbone, build_backbone, seeded_globals
from understudy.training.batches import Images, batches_of
from understudy.training.classifier import TrainedClassifier
from understudy.training.fit import fit_arm, phase_images, phase_sets, reset_head
from understudy.training.loop import DivergedError, mixed_batch, phase_rng, targets_of
from understudy.training.schedules import SCHEDULES
from understudy.training.settings import CompareSettings, Phase

_GLOBALS = threading.Lock()
"""Held while torch's global generators are in use, of which there is one for all threads."""
_ON_GPU = 16  # networks in a stack


@final
@dataclass(frozen=True, eq=False)
class Member:
    """One training.

    Attributes:
        train: real images.
        synthetic: drawn images; may be None if the arm does not use any.
        seed: decides head, order and augmentation.
    """

    train: LabelledSet
    synthetic: LabelledSet | None
    seed: int


def fit_ensemble(
    name: str,
    members: Sequence[Member],
    *,
    settings: CompareSettings,
    device: str,
    stacked: int | None = None,
    on_step: Callable[[], Any] | None = None,
) -> list[TrainedClassifier]:
    """Train an arm once for each member.

    Arms with a phase that is more than images, Mixup, CutMix, a share of real images and a fresh head, or that is counted in epochs, which
    are longer for more images, networks with dropout, and optimisers other than AdamW are trained one after the other by
    :func:`understudy.training.fit.fit_arm`. So are soft labels, whose teacher is trained on the member's own real images.

    Args:
        name: of an arm.
        members: what each learns from; they must have the same classes.
        settings: the recipe and the step budget.
        device: where to train.
        stacked: networks that take a step at once; 16 on a GPU and 1 on a CPU if not set.
        on_step: called for each step of each member, from any thread.

    Returns:
        One classifier per member, in order.

    Raises:
        InputError: as :func:`understudy.training.fit.fit_arm`.
    """
    arm = find_arm(name, settings)
    tell = on_step or (lambda: None)
    if not (members and _is_ordinary(arm, settings, members[0].train.num_classes)):
        return [_fit_alone(arm, member, settings, device, tell) for member in members]
    size = stacked or (_ON_GPU if device.startswith("cuda") else 1)
    groups = [members[start : start + size] for start in range(0, len(members), size)]
    with _one_thread_each(device) as workers, ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(_fit_group, arm, group, settings, device, tell) for group in groups]
        try:
            return [classifier for job in jobs for classifier in job.result()]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _is_ordinary(arm: Arm, settings: CompareSettings, num_classes: int) -> bool:
    """Whether :func:`_fit_group` does all that the arm asks for."""
    asked = (
        "epochs",
        "layers",
        "batch_norm",
        "auxiliary_batch_norm",
        "synthetic_weight",
        "soft_labels",
        "feature_distillation",
        "refresh_every",
    )
    plain = all(getattr(phase, name) == Phase.model_fields[name].default for phase in arm.phases for name in asked)
    if not plain or any(settings.in_phase(phase).optimiser != "adamw" for phase in arm.phases):
        return False
    return not _has_dropout(build_backbone(settings, num_classes, rng_seed=0).model)


def _has_dropout(model: nn.Module) -> bool:
    """Whether anything draws from the global generators while the network trains: dropout of units, or of paths (timm)."""
    return any(getattr(module, name, 0.0) for module in model.modules() for name in ("p", "drop_prob", "drop_rate"))


def _fit_alone(arm: Arm, member: Member, settings: CompareSettings, device: str, tell: Callable[[], Any]) -> TrainedClassifier:
    def teacher() -> TrainedClassifier:
        return fit_arm("real", train=member.train, synthetic=None, settings=settings, seed=member.seed, device=device)

    return fit_arm(
        arm, train=member.train, synthetic=member.synthetic, settings=settings, seed=member.seed, device=device,
        watch=lambda step, classifier: tell(), teacher=teacher,
    )  # fmt: skip


@contextmanager
def _one_thread_each(device: str) -> Iterator[int]:
    """As many workers as torch has threads, and one thread for each; on a GPU one worker."""
    threads = torch.get_num_threads()
    if device.startswith("cuda"):
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _fit_group(
    arm: Arm, members: Sequence[Member], settings: CompareSettings, device: str, tell: Callable[[], Any]
) -> list[TrainedClassifier]:
    """Train some members at once."""
    for member in members:
        member.train.require("train", purpose="fitting a classifier")
    num_classes = members[0].train.num_classes
    with _GLOBALS:
        backbones = [build_backbone(settings, num_classes, rng_seed=member.seed) for member in members]
    for backbone in backbones:
        backbone.model.to(device).to(memory_format=torch.channels_last)
    # The numbers of images do not matter: they may differ, so phases that are counted in epochs are none of a group.
    lengths = arm.phase_steps(
        settings, num_real=len(members[0].train), num_synthetic=0 if members[0].synthetic is None else len(members[0].synthetic)
    )
    for index, (phase, num_steps) in enumerate(zip(arm.phases, lengths, strict=True)):
        position = len(arm.phases) - 1 - index
        if phase.reset_head:
            for member, backbone in zip(members, backbones, strict=True):
                with _GLOBALS, seeded_globals(member.seed + position, device):
                    reset_head(backbone.model, num_classes, device)
        batches = [
            _batches(arm, phase, member, backbone, settings=settings.in_phase(phase), num_steps=num_steps, position=position, device=device)
            for member, backbone in zip(members, backbones, strict=True)
        ]
        _train(backbones, batches, settings.in_phase(phase), num_steps=num_steps, tell=tell)
    return [TrainedClassifier(backbone, member.train.class_names, device) for member, backbone in zip(members, backbones, strict=True)]


def _batches(
    arm: Arm, phase: Phase, member: Member, backbone: Backbone, *, settings: CompareSettings, num_steps: int, position: int, device: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """What a member sees at each step of a phase, as :func:`understudy.training.loop.train_phase` draws it."""
    sets = phase_sets(phase, member.train, member.synthetic, arm=arm)
    images: Images = phase_images(sets, phase, None, train=member.train, size=backbone.input_size, device=device)
    rng, augment = phase_rng(member.seed, position), AUGMENTATIONS[settings.augmentation]
    targets = targets_of(images.labels, phase, backbone.model)
    for batch in batches_of(images, phase, settings.batch_size, num_steps=num_steps, rng=rng):
        chosen = batch.to(images.pixels.device)
        with _GLOBALS:  # some augmentations draw from the global generator
            x = augment(images.pixels[chosen], backbone.normalise, rng)
        yield mixed_batch(x, targets[chosen], phase, rng, num_real=0)


def _train(
    backbones: Sequence[Backbone],
    batches: Sequence[Iterator[tuple[Tensor, Tensor]]],
    settings: CompareSettings,
    *,
    num_steps: int,
    tell: Callable[[], Any],
) -> None:
    """Train in place, one phase."""
    schedule, models = SCHEDULES[settings.schedule], [backbone.model for backbone in backbones]
    networks = _Stack(models, settings) if len(models) > 1 else _Single(models[0], settings)
    for step in range(num_steps):
        drawn = [next(own) for own in batches]
        for group in networks.optimiser.param_groups:
            group["lr"] = settings.learning_rate * schedule(step, num_steps)
        losses = networks.losses(torch.stack([x for x, _ in drawn]), torch.stack([y for _, y in drawn]))
        if not torch.isfinite(losses).all():
            raise DivergedError(f"a classifier's loss is {losses.tolist()} at step {step + 1}: lower compare.learning_rate")
        networks.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.sum())
        networks.optimiser.step()
        for _ in models:
            tell()
    networks.write_back()


def _optimiser(parameters: Any, settings: CompareSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, fused=True)


def _groups(model: nn.Module, settings: CompareSettings) -> list[dict[str, Any]]:
    """Parameters with and without weight decay, as timm parts them."""
    apart: set[str] = getattr(model, "no_weight_decay", set)()
    return cast("list[dict[str, Any]]", timm.optim.param_groups_weight_decay(model, settings.weight_decay, no_weight_decay_list=apart))


@final
class _Single:
    """One network."""

    def __init__(self, model: nn.Module, settings: CompareSettings) -> None:
        self._model, self._smoothing = model.train(), settings.label_smoothing
        self.optimiser = _optimiser(_groups(model, settings), settings)

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """Of batches (1, B, 3, H, W) and their targets, (1,)."""
        logits = self._model(x[0].contiguous(memory_format=torch.channels_last))
        return F.cross_entropy(logits, y[0], label_smoothing=self._smoothing)[None]

    def write_back(self) -> None:
        """Nothing to do: the network itself was trained."""


@final
class _Stack:
    """K networks of one architecture as one function of stacked weights; every operation is that of K networks at once."""

    def __init__(self, models: Sequence[nn.Module], settings: CompareSettings) -> None:
        self._models, self._smoothing = models, settings.label_smoothing
        parameters, self._buffers = stack_module_state(list(models))
        self._parameters = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        self._skeleton = copy.deepcopy(models[0]).to("meta").train()
        for module in self._skeleton.modules():
            if hasattr(module, "inplace"):
                cast("Any", module).inplace = False  # what is shared by all networks of a stack cannot take the values of one
        names = {id(value): name for name, value in models[0].named_parameters()}
        groups = [
            {**group, "params": [self._parameters[names[id(value)]] for value in group["params"]]} for group in _groups(models[0], settings)
        ]
        self.optimiser = _optimiser(groups, settings)

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """Of batches (K, B, 3, H, W) and their targets, (K,)."""

        def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(self._skeleton, (parameters, buffers), (x,)), y, label_smoothing=self._smoothing)

        losses: Tensor = torch.vmap(loss, randomness="different")(self._parameters, self._buffers, x, y)
        return losses

    @torch.no_grad()
    def write_back(self) -> None:
        """Give every network its weights and buffers."""
        for number, model in enumerate(self._models):
            model.load_state_dict({name: value[number] for name, value in (self._parameters | self._buffers).items()})
