"""Command export: write images, a classifier or the adapter of a run for other tools, with a card."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from understudy.adaptation.adapter import copy_adapter
from understudy.core.config import check_effect, given_names
from understudy.core.errors import InputError
from understudy.core.files import check_tensors, read_arrays, read_json, write_atomically, write_text
from understudy.core.lock import FolderLock
from understudy.core.progress import Silent
from understudy.data.export import export
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder, finished_results
from understudy.pipeline.report import run_card
from understudy.pipeline.run import write_report_again
from understudy.report.card import adapter_card, classifier_card
from understudy.settings import build
from understudy.training.arms import find_arm
from understudy.training.records import ArmFolder

What = Literal["dataset", "classifier", "adapter"]
_CLASSIFIER_FILES = ("config.json", "model.safetensors")
_LICENCES = ("data.licence", "generator.licence")


def export_part(
    folder: RunFolder, to: Path, *, what: What = "dataset", form: str | None = None, arm: str | None = None
) -> str:
    """Write a part of a run, with its card, in the format of other tools.

    Args:
        folder: of the run.
        to: new or empty folder.
        what: ``dataset`` (the curated synthetic images), ``classifier`` (of an arm, for timm) or ``adapter``
            (for diffusers).
        form: format of the images, a key of ``EXPORTS``; ``folder`` if not given.
        arm: the arm of the classifier; by default the arm of the verdict.

    Returns:
        A description of what was written.

    Raises:
        InputError: if the run is not finished or lacks the part, ``to`` is not empty, or a form or an arm is
            given that has no effect.
    """
    if form is not None and what != "dataset":
        raise InputError(f"--form has no effect on the {what}: leave it out")
    if arm is not None and what != "classifier":
        raise InputError(f"--arm has no effect on the {what}: leave it out")
    if what == "dataset":
        return f"{export_dataset(folder, to, form=form or 'folder')} images in {to}"
    results = finished_results(folder)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"{to} must be a new or empty folder to export to: choose another")
    if what == "classifier":
        name = _export_classifier(
            folder, to, results, str(results["verdict"]["best"]) if arm is None else arm
        )
        return f"the classifier of the arm {name} in {to}"
    _export_adapter(folder, to, results)
    return f"the adapter in {to}"


@contextmanager
def stating_licences(path: Path, overrides: Sequence[Mapping[str, Any]]) -> Iterator[RunFolder]:
    """Yield a run with licences that were not stated when it was started.

    If the block ends without an error, the run keeps the licences, and its report is written again.

    Args:
        path: folder of a run.
        overrides: nested settings, only ``data.licence`` and ``generator.licence``; if empty, nothing is
            written.

    Raises:
        InputError: if other settings are given, a licence has no effect, the folder holds no run, or another
            process works in it.
    """
    if not overrides:
        yield RunFolder.find(path)
        return
    given = given_names(*overrides)
    if others := [name for name in given if name not in _LICENCES]:
        raise InputError(
            f"export can set only {' and '.join(_LICENCES)}, got {others[0]}: leave it out, or start a new "
            "run"
        )
    if path.is_dir() and not os.access(path, os.W_OK):
        raise InputError(
            f"{path} must be writable, because the run stores the licences: make it writable, or leave --set "
            "out"
        )
    with FolderLock(path):
        settings = build(RunFolder.find(path).settings.model_dump(mode="json"), *overrides)
        check_effect(settings, given)
        folder = RunFolder(path, settings)
        yield folder
        RunFolder.open(path, settings)
        if folder.record("report") is not None:
            write_report_again(folder)


def export_dataset(folder: RunFolder, to: Path, *, form: str) -> int:
    """Write the curated images of a run, and their card if the run is finished.

    Returns:
        The number of images.

    Raises:
        InputError: if the run has no curated images, or one of them is damaged.
    """
    if folder.record("curate") is None:
        raise InputError(
            f"{folder.path} has no curated images yet: go on with 'understudy run {folder.path}'"
        )
    curated = LabelledSet.load(folder.path / "synthetic" / "curated.parquet")
    if not len(curated):
        raise InputError(f"{folder.path} has no images to export, because no drawn image passed curation")
    for index in range(len(curated)):
        curated.image(index)  # raises an error for a damaged image, which would be exported as it is
    # Read before anything is written, because the files can be damaged.
    results = finished_results(folder) if (folder.path / "results.json").exists() else None
    card = None if results is None else run_card(Run(folder, "cpu", Silent()), results, data_files=None)
    export(curated, to, form=form)
    if card is not None:
        write_text(to / "README.md", card)
    return len(curated)


def _export_classifier(folder: RunFolder, to: Path, results: dict[str, Any], arm: str) -> str:
    if arm not in results["arms"]:
        raise InputError(f"--arm must be an arm of {folder.path}, {', '.join(results['arms'])}, got {arm!r}")
    files = ArmFolder(folder.path / "arms", arm)
    source = files.classifier
    if not all((source / name).is_file() for name in _CLASSIFIER_FILES):
        raise InputError(
            f"{source} must hold the classifier of {arm} (config.json and model.safetensors), but it was "
            "deleted"
        )
    found, compare = find_arm(arm, folder.settings.compare), folder.settings.compare
    config = read_json(source / "config.json", keys=("architecture",))
    check_tensors(source / "model.safetensors")
    tuned = results.get("tuning", {}).get(arm, {}).get("chosen", {})
    card = classifier_card(
        results,
        settings=folder.settings,
        arm=arm,
        summary=f"{found.summary}: {found.describe()}",
        drawn=found.uses_synthetic,
        architecture=str(config["architecture"]),
        training=_kept_training(files, compare.num_seeds),
        rates={key: tuned.get(key, getattr(compare, key)) for key in ("learning_rate", "weight_decay")},
    )
    to.mkdir(parents=True, exist_ok=True)
    for name in _CLASSIFIER_FILES:
        write_atomically(to / name, partial(shutil.copyfile, source / name))
    write_text(to / "README.md", card)
    return arm


def _kept_training(files: ArmFolder, num_seeds: int) -> int | None:
    """Number of the training with the exported classifier, the best on validation images, if recorded."""
    if not files.has_records(num_seeds):
        return None
    return int(np.argmax([read_arrays(files.record(index))["val_accuracy"] for index in range(num_seeds)]))


def _export_adapter(folder: RunFolder, to: Path, results: dict[str, Any]) -> None:
    source = folder.path / "adapter"
    if results["adaptation"]["method"] == "none":
        raise InputError(
            f"{folder.path} has no adapter, because adapt.method is 'none' and the generator was used "
            "unchanged"
        )
    if not source.is_dir():
        raise InputError(f"{source} must hold the adapter of the run, but it was deleted")
    copy_adapter(source, to, shared=True)
    files = sorted(path.name for path in to.iterdir())
    write_text(to / "README.md", adapter_card(results, settings=folder.settings, files=files))
