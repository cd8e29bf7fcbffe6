"""Export what an arm predicts for the real test images, so that cleanlab finds wrong labels among them."""

from __future__ import annotations

import csv
from pathlib import Path

from understudy.core.errors import InputError
from understudy.core.files import write_text
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.folder import RunFolder
from understudy.report.card import predictions_card
from understudy.training.records import ArmFolder, ArmResult, seeds_of

_FILE = "predictions.csv"


def export_predictions(folder: RunFolder, to: Path, *, arm: str) -> int:
    """Write a table with a row for each real test image, and a page that says how cleanlab reads it.

    Columns: ``id``, ``source_path`` (if the run knows it), ``label`` (from 0), ``class_name``, ``predicted``
    (a class name), and ``p_0``, ``p_1``, ...: the probability of each class, the mean over the trainings of
    the arm. No training and no choice of the run has seen these images.

    Args:
        folder: of the run.
        to: new or empty folder.
        arm: one of the run's arms.

    Returns:
        The number of images.

    Raises:
        InputError: if the records of the trainings were deleted or are damaged.
    """
    seeds = seeds_of(folder.settings.seed, folder.settings.compare.num_seeds)
    files = ArmFolder(folder.path / "arms", arm)
    if not files.has_records(len(seeds)):
        raise InputError(
            f"{files.path} must hold the records of all {len(seeds)} trainings of {arm}, such as "
            f"{files.record(0).name}, but some were deleted"
        )
    test = LabelledSet.load(folder.path / "data" / "test.parquet")
    result = files.result(seeds, test)
    card = predictions_card(
        arm, images=len(test), trainings=len(seeds), source=folder.settings.data.source, file=_FILE
    )
    _write_table(to / _FILE, test, result)
    write_text(to / "README.md", card)
    return len(test)


def _write_table(path: Path, test: LabelledSet, result: ArmResult) -> None:
    probabilities = result.probabilities.mean(axis=0, dtype=float)
    names, kept = test.class_names, [name for name in ("id", "source_path") if test.has(name)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow([*kept, "label", "class_name", "predicted", *(f"p_{i}" for i in range(len(names)))])
        for *known, label, row in zip(
            *(test.provenance(name) for name in kept), test.labels, probabilities, strict=True
        ):
            writer.writerow([*known, label, names[label], names[row.argmax()], *row.tolist()])
