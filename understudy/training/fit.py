"""One training of an arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from understudy.core.errors import InputError
from understudy.core.progress import follow
from understudy.core.threads import one_thread
from understudy.data.labelled_set import LabelledSet
from understudy.training.accumulation import micro_batch_of
from understudy.training.arms import Arm, find_arm
from understudy.training.augmentations import AUGMENTATIONS
from understudy.training.auxiliary_batch_norm import check_batch_norm
from understudy.training.backbones import build_backbone, check_backbone, seeded_globals
from understudy.training.batches import check_images, check_order, phase_images, real_per_batch
from understudy.training.classifier import TrainedClassifier
from understudy.training.data import TrainingData
from understudy.training.guides import find_guides
from understudy.training.heads import check_linear_head
from understudy.training.loop import Step, Steps, phase_rng, train_phase
from understudy.training.optimisers import check_optimiser
from understudy.training.refresh import check_refresh
from understudy.training.schedules import SCHEDULES
from understudy.training.settings import CompareSettings, Phase


def check_training(settings: CompareSettings) -> None:
    """Check that the backbone, the optimisers, schedules and augmentations of all arms exist.

    Raises:
        InputError: listing the known names.
    """
    check_backbone(settings)
    phases = [phase for phases in settings.own_arms.values() for phase in phases]
    for used in (settings, *map(settings.in_phase, phases)):
        SCHEDULES[used.schedule]
        AUGMENTATIONS[used.augmentation]
        check_optimiser(used)


def check_arms_fit(
    settings: CompareSettings,
    train: LabelledSet,
    *,
    num_synthetic: int,
    strengths: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Check that all arms can be trained on these images, before anything is adapted or drawn.

    Args:
        settings: with all arms of the comparison.
        train: real images.
        num_synthetic: number of images that will be drawn.
        strengths: of the images that each arm, by name, will have; only the order by strength needs them.

    Raises:
        InputError: for a missing backbone, a head or weights that do not fit, phases without a step,
            auxiliary batch norm in a network without batch norm, class means in one without a linear head,
            one image at once in a network with batch norm, a missing teacher or extractor, or images of one
            strength that are to be ordered.
    """
    arms = [find_arm(name, settings) for name in settings.all_arms]
    for arm in arms:
        lengths = arm.phase_steps(settings, num_real=len(train), num_synthetic=num_synthetic)
        for phase, num_steps in zip(arm.phases, lengths, strict=True):
            if phase.order == "descending-strength":
                check_order((strengths or {}).get(arm.name, ()), num_steps=num_steps)
    phases = [phase for arm in arms for phase in arm.phases]
    for phase in phases:
        real_per_batch(phase, settings.batch_size)
    if not _needs_network(settings, phases):
        return
    backbone = build_backbone(settings, train.num_classes, rng_seed=0)
    micro_batch_of(backbone.model, settings)
    for phase in phases:
        if phase.auxiliary_batch_norm != "none":
            check_batch_norm(backbone.model, settings.backbone)
        if phase.head == "class-means":
            check_linear_head(backbone.model, settings.backbone)
    # The classifier of the real images is not trained yet, but it will have these classes.
    teacher = TrainedClassifier(backbone, train.class_names)
    find_guides(phases, settings, train.class_names, device="cpu", teacher=lambda: teacher)


def _needs_network(settings: CompareSettings, phases: Sequence[Phase]) -> bool:
    """Whether the network must be built to check it: the bundled one takes a head of any size."""
    looks_inside = any(
        phase.auxiliary_batch_norm != "none" or phase.soft_labels or phase.feature_distillation
        for phase in phases
    )
    return settings.backbone != "mini" or settings.keep_head or settings.micro_batch == 1 or looks_inside


def fit_arm(
    arm: Arm | str,
    *,
    train: LabelledSet,
    synthetic: LabelledSet | None,
    settings: CompareSettings,
    seed: int,
    device: str,
) -> TrainedClassifier:
    """Train one classifier on all images.

    Args:
        arm: the name of an arm, or an arm; decides how the images are used.
        train: real images.
        synthetic: drawn images; may be None if the arm does not use any.
        settings: backbone, optimiser, step budget and so on.
        seed: decides head, order and augmentation.
        device: where to train.

    Raises:
        InputError: as :func:`fit_steps`, which also yields each step and takes a quota or a teacher.
    """
    data = TrainingData(train=train, synthetic=synthetic)
    with one_thread(device):
        return follow(fit_steps(arm, data, settings=settings, seed=seed, device=device))


def fit_steps(
    arm: Arm | str, data: TrainingData, *, settings: CompareSettings, seed: int, device: str
) -> Steps[TrainedClassifier]:
    """Train one classifier, step by step.

    Args:
        arm: the name of an arm, or an arm; decides how the images are used.
        data: the images that the arm learns from.
        settings: backbone, optimiser, step budget and so on.
        seed: decides head, order and augmentation; equal for all arms of a comparison.
        device: where to train.

    Yields:
        Each step, after its update.

    Returns:
        The trained classifier.

    Raises:
        InputError: if the arm is unknown; if a set is empty or from the wrong split; if images are refreshed
            without a quota; or if synthetic images, teacher or extractor are missing or have other classes.
    """
    arm = find_arm(arm, settings) if isinstance(arm, str) else arm
    data = _prepare(data, arm)
    lengths = arm.phase_steps(settings, num_real=len(data.train), num_synthetic=data.num_synthetic)
    guides = find_guides(arm.phases, settings, data.train.class_names, device=device, teacher=data.teacher)
    backbone = build_backbone(settings, data.train.num_classes, rng_seed=seed)
    backbone.model.to(device)
    classifier = TrainedClassifier(backbone, data.train.class_names, device)
    micro_batch, done = micro_batch_of(backbone.model, settings), 0
    for index, (phase, num_steps) in enumerate(zip(arm.phases, lengths, strict=True)):
        position = len(arm.phases) - 1 - index
        with seeded_globals(seed + position, device):  # dropout, and a fresh head
            steps = train_phase(
                backbone,
                # not named here, so that the device does not hold the images of two phases at once
                phase_images(phase, data, size=backbone.input_size, device=device),
                phase,
                settings=settings.in_phase(phase),
                num_steps=num_steps,
                rng=phase_rng(seed, position),
                guides=guides,
                micro_batch=micro_batch,
            )
            for number, (loss, learning_rate) in enumerate(steps, start=1):
                yield Step(
                    step=done + number,
                    of=sum(lengths),
                    phase=index,
                    ends_phase=number == num_steps,
                    loss=loss,
                    learning_rate=learning_rate,
                    micro_batch=micro_batch.size,
                    classifier=classifier,
                )
        done += num_steps
    backbone.model.requires_grad_(requires_grad=True)
    return classifier


def _prepare(data: TrainingData, arm: Arm) -> TrainingData:
    """Check the data of a training, and limit its quota to the number of synthetic images."""
    data.train.check_split("train", purpose="fitting a classifier")
    for phase in arm.phases:
        check_images(phase, data, arm_name=arm.name)
    if data.synthetic is not None and data.quota is not None:
        data = replace(data, quota=np.minimum(data.quota, data.synthetic.counts))
        if arm.uses_synthetic and not data.num_synthetic:
            raise InputError(
                f"the arm {arm.name!r} needs synthetic images to train on, but the quota is 0 for every "
                "class that has synthetic images: raise the quota"
            )
    for phase in arm.phases:
        check_refresh(phase, data.quota)
    return data
