"""Write images, a classifier, predictions, the adapter or the report of a run for others, with a card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from understudy.adaptation.adapter import copy_adapter
from understudy.commands.export_classifier import export_classifier
from understudy.commands.export_predictions import export_predictions
from understudy.core.errors import InputError
from understudy.core.files import write_text
from understudy.data.export import EXPORTS, new_folder
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder, finished_results
from understudy.pipeline.report import report_data, run_card
from understudy.pipeline.samples import shareable_images, shareable_samples
from understudy.report.accuracy import arm_to_take, why_real_alone
from understudy.report.card import ADAPTER_PICTURE, adapter_card
from understudy.report.html import write_report

What = Literal["dataset", "classifier", "predictions", "adapter", "report"]
FORMS: dict[What, tuple[str, ...]] = {
    "dataset": ("folder", *(name for name in EXPORTS if name != "folder")),
    "classifier": ("timm", "onnx"),
    "predictions": ("cleanlab",),
    "adapter": ("diffusers",),
    "report": ("html",),
}
"""The forms of each part of a run; the first one is the default for a folder."""


def export_part(
    folder: RunFolder,
    to: Path,
    *,
    what: What = "dataset",
    form: str | None = None,
    arm: str | None = None,
    hub: str | None = None,
) -> str:
    """Write a part of a run for others, with a card or a page that explains it; all of it or nothing.

    Args:
        folder: of the run.
        to: new or empty folder.
        what: ``dataset`` (the curated synthetic images), ``classifier`` (of an arm), ``predictions`` (of an
            arm, for the real test images), ``adapter`` (for diffusers) or ``report`` (for those who must not
            see the real images).
        form: one of ``FORMS[what]``; by default the first one, and ``huggingface`` for images on the hub.
        arm: the arm of the classifier or the predictions; by default that of
            :func:`understudy.report.accuracy.arm_to_take`.
        hub: the repository that the files go to, ``owner/name``, for the card; None for a folder.

    Returns:
        A description of what was written, without the place.

    Raises:
        InputError: if the run is not finished or lacks the part, ``to`` is not empty, the part has no such
            form, or an arm is given that has no effect.
    """
    if form is not None and form not in FORMS[what]:
        *others, last = FORMS[what]
        known = f"{', '.join(others)} or {last}" if others else last
        raise InputError(f"--form of the {what} must be {known}, got {form!r}")
    if arm is not None and what not in ("classifier", "predictions"):
        raise InputError(f"--arm has no effect on the {what}: leave it out")
    # The page of a data set on the hub shows the images of Parquet files.
    form = form or ("huggingface" if what == "dataset" and hub is not None else FORMS[what][0])
    if what == "dataset":
        if hub is not None:  # a folder may also hold the images of a run that is not finished
            finished_results(folder)
        return f"{export_dataset(folder, to, form=form)} images"
    with new_folder(to) as new:
        return _write(folder, new, what=what, form=form, arm=arm, hub=hub)


def _write(folder: RunFolder, to: Path, *, what: What, form: str, arm: str | None, hub: str | None) -> str:
    """Write a part of a finished run into a folder that takes its place when all is written."""
    results = finished_results(folder)
    if what == "adapter":
        _export_adapter(folder, to, results, hub=hub)
        return "the adapter"
    if what == "report":
        return f"the report {_export_report(folder, to, results)}"
    name = arm_to_take(results) if arm is None else arm
    if name not in results["arms"]:
        raise InputError(f"--arm must be an arm of {folder.path}, {', '.join(results['arms'])}, got {name!r}")
    reason = why_real_alone(results) if arm is None else ""
    why = f" ({reason}; --arm gives another)" * bool(reason)
    if what == "predictions":
        count = export_predictions(folder, to, arm=name)
        return f"the predictions of the arm {name} for {count} real test images{why}"
    export_classifier(folder, to, results, arm=name, form=form, hub=hub)
    return f"the classifier of the arm {name}{why}"


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
    card = None if results is None else run_card(Run(folder, "cpu"), results, data_files=None)
    with new_folder(to) as new:
        EXPORTS[form](curated, new)
        if card is not None:
            write_text(new / "README.md", card)
    return len(curated)


def _export_adapter(folder: RunFolder, to: Path, results: Mapping[str, Any], *, hub: str | None) -> None:
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
    if (samples := shareable_samples(folder)) is not None:
        samples.save(to / ADAPTER_PICTURE)
        files.append(ADAPTER_PICTURE)
    write_text(to / "README.md", adapter_card(results, settings=folder.settings, files=files, hub=hub))


def _export_report(folder: RunFolder, to: Path, results: Mapping[str, Any]) -> str:
    """Write the page without real images; returns what it shows."""
    images = shareable_images(folder)
    data = replace(report_data(Run(folder, "cpu"), results), shareable=images)
    write_report(to / "report.html", data, form="shareable")
    return "without any image" if images is None else "without real images"
