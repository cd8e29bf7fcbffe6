"""Export the classifier of an arm, as timm loads it or as ONNX, with a card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from understudy.core.errors import InputError
from understudy.core.files import check_tensors, read_arrays, read_json, write_atomically, write_text
from understudy.pipeline.folder import RunFolder
from understudy.report.card import classifier_card
from understudy.training.arms import find_arm
from understudy.training.classifier import TrainedClassifier
from understudy.training.onnx_file import check_onnx_installed, write_onnx
from understudy.training.records import ArmFolder

_FILES = ("config.json", "model.safetensors")


def export_classifier(
    folder: RunFolder, to: Path, results: Mapping[str, Any], *, arm: str, form: str, hub: str | None
) -> None:
    """Write the best classifier of an arm, and its card.

    Args:
        folder: of the run.
        to: new or empty folder.
        results: of the run.
        arm: one of its arms.
        form: ``timm`` (``config.json`` and ``model.safetensors``) or ``onnx`` (``model.onnx``).
        hub: the repository that the files go to, ``owner/name``, for the card; None for a folder.

    Raises:
        InputError: if the classifier was deleted or is damaged, or cannot be written as ONNX.
    """
    files = ArmFolder(folder.path / "arms", arm)
    source = files.classifier
    if not all((source / name).is_file() for name in _FILES):
        raise InputError(
            f"{source} must hold the classifier of {arm} (config.json and model.safetensors), but it was "
            "deleted"
        )
    if form == "onnx":
        check_onnx_installed()
    config = read_json(source / "config.json", keys=("architecture",))
    check_tensors(source / "model.safetensors")
    card = _card(folder, results, files, architecture=str(config["architecture"]), form=form, hub=hub)
    if form == "onnx":
        write_onnx(TrainedClassifier.load(source), to / "model.onnx")
    else:
        for name in _FILES:
            write_atomically(to / name, partial(shutil.copyfile, source / name))
    write_text(to / "README.md", card)


def _card(
    folder: RunFolder,
    results: Mapping[str, Any],
    files: ArmFolder,
    *,
    architecture: str,
    form: str,
    hub: str | None,
) -> str:
    arm, compare = files.arm, folder.settings.compare
    found = find_arm(arm, compare)
    tuned = results.get("tuning", {}).get(arm, {}).get("chosen", {})
    return classifier_card(
        results,
        settings=folder.settings,
        arm=arm,
        summary=f"{found.summary}: {found.describe()}",
        drawn=found.uses_synthetic,
        architecture=architecture,
        training=_kept_training(files, compare.num_seeds),
        rates={key: tuned.get(key, getattr(compare, key)) for key in ("learning_rate", "weight_decay")},
        form=form,
        hub=hub,
    )


def _kept_training(files: ArmFolder, num_seeds: int) -> int | None:
    """Number of the training with the exported classifier, the best on validation images, if recorded."""
    if not files.has_records(num_seeds):
        return None
    return int(np.argmax([read_arrays(files.record(index))["val_accuracy"] for index in range(num_seeds)]))
