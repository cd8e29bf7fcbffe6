"""Train an arm: once (:func:`fit_arm`), or with every seed and measured on test images (:func:`run_arm`)."""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm.optim
import torch

from understudy.core.errors import InputError
from understudy.core.files import read_arrays, write_arrays
from understudy.data.labelled_set import LabelledSet
from understudy.functional.refresh import first_of_each
from understudy.training.arms import Arm, find_arm
from understudy.training.augmentations import AUGMENTATIONS
from understudy.training.auxiliary_batch_norm import require_batch_norm
from understudy.training.backbones import build_backbone, check_backbone, seeded_globals
from understudy.training.batches import Images, real_per_batch
from understudy.training.classifier import TrainedClassifier, accuracy_and_loss, pixels_of
from understudy.training.guides import Teacher, find_guides
from understudy.training.history import History, Measure
from understudy.training.loop import Step, phase_rng, train_phase
from understudy.training.records import ArmResult
from understudy.training.refresh import check_refresh
from understudy.training.schedules import SCHEDULES
from understudy.training.settings import CompareSettings, Phase

Watch = Callable[[Step, TrainedClassifier], Any]


def check_recipe(settings: CompareSettings) -> None:
    """Refuse, before anything is trained, a backbone, optimiser, schedule or augmentation that does not exist.

    Raises:
        InputError: naming what is known.
    """
    check_backbone(settings)
    for used in (settings, *(settings.in_phase(phase) for phases in settings.own_arms.values() for phase in phases)):
        SCHEDULES[used.schedule]
        AUGMENTATIONS[used.augmentation]
        if used.optimiser not in timm.optim.list_optimizers():
            near = difflib.get_close_matches(used.optimiser, timm.optim.list_optimizers(), n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "timm.optim.list_optimizers() gives the names"
            raise InputError(f"compare.optimiser must be one that timm knows, got {used.optimiser!r}: {hint}")
        try:  # a step: some need more than gradients
            layer = torch.nn.Linear(4, 4)
            optimiser = timm.optim.create_optimizer_v2(layer, used.optimiser, lr=1e-3, momentum=0.9)
            torch.autograd.backward(layer(torch.ones(1, 4)).sum())
            optimiser.step()
        except Exception as error:  # whatever a missing package or device makes it raise
            raise InputError(f"compare.optimiser {used.optimiser!r} cannot be used here: {error}") from error


def check_arms_fit(settings: CompareSettings, train: LabelledSet, *, num_synthetic: int) -> None:
    """Refuse, before anything is adapted or drawn, what :func:`fit_arm` would refuse with these images.

    Args:
        settings: with all arms to be compared.
        train: real images.
        num_synthetic: images that will be drawn.

    Raises:
        InputError: for a backbone that cannot be had, a head or weights that do not fit, phases without a step, auxiliary batch norm
            in a network without batch norm, or a teacher or extractor that cannot be had.
    """
    backbone = build_backbone(settings, train.num_classes, rng_seed=0)
    arms = [find_arm(name, settings) for name in {"real", *settings.arms}]
    for arm in arms:
        arm.phase_steps(settings, num_real=len(train), num_synthetic=num_synthetic)
    phases = [phase for arm in arms for phase in arm.phases]
    for phase in phases:
        real_per_batch(phase, settings.batch_size)
        if phase.auxiliary_batch_norm != "none":
            require_batch_norm(backbone.model, settings.backbone)
    # That of the real images is not trained yet; its classes are theirs.
    own = TrainedClassifier(backbone, train.class_names)
    find_guides(phases, settings, train.class_names, device="cpu", teacher=lambda: own)


def fit_arm(
    arm: Arm | str,
    *,
    train: LabelledSet,
    synthetic: LabelledSet | None,
    settings: CompareSettings,
    seed: int,
    device: str,
    watch: Watch | None = None,
    quota: np.ndarray | None = None,
    teacher: Teacher | None = None,
) -> TrainedClassifier:
    """Train one classifier.

    Args:
        arm: how the data are used; the name of an arm, or an arm.
        train: real images.
        synthetic: drawn images; may be None if the arm does not use any.
        settings: the recipe and the step budget.
        seed: decides head, order and augmentation; equal for all arms of a comparison.
        device: where to train.
        watch: told of each step, with the classifier as it is then, which it may use but not change.
        quota: synthetic images of each class in use at once, int (num_classes,): the first of the class, until a phase with
            ``refresh_every`` replaces them by others of ``synthetic``; None for all. A class with fewer has all in use.
        teacher: gives the classifier behind ``compare.teacher=real``; asked only if a phase of the arm has soft labels.

    Raises:
        InputError: for an unknown arm, a set of another split or without images, missing synthetic images, or ones of other classes; for
            a refresh without a quota, and for a teacher or extractor that cannot be had or has other classes.
    """
    arm = find_arm(arm, settings) if isinstance(arm, str) else arm
    train.require("train", purpose="fitting a classifier")
    sets = [phase_sets(phase, train, synthetic, arm=arm) for phase in arm.phases]
    quota = _checked_quota(arm, synthetic, quota)
    num_synthetic = 0 if synthetic is None else len(synthetic) if quota is None else int(quota.sum())
    lengths = arm.phase_steps(settings, num_real=len(train), num_synthetic=num_synthetic)
    guides = find_guides(arm.phases, settings, train.class_names, device=device, teacher=teacher)
    backbone = build_backbone(settings, train.num_classes, rng_seed=seed)
    backbone.model.to(device)
    classifier = TrainedClassifier(backbone, train.class_names, device)
    done = 0
    for index, (phase, own, num_steps) in enumerate(zip(arm.phases, sets, lengths, strict=True)):
        position = len(arm.phases) - 1 - index
        with seeded_globals(seed + position, device):  # dropout, and a fresh head
            if phase.reset_head:
                reset_head(backbone.model, train.num_classes, device)
            steps = train_phase(
                backbone, phase_images(own, phase, quota, train=train, size=backbone.input_size, device=device), phase,
                settings=settings.in_phase(phase), num_steps=num_steps, rng=phase_rng(seed, position), guides=guides,
            )  # fmt: skip
            for number, (loss, learning_rate) in enumerate(steps, start=1):
                if watch is not None:
                    ends, total = number == num_steps, sum(lengths)
                    step = Step(step=done + number, of=total, phase=index, ends_phase=ends, loss=loss, learning_rate=learning_rate)
                    watch(step, classifier)
        done += num_steps
    backbone.model.requires_grad_(requires_grad=True)
    return classifier


def run_arm(
    name: str,
    *,
    train: LabelledSet,
    synthetic: LabelledSet | None,
    val: LabelledSet,
    test: LabelledSet,
    settings: CompareSettings,
    seed: int,
    device: str,
    folder: Path,
    on_step: Callable[[Step], Any] | None = None,
    measure: Measure | None = None,
    quota: np.ndarray | None = None,
    teacher: Teacher | None = None,
    keep_weights: bool = True,
) -> ArmResult:
    """Train an arm ``settings.num_seeds`` times, with seeds ``seed * 1000 + i``, and measure each training once.

    Writes ``folder/NAME-seedI.npz`` when training I is measured, and keeps the classifier with the best validation accuracy
    (the first of equals) in ``folder/NAME-classifier``, and the weights of all in ``folder/NAME-seedI.safetensors``, see
    :func:`load_trainings`. Trainings that are there already are not repeated. Weights are written before the record, so after a kill
    between the two the same training comes again and writes the same weights.

    Args:
        name: of a registered arm.
        train: real images.
        synthetic: drawn images; may be None if the arm does not use any.
        val: real images that choose among trainings.
        test: real images that measure.
        settings: the recipe, the step budget and the number of trainings.
        seed: of the run.
        device: where to train.
        folder: where records go; made if missing.
        on_step: told of each step of the trainings that are not there yet.
        measure: figures of the classifier at the end of each phase but the last, as long as it has seen synthetic images only.
        quota: as for :func:`fit_arm`.
        teacher: as for :func:`fit_arm`.
        keep_weights: of every training, not only of the best.

    Raises:
        InputError: as :func:`fit_arm`, for ``val`` or ``test`` of another split, class names or no images,
            and for a record in ``folder`` that was made with other data.
    """
    arm = find_arm(name, settings)  # refuse an unknown one also where every record is there
    val.require("val", purpose="choosing a classifier")
    test.require("test", purpose="measuring a classifier")
    for data in (val, test):
        if not len(data) or data.class_names != train.class_names:
            raise InputError(
                f"the {data.split} set must have images, and the classes {train.class_names}; got {len(data)} images of {data.class_names}"
            )
    seeds = tuple(seed * 1000 + index for index in range(settings.num_seeds))
    records: list[dict[str, Any]] = []
    for index, own_seed in enumerate(seeds):
        path = folder / f"{name}-seed{index}.npz"
        if not path.exists():
            best = max((float(record["val_accuracy"]) for record in records), default=-1.0)
            history = History(val, points=settings.curve_points, on_step=on_step, measure=measure, arm=arm)
            start = time.monotonic()
            classifier = fit_arm(
                arm, train=train, synthetic=synthetic, settings=settings, seed=own_seed, device=device, watch=history,
                quota=quota, teacher=teacher,
            )  # fmt: skip
            seconds = time.monotonic() - start - history.seconds
            accuracy, loss = accuracy_and_loss(classifier, val)
            if accuracy > best:
                classifier.save(folder / f"{name}-classifier")
            if keep_weights:
                classifier.save_weights(_weights(folder, name, index))
            record = {
                "probabilities": classifier.predict(test),
                "val_accuracy": accuracy,
                "val_loss": loss,
                "seconds": seconds,
                "seed": own_seed,
                "steps": history.steps,
                "history": json.dumps(history.content()),
            }
            write_arrays(path, record)
        records.append(_read_record(path, seed=own_seed, shape=(len(test), test.num_classes)))
    return ArmResult(
        arm=name,
        seeds=seeds,
        probabilities=np.stack([record["probabilities"] for record in records]),
        labels=test.labels,
        val_accuracy=tuple(float(record["val_accuracy"]) for record in records),
        val_loss=tuple(float(record["val_loss"]) for record in records),
        seconds=sum(float(record["seconds"]) for record in records),
        steps=int(records[0]["steps"]),
        histories=tuple(json.loads(str(record["history"])) for record in records),
    )


def load_trainings(folder: Path, name: str, *, num_seeds: int, device: str = "cpu") -> list[TrainedClassifier]:
    """Every training of an arm that :func:`run_arm` recorded.

    Args:
        folder: where the records are.
        name: of the arm.
        num_seeds: how many trainings there are.
        device: where they are to run.

    Returns:
        One classifier per training, in the order of the seeds.

    Raises:
        InputError: if the arm was not trained there, or some weights were not kept or do not fit.
    """
    best = TrainedClassifier.load(folder / f"{name}-classifier", device=device)
    require_weights(folder, name, num_seeds=num_seeds)
    return [best.with_weights(_weights(folder, name, index)) for index in range(num_seeds)]


def require_weights(folder: Path, name: str, *, num_seeds: int) -> None:
    """Refuse an arm whose trainings cannot all be loaded.

    Raises:
        InputError: saying which weights are not there.
    """
    missing = ", ".join(str(index) for index in range(num_seeds) if not _weights(folder, name, index).is_file())
    if missing:
        raise InputError(
            f"{folder} must hold the weights of all {num_seeds} trainings of the arm {name!r}, but those of {missing} are not there: they "
            "were removed, or an older version of understudy trained the arm; use a new folder"
        )


def _weights(folder: Path, name: str, index: int) -> Path:
    return folder / f"{name}-seed{index}.safetensors"


def phase_sets(phase: Phase, train: LabelledSet, synthetic: LabelledSet | None, *, arm: Arm) -> list[LabelledSet]:
    """Labelled sets of a phase, real images first."""
    if phase.data != "real":
        if synthetic is None:
            raise InputError(f"the arm {arm.name!r} needs synthetic images, got none: draw some first")
        synthetic.require("synthetic", purpose=f"the arm {arm.name!r}")
        if synthetic.class_names != train.class_names:
            raise InputError(f"synthetic images must have the classes {train.class_names} of the real ones, got {synthetic.class_names}")
    wanted = ((train, phase.data != "synthetic"), (synthetic, phase.data != "real"))
    sets = [data for data, is_wanted in wanted if is_wanted and data is not None]
    if not all(len(data) for data in sets):
        raise InputError(f"the arm {arm.name!r} needs images to train on, got an empty set")
    return sets


def _checked_quota(arm: Arm, synthetic: LabelledSet | None, quota: np.ndarray | None) -> np.ndarray | None:
    """No more than there are."""
    if synthetic is not None and quota is not None:
        quota = np.minimum(quota, synthetic.counts)
        if arm.uses_synthetic and not quota.any():
            raise InputError(f"the arm {arm.name!r} needs synthetic images to train on, got a quota with none of those in the set")
    for phase in arm.phases:
        check_refresh(phase, quota)
    return quota


def phase_images(
    sets: list[LabelledSet], phase: Phase, quota: np.ndarray | None, *, train: LabelledSet, size: int, device: str
) -> Images:  # fmt: skip
    """What a phase trains on: all of the synthetic images if it refreshes them, else those in use."""
    pixels = torch.cat([pixels_of(data, size) for data in sets])
    labels = torch.from_numpy(np.concatenate([data.labels for data in sets]))
    num_real = sum(len(data) for data in sets if data.split == "train")
    own_quota = quota if phase.refresh_every is not None else None
    if quota is not None and phase.data != "real" and own_quota is None:
        kept = np.concatenate([np.arange(num_real), num_real + first_of_each(labels[num_real:].numpy(), quota)])
        pixels, labels = pixels[kept], labels[kept]
    for_statistics = phase.auxiliary_batch_norm != "none" and not num_real
    unlabelled = pixels_of(train, size).to(device) if for_statistics else None
    return Images(pixels.to(device), labels.to(device), num_real, own_quota, unlabelled)


def reset_head(model: Any, num_classes: int, device: str) -> None:
    """Give a network a new last layer, drawn by torch's global generator."""
    model.reset_classifier(num_classes)
    model.to(device)


def _read_record(path: Path, *, seed: int, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    record = read_arrays(path)
    if "history" not in record:
        raise InputError(f"{path} was written by an older version of understudy: use another folder")
    if int(record["seed"]) != seed or record["probabilities"].shape != shape:
        raise InputError(
            f"{path} must hold a training with seed {seed} and probabilities of shape {shape}, "
            f"got seed {record['seed']} and {record['probabilities'].shape}: it was made with other data, use another folder"
        )
    return record
