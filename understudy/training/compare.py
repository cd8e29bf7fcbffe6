"""Train an arm: once (:func:`fit_arm`), or with every seed and measured on test images (:func:`run_arm`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.data import LabelledSet
from understudy.errors import InputError
from understudy.nouns import ArmResult
from understudy.runs import write_atomically
from understudy.settings import CompareSettings
from understudy.training.arms import ARMS, Arm, PhaseData
from understudy.training.backbones import build_backbone, seeded_globals
from understudy.training.classifier import TrainedClassifier, pixels_of
from understudy.training.loop import Step, train_phase


def fit_arm(
    arm: Arm | str,
    *,
    train: LabelledSet,
    synthetic: LabelledSet | None,
    settings: CompareSettings,
    seed: int,
    device: str,
    on_step: Callable[[Step], Any] | None = None,
) -> TrainedClassifier:
    """Train one classifier.

    Args:
        arm: how the data are used; the name of a registered arm, or an arm.
        train: real images.
        synthetic: drawn images; may be None if the arm does not use any.
        settings: the recipe and the step budget.
        seed: decides head, order and augmentation; equal for all arms of a comparison.
        device: where to train.
        on_step: told of each of the ``settings.steps`` steps, numbered from 1 through all phases.

    Raises:
        InputError: for an unknown arm, a set of another split or without images, missing synthetic images, or ones of other classes.
    """
    arm = ARMS[arm] if isinstance(arm, str) else arm
    train.require("train", purpose="fitting a classifier")
    sources = {kind: _images(kind, train, synthetic, arm=arm) for kind in sorted({phase.data for phase in arm.phases})}
    backbone = build_backbone(settings, train.num_classes, rng_seed=seed)
    model: Any = backbone.model.to(device)
    done = 0
    with seeded_globals(seed, device):
        for index, (phase, num_steps) in enumerate(zip(arm.phases, arm.phase_steps(settings.steps), strict=True)):
            if phase.reset_head:
                model.reset_classifier(train.num_classes)
                model.to(device)
            pixels, labels = _tensors(sources[phase.data], backbone.input_size, device)
            for step in train_phase(backbone, pixels, labels, settings=settings, num_steps=num_steps, seed_words=(seed, index)):
                if on_step is not None:
                    on_step(replace(step, step=done + step.step))
            done += num_steps
    return TrainedClassifier(backbone, train.class_names, device)


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
) -> ArmResult:
    """Train an arm ``settings.num_seeds`` times, with seeds ``seed * 1000 + i``, and measure each training once.

    Writes ``folder/NAME-seedI.npz`` when training I is measured, and keeps the classifier with the best validation accuracy
    (the first of equals) in ``folder/NAME-classifier``. Trainings that are there already are not repeated. The classifier is
    written before the record, so after a kill between the two the same training comes again and writes the same classifier.

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

    Raises:
        InputError: as :func:`fit_arm`, for ``val`` or ``test`` of another split, class names or no images,
            and for a record in ``folder`` that was made with other data.
    """
    ARMS[name]  # refuse an unknown one also where every record is there
    val.require("val", purpose="choosing a classifier")
    test.require("test", purpose="measuring a classifier")
    for data in (val, test):
        if not len(data) or data.class_names != train.class_names:
            raise InputError(
                f"the {data.split} set must have images, and the classes {train.class_names}; got {len(data)} images of {data.class_names}"
            )
    seeds = tuple(seed * 1000 + index for index in range(settings.num_seeds))
    records: list[dict[str, np.ndarray]] = []
    for index, own_seed in enumerate(seeds):
        path = folder / f"{name}-seed{index}.npz"
        if not path.exists():
            best = max((float(record["val_accuracy"]) for record in records), default=-1.0)
            start = time.monotonic()
            classifier = fit_arm(name, train=train, synthetic=synthetic, settings=settings, seed=own_seed, device=device, on_step=on_step)
            seconds = time.monotonic() - start
            accuracy = float((classifier.predict(val).argmax(axis=1) == val.labels).mean())
            if accuracy > best:
                classifier.save(folder / f"{name}-classifier")
            _write_record(path, probabilities=classifier.predict(test), val_accuracy=accuracy, seconds=seconds, seed=own_seed)
        records.append(_read_record(path, seed=own_seed, shape=(len(test), test.num_classes)))
    return ArmResult(
        arm=name,
        seeds=seeds,
        probabilities=np.stack([record["probabilities"] for record in records]),
        labels=test.labels,
        val_accuracy=tuple(float(record["val_accuracy"]) for record in records),
        seconds=sum(float(record["seconds"]) for record in records),
    )


def _images(kind: PhaseData, train: LabelledSet, synthetic: LabelledSet | None, *, arm: Arm) -> list[LabelledSet]:
    if kind != "real":
        if synthetic is None:
            raise InputError(f"the arm {arm.name!r} needs synthetic images, got none: draw some first")
        synthetic.require("synthetic", purpose=f"the arm {arm.name!r}")
        if synthetic.class_names != train.class_names:
            raise InputError(f"synthetic images must have the classes {train.class_names} of the real ones, got {synthetic.class_names}")
    sets = [data for data, wanted in ((train, kind != "synthetic"), (synthetic, kind != "real")) if wanted and data is not None]
    if not all(len(data) for data in sets):
        raise InputError(f"the arm {arm.name!r} needs images to train on, got an empty set")
    return sets


def _tensors(sets: list[LabelledSet], size: int, device: str) -> tuple[Tensor, Tensor]:
    pixels = torch.cat([pixels_of(data, size) for data in sets])
    labels = torch.from_numpy(np.concatenate([data.labels for data in sets]))
    return pixels.to(device), labels.to(device)


def _write_record(path: Path, **values: Any) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.savez(handle, **values)

    write_atomically(path, write)


def _read_record(path: Path, *, seed: int, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        record = dict(stored)
    if int(record["seed"]) != seed or record["probabilities"].shape != shape:
        raise InputError(
            f"{path} must hold a training with seed {seed} and probabilities of shape {shape}, "
            f"got seed {record['seed']} and {record['probabilities'].shape}: it was made with other data, use another folder"
        )
    return record
