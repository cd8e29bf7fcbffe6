"""Many trainings of one arm, on different images and seeds: the shadow models of a membership audit.

Each training does what :func:`understudy.training.fit.fit_arm` does, with the same order, augmentation,
schedule and optimiser. Its weights are therefore the same up to rounding errors, which grow with the steps.
Only the work is organised differently. On a GPU the networks are stacked (torch.func), and one step updates
all of them. On a CPU a stack is slower than one network after the other, since stacked convolutions exceed
the cache and miss the fast kernels. There, every core trains one network, with a channels-last layout and a
fused optimiser.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from understudy.core.config import Section
from understudy.core.micro_batch import MicroBatch
from understudy.core.progress import follow
from understudy.core.threads import one_thread
from understudy.training.arms import Arm, find_arm
from understudy.training.augmentations import AUGMENTATIONS
from understudy.training.backbones import Backbone, build_backbone, seeded_globals
from understudy.training.batches import Images, batches_of, check_images, phase_images
from understudy.training.classifier import TrainedClassifier
from understudy.training.data import TrainingData
from understudy.training.fit import fit_arm, fit_steps
from understudy.training.heads import begin_head
from understudy.training.loop import Steps, mixed_batch, phase_rng, targets_of
from understudy.training.settings import CompareSettings, Phase
from understudy.training.stacked import train_together

_GLOBALS = threading.Lock()
"""Held while torch's global generators are in use, since all threads share them."""
_GPU_STACK = 16  # networks in a stack
_SHARED = frozenset(
    ("optimiser", "schedule", "learning_rate", "weight_decay", "label_smoothing", "augmentation", "steps")
)
_PHASE_FIELDS = _SHARED | frozenset(
    ("data", "share", "real_share", "class_balanced", "order", "head", "mixup", "cutmix")
)
"""Fields of a phase that :func:`_fit_group` implements; arms that set others are left to ``fit_steps``."""
_SETTINGS_FIELDS = (
    _SHARED
    | {"backbone", "pretrained", "weights", "keep_head", "resolution", "equal_steps", "batch_size"}
    # Only phases that set a field outside the list above use teacher and extractor.
    | {"teacher", "extractor"}
    # The fields below do not change how a single network is trained.
    | {"arms", "own_arms", "num_seeds", "curve_points", "transferability", "bootstrap", "published"}
)
"""Fields of the settings that :func:`_fit_group` implements or can ignore."""


@final
@dataclass(frozen=True, eq=False)
class Training:
    """One training of an ensemble.

    Attributes:
        data: the images that it learns from. ``data.teacher`` is not used: soft labels come from a classifier
            that is trained on the real images in ``data``.
        seed: decides head, order and augmentation.
    """

    data: TrainingData
    seed: int


def fit_ensemble(
    name: str,
    trainings: Sequence[Training],
    *,
    settings: CompareSettings,
    device: str,
    stacked: int | None = None,
    on_step: Callable[[], Any] | None = None,
) -> list[TrainedClassifier]:
    """Train an arm once for each of several sets of images.

    Networks are trained together if the arm sets only fields that this module implements, the optimiser is
    AdamW and the network has no dropout. Otherwise they are trained one after the other by
    :func:`understudy.training.fit.fit_steps`, so that no setting is ignored.

    Args:
        name: of an arm.
        trainings: the images and the seed of each training; all must have the same classes.
        settings: backbone, optimiser, step budget and so on.
        device: where to train.
        stacked: number of networks in a stack; by default 16 on a GPU and 1 on a CPU. On a GPU it is halved
            each time memory runs out.
        on_step: called for each step of each training, from any thread.

    Returns:
        One classifier per training, in order.

    Raises:
        InputError: as :func:`understudy.training.fit.fit_arm`.
    """
    arm = find_arm(name, settings)
    tell = on_step or (lambda: None)
    has_quota = any(training.data.quota is not None for training in trainings)
    if has_quota or not (trainings and can_group(arm, settings, trainings[0].data.train.num_classes)):
        steps = (fit_alone(arm, training, settings=settings, device=device) for training in trainings)
        with one_thread(device):
            return [follow(each, lambda amount: tell()) for each in steps]
    if device != "cpu":
        return _in_stacks(arm, trainings, settings=settings, device=device, stacked=stacked, tell=tell)
    size = stacked or 1
    groups = [trainings[start : start + size] for start in range(0, len(trainings), size)]
    with _one_thread_each() as workers, ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(_fit_group, arm, group, settings, device, tell) for group in groups]
        try:
            return [classifier for job in jobs for classifier in job.result()]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def can_group(arm: Arm, settings: CompareSettings, num_classes: int) -> bool:
    """Whether :func:`fit_ensemble` can train several networks of an arm together, with these settings."""
    return (
        _sets_only(settings, _SETTINGS_FIELDS)
        and all(_sets_only(phase, _PHASE_FIELDS) for phase in arm.phases)
        and all(settings.in_phase(phase).optimiser == "adamw" for phase in arm.phases)
        and not _has_dropout(build_backbone(settings, num_classes, rng_seed=0).model)
    )


def _sets_only(section: Section, names: frozenset[str]) -> bool:
    """Whether every field outside ``names`` has its default."""
    return all(
        name in names or getattr(section, name) == field.get_default(call_default_factory=True)
        for name, field in type(section).model_fields.items()
    )


def _has_dropout(model: nn.Module) -> bool:
    """Whether the network has dropout of units or paths, which draws from torch's global generators."""
    return any(
        getattr(module, name, 0.0) for module in model.modules() for name in ("p", "drop_prob", "drop_rate")
    )


def fit_alone(
    arm: Arm, training: Training, *, settings: CompareSettings, device: str
) -> Steps[TrainedClassifier]:
    """One training of an ensemble, step by step, for arms that cannot be grouped.

    Raises:
        InputError: as :func:`understudy.training.fit.fit_steps`.
    """

    def teacher() -> TrainedClassifier:
        return fit_arm(
            "real",
            train=training.data.train,
            synthetic=None,
            settings=settings,
            seed=training.seed,
            device=device,
        )

    data = replace(training.data, teacher=teacher)
    return fit_steps(arm, data, settings=settings, seed=training.seed, device=device)


def _in_stacks(
    arm: Arm,
    trainings: Sequence[Training],
    *,
    settings: CompareSettings,
    device: str,
    stacked: int | None,
    tell: Callable[[], Any],
) -> list[TrainedClassifier]:
    """Train one stack after the other; the stacks get smaller if memory runs out."""
    stack = MicroBatch(stacked or _GPU_STACK, work="the training of a stack", unit="network")
    trained: list[TrainedClassifier] = []
    steps = _Once(tell)

    def train(size: int) -> list[TrainedClassifier]:
        group = trainings[len(trained) : len(trained) + size]
        if size > 1:
            return _fit_group(arm, group, settings, device, steps)
        alone = (fit_alone(arm, training, settings=settings, device=device) for training in group)
        return [follow(each, lambda amount: steps()) for each in alone]

    while len(trained) < len(trainings):
        trained += stack.fit(train, undo=steps.go_back)
        steps.keep()
    return trained


@final
class _Once:
    """Tells of every step once, also if a failed attempt has told of it before.

    Args:
        tell: called for each step.
    """

    def __init__(self, tell: Callable[[], Any]) -> None:
        self._tell = tell
        self._kept = self._done = self._told = 0

    def __call__(self) -> None:
        """Count a step."""
        self._done += 1
        if self._done > self._told:
            self._told = self._done
            self._tell()

    def keep(self) -> None:
        """Note that the steps so far will not be repeated."""
        self._kept = self._done

    def go_back(self) -> None:
        """Forget the steps of a failed attempt."""
        self._done = self._kept


@contextmanager
def _one_thread_each() -> Iterator[int]:
    """Limit each worker to one thread; yields the number of workers, which is that of torch's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _fit_group(
    arm: Arm, trainings: Sequence[Training], settings: CompareSettings, device: str, tell: Callable[[], Any]
) -> list[TrainedClassifier]:
    """Train several networks at once."""
    for training in trainings:
        training.data.train.check_split("train", purpose="fitting a classifier")
    first = trainings[0].data
    num_classes = first.train.num_classes
    with _GLOBALS:
        backbones = [build_backbone(settings, num_classes, rng_seed=training.seed) for training in trainings]
    for backbone in backbones:
        backbone.model.to(device).to(memory_format=torch.channels_last)
    # The number of images can differ within a group, but it matters only for phases whose length is given in
    # epochs, and no group has one.
    lengths = arm.phase_steps(settings, num_real=len(first.train), num_synthetic=first.num_synthetic)
    for index, (phase, num_steps) in enumerate(zip(arm.phases, lengths, strict=True)):
        position = len(arm.phases) - 1 - index
        in_phase = settings.in_phase(phase)
        batches = []
        for training, backbone in zip(trainings, backbones, strict=True):
            check_images(phase, training.data, arm_name=arm.name)
            images = phase_images(phase, training.data, size=backbone.input_size, device=device)
            with _GLOBALS, seeded_globals(training.seed + position, device):
                begin_head(backbone, images, phase, batch_size=settings.batch_size)
            rng = phase_rng(training.seed, position)
            batches.append(_batches(images, phase, backbone, settings=in_phase, num_steps=num_steps, rng=rng))
        train_together(backbones, batches, in_phase, num_steps=num_steps, on_step=tell)
    return [TrainedClassifier(backbone, first.train.class_names, device) for backbone in backbones]


def _batches(
    images: Images,
    phase: Phase,
    backbone: Backbone,
    *,
    settings: CompareSettings,
    num_steps: int,
    rng: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of a phase, drawn as in :func:`understudy.training.loop.train_phase`."""
    augment, targets = AUGMENTATIONS[settings.augmentation], targets_of(images.labels, phase, backbone.model)
    for batch in batches_of(images, phase, settings.batch_size, num_steps=num_steps, rng=rng):
        pixels, chosen = images.chosen(batch)
        with _GLOBALS:  # some augmentations draw from the global generator
            x = augment(pixels, backbone.normalise, rng)
        yield mixed_batch(x, targets[chosen], phase, rng, num_real=0)
