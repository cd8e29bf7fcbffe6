"""How many steps does ``class_conditional`` need until its photographs are worth something?

``PHOTOGRAPHS=FOLDER python -m benchmarks.photograph_steps`` needs the folders ``trashnet`` and
``sign-digits`` with Parquet files for train, val and test in it, and ``pip install "understudy[photo]"``. A
set takes about 50 minutes on one CPU core; finished runs are kept. With ``--smoke`` it runs on ``digits``.

For each set, the generator learns from all train images at 64 pixels. It draws after each number of steps in
``STEPS``: the adaptation of one row goes on where that of the row before ended, which changes nothing,
because neither batches nor the learning rate depend on the last step. All drawn images are kept. A classifier
of the real images with the backbone ``photo`` says how many show their class, and such a classifier is
trained on as many drawn images alone. One adaptation per set: intervals are those over images.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import Claim, command_line, write
from benchmarks.folders import without_copies
from benchmarks.photographs import settings_of
from understudy.core.files import write_json
from understudy.pipeline.run import run
from understudy.settings import build

SETS = ("sign-digits", "trashnet")
STEPS = (100, 300, 500, 1000, 2000)
_DATA = Path(os.environ.get("PHOTOGRAPHS", "photographs"))
_PROCESSES = 2
_CHOSEN: Mapping[str, Any] = {
    "curate": {"score": "agreement", "threshold": 0.0, "firewall": "off"},
    "compare": {"arms": ["real", "synthetic"]},
}
_SMOKE_STEPS = (2, 4)


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Do every unfinished run, then write rows, tables and claims."""
    sets = ("digits",) if smoke else SETS
    for name in () if smoke else sets:
        without_copies(_DATA / name, runs / "data" / name)
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        rows = [row for found in pool.starmap(_rows, [(name, runs, smoke) for name in sets]) for row in found]
    settings = {
        "class_conditional": {
            "command": ["python", "-m", "benchmarks.photograph_steps"],
            "settings": json.loads(json.dumps(_CHOSEN)),
        }
    }
    write(out, settings=settings, rows=rows, claims=_claims(rows), tables=_tables(rows))


def _rows(name: str, runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """A row per number of steps."""
    torch.set_num_threads(1)
    rows, earlier = [], None
    for steps in _SMOKE_STEPS if smoke else STEPS:
        folder = runs / f"{name}-{steps}"
        rows.append(_row(name, steps, runs, folder, earlier, smoke=smoke))
        earlier = folder / "adapter" / "checkpoint.pt"
    return rows


def _row(
    name: str, steps: int, runs: Path, folder: Path, earlier: Path | None, *, smoke: bool
) -> dict[str, Any]:
    """What the generator is worth after a number of steps; a finished run is read."""
    record = folder.with_suffix(".json")
    if not record.exists():
        data = {"source": "digits" if smoke else str(runs / "data" / name)}
        plain = settings_of(data, 0, "class_conditional", "photo", smoke=smoke)
        steps_of_row = {"adapt": {"steps": steps, "checkpoint_every": steps}}
        values = plain.model_dump(mode="json", exclude_unset=True)
        values["compare"].pop("own_arms")  # of an arm that is not compared here
        settings = build(values, _CHOSEN, steps_of_row)
        checkpoint = folder / "adapter" / "checkpoint.pt"
        if earlier is not None and not checkpoint.exists():
            run(settings, folder, until="load")
            checkpoint.parent.mkdir(exist_ok=True)
            shutil.copy(earlier, checkpoint)
        write_json(record, {"set": name, "steps": steps, **_figures(run(settings, folder))})
    return dict(json.loads(record.read_text(encoding="utf-8")))


def _figures(results: Mapping[str, Any]) -> dict[str, Any]:
    domain = results["fidelity"]["domain"]
    return {
        "train": results["data"]["train"],
        "test": results["data"]["test"],
        "drawn": domain["images"],
        "chance": domain["chance"],
        "val_loss": results["adaptation"]["val_loss_after"],
        "recognised": domain["agreement"],
        "accuracy": {arm: found["balanced_accuracy"] for arm, found in results["arms"].items()},
    }


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """What the images are worth after each number of steps; no targets."""
    return [
        Claim.single(
            f"{row['set']}, {row['steps']:,} steps: {what}", 100 * value, target="reported", met=True
        )
        for row in rows
        for what, value in (
            ("drawn images whose class is recognised, percent", row["recognised"]["mean"]),
            ("synthetic images alone, balanced accuracy in percent", row["accuracy"]["synthetic"]["mean"]),
        )
    ]


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    tables = []
    for name in dict.fromkeys(row["set"] for row in rows):
        of_set = [row for row in rows if row["set"] == name]
        first = of_set[0]
        tables.append(
            {
                "title": f"{name}, {first['train']:,} train images, {first['drawn']:,} drawn ones; chance is "
                f"{100 * first['chance']:.0f}%. Percent, with 95% intervals over images; balanced accuracy "
                f"on {first['test']:,} test images.",
                "columns": [
                    "steps",
                    "loss on validation images",
                    "class is recognised",
                    "`synthetic`",
                    "`real`",
                ],
                "rows": [
                    [
                        f"{row['steps']:,}",
                        f"{row['val_loss']:.3f}",
                        _percent(row["recognised"]),
                        *(_percent(row["accuracy"][arm]) for arm in ("synthetic", "real")),
                    ]
                    for row in of_set
                ],
            }
        )
    return tables


def _percent(found: Mapping[str, float]) -> str:
    return f"{100 * found['mean']:.1f} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


if __name__ == "__main__":
    command_line("photograph_steps", main, doc=__doc__ or "")
