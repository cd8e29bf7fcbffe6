"""What leaves a run for other tools: the curated images, a classifier, the adapter; each with its card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np

from understudy.adaptation.adapter import copy_adapter
from understudy.core.errors import InputError
from understudy.core.files import read_arrays, write_atomically, write_text
from understudy.pipeline.folder import RunFolder, finished_results
from understudy.pipeline.study import export_run
from understudy.report.card import adapter_card, classifier_card
from understudy.training.arms import find_arm
from understudy.training.records import ArmFolder

What = Literal["dataset", "classifier", "adapter"]
_CLASSIFIER = ("config.json", "model.safetensors")


def export_part(folder: RunFolder, to: Path, *, what: What = "dataset", form: str | None = None, arm: str | None = None) -> str:
    """Write a part of a run, and its card, where other tools read them.

    Args:
        folder: of the run.
        to: new or empty folder.
        what: ``dataset`` (the curated synthetic images), ``classifier`` (of an arm, for timm) or ``adapter`` (for diffusers).
        form: of the images, a key of ``EXPORTS``; ``folder`` if not given.
        arm: whose classifier; that of the verdict if not given.

    Returns:
        What was written, in words.

    Raises:
        InputError: if the run is not far enough, has no such part, or ``to`` is not empty; for a form or an arm that has no effect.
    """
    if form is not None and what != "dataset":
        raise InputError(f"--form has no effect on the {what}: leave it out")
    if arm is not None and what != "classifier":
        raise InputError(f"--arm has no effect on the {what}: leave it out")
    if what == "dataset":
        return f"{export_run(folder, to, form=form or 'folder')} images in {to}"
    results = finished_results(folder)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"{to} must be a new or empty folder to export to: choose another")
    if what == "classifier":
        name = _export_classifier(folder, to, results, str(results["verdict"]["best"]) if arm is None else arm)
        return f"the classifier of the arm {name} in {to}"
    _export_adapter(folder, to, results)
    return f"the adapter in {to}"


def _export_classifier(folder: RunFolder, to: Path, results: dict[str, Any], arm: str) -> str:
    if arm not in results["arms"]:
        raise InputError(f"--arm must be an arm of {folder.path}, {', '.join(results['arms'])}, got {arm!r}")
    source = ArmFolder(folder.path / "arms", arm).classifier
    if not all((source / name).is_file() for name in _CLASSIFIER):
        raise InputError(f"{source} must hold the classifier of {arm}, config.json and model.safetensors: it was deleted")
    found, compare = find_arm(arm, folder.settings.compare), folder.settings.compare
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    tuned = results.get("tuning", {}).get(arm, {}).get("chosen", {})
    card = classifier_card(
        results,
        settings=folder.settings,
        arm=arm,
        summary=f"{found.summary}: {found.describe()}",
        drawn=found.uses_synthetic,
        architecture=str(config["architecture"]),
        training=_kept(folder, arm),
        recipe={key: tuned.get(key, getattr(compare, key)) for key in ("learning_rate", "weight_decay")},
    )
    to.mkdir(parents=True, exist_ok=True)
    for name in _CLASSIFIER:
        write_atomically(to / name, lambda path, name=name: shutil.copyfile(source / name, path))  # type: ignore[misc]
    write_text(to / "README.md", card)
    return arm


def _kept(folder: RunFolder, arm: str) -> int | None:
    """Which training the kept classifier is, from 0: the first with the best validation accuracy; None if the records were deleted."""
    files, num_seeds = ArmFolder(folder.path / "arms", arm), folder.settings.compare.num_seeds
    if not files.has_records(num_seeds):
        return None
    return int(np.argmax([read_arrays(files.record(index))["val_accuracy"] for index in range(num_seeds)]))


def _export_adapter(folder: RunFolder, to: Path, results: dict[str, Any]) -> None:
    source = folder.path / "adapter"
    if results["adaptation"]["method"] == "none":
        raise InputError(f"{folder.path} has no adapter: adapt.method is 'none', the generator was used as it is")
    if not source.is_dir():
        raise InputError(f"{source} must hold the adapter of the run: it was deleted")
    copy_adapter(source, to, shared=True)
    write_text(to / "README.md", adapter_card(results, settings=folder.settings, files=sorted(path.name for path in to.iterdir())))
