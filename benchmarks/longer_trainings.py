"""The gap between synthetic and real training images on ``digits`` by length of training, and what is left of
the strategy that closes most of it.

``python -m benchmarks.longer_trainings`` takes about a quarter of an hour on two CPU cores; finished parts
are kept and reused. Images are those of ``content_gap`` with its generator ``mini``. Every length is a
training of its own, because the learning rate falls to 0 at its end. Validation images say from which length
on an arm no longer rises; test images choose nothing. Repetitions differ in the run seed.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.claims import Claim, cell, command_line, minus, repeated, t_interval, write
from understudy.core.files import write_json
from understudy.core.progress import Silent, follow
from understudy.evaluation.plateau import RISE
from understudy.functional.ratios import fieller_interval
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.recipes import PRESETS
from understudy.settings import Settings, build
from understudy.training.classifier import accuracy_and_loss
from understudy.training.data import TrainingData
from understudy.training.fit import fit_steps

CASES: Mapping[str, int | None] = {"10 per class": 10, "all 600": None}
REPEATS = (0, 1, 2, 3, 4)
STEPS = (100, 200, 400)
SOFT = "synthetic@soft-labels"
ARMS = ("real", "synthetic", SOFT, "mixed")
_PROCESSES = 2
_SMOKE: Mapping[str, Any] = {
    "adapt": {"steps": 4, "batch_size": 8, "validation_pairs": 16},
    "draw": {"steps": 2, "per_class": 2},
}


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Train every unfinished arm, then write rows, tables and claims."""
    repeats = REPEATS[:1] if smoke else REPEATS
    parts = [(case, repeat) for repeat in repeats for case in list(CASES)[: 1 if smoke else None]]
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        rows = pool.starmap(_row, [(*part, runs, smoke) for part in parts], chunksize=1)
    settings = {
        case: {
            "command": ["python", "-m", "benchmarks.longer_trainings"],
            "settings": _settings(case, 0, smoke=smoke).model_dump(mode="json", exclude_defaults=True),
        }
        for case in dict.fromkeys(case for case, _ in parts)
    }
    claims, tables = ([], []) if smoke else (_claims(rows), _tables(rows))
    write(out, settings=settings, rows=rows, claims=claims, tables=tables)


def _settings(case: str, repeat: int, *, smoke: bool) -> Settings:
    common = {
        "seed": repeat,
        "data": {"source": "digits", "shots": CASES[case]},
        "adapt": {"steps": 200},
        "draw": {"per_class": 60, "steps": 15},
        "curate": {"score": "none"},
        "compare": {"batch_size": 32, "arms": ARMS},
    }
    return build(PRESETS["quick"], common, _SMOKE if smoke else {})


def _row(case: str, repeat: int, runs: Path, smoke: bool) -> dict[str, Any]:
    """Accuracy of every arm after every length of training, on test and validation images."""
    torch.set_num_threads(1)
    folder = runs / f"{case.replace(' ', '-')}-{repeat}"
    run(_settings(case, repeat, smoke=smoke), folder, until="curate")
    of_run = Run(RunFolder.find(folder), "cpu", Silent())
    found = {
        str(steps): {arm: _trained(of_run, arm, steps, repeat) for arm in ARMS}
        for steps in ((2, 4) if smoke else STEPS)
    }
    return {"case": case, "repeat": repeat, "train": len(of_run.train), "steps": found}


def _trained(of_run: Run, arm: str, steps: int, repeat: int) -> dict[str, float]:
    record = of_run.path / "measured" / f"{arm}-{steps}.json"
    if not record.exists():
        settings = of_run.settings.compare.model_copy(update={"steps": steps})
        curated = of_run.sets.of_arm(arm)
        data = TrainingData(
            train=of_run.train,
            synthetic=curated.images,
            quota=curated.quota,
            teacher=lambda: of_run.classifiers.judge,
        )
        classifier = follow(fit_steps(arm, data, settings=settings, seed=repeat, device="cpu"))
        write_json(
            record,
            {
                "test": accuracy_and_loss(classifier, of_run.test)[0],
                "val": accuracy_and_loss(classifier, of_run.val)[0],
            },
        )
    return dict(json.loads(record.read_text(encoding="utf-8")))


def _points(
    rows: Sequence[Mapping[str, Any]], case: str, steps: int, arm: str, of: str = "test"
) -> list[float]:
    return [100 * row["steps"][str(steps)][arm][of] for row in rows if row["case"] == case]


def _gap(rows: Sequence[Mapping[str, Any]], case: str, steps: int) -> list[float]:
    return minus(_points(rows, case, steps, "real"), _points(rows, case, steps, "synthetic"))


def _gained(rows: Sequence[Mapping[str, Any]], case: str, steps: int) -> list[float]:
    """What soft labels add to synthetic images."""
    return minus(_points(rows, case, steps, SOFT), _points(rows, case, steps, "synthetic"))


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Differences in points; none has a target."""
    found = []
    for case in CASES:
        for steps in STEPS:
            claim = f"{case}, {steps} steps: real minus synthetic, points"
            found.append(repeated(claim, _gap(rows, case, steps), target="reported"))
        added = minus(_gap(rows, case, STEPS[-1]), _gap(rows, case, STEPS[0]))
        claim = f"{case}: that difference with {STEPS[-1]} steps minus with {STEPS[0]}, points"
        found.append(repeated(claim, added, target="reported"))
        for steps in (STEPS[0], STEPS[-1]):
            claim = f"{case}, {steps} steps: {SOFT} minus synthetic, points"
            found.append(repeated(claim, _gained(rows, case, steps), target="reported"))
    return found


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    what = f"mean over {len(REPEATS)} runs, 95% Student interval; 997 test images"
    return [
        table
        for case in CASES
        for table in (
            {
                "title": f"Accuracy in percent by steps of training, {case}: {what}. The share that soft "
                "labels close has Fieller's interval.",
                "columns": [
                    "steps",
                    *(f"`{arm}`" for arm in ARMS),
                    "gap, points",
                    "closed by soft labels, %",
                ],
                "rows": [
                    [
                        str(steps),
                        *(cell(_points(rows, case, steps, arm)) for arm in ARMS),
                        cell(_gap(rows, case, steps)),
                        _closed(rows, case, steps),
                    ]
                    for steps in STEPS
                ],
            },
            {
                "title": f"What twice the steps add to accuracy on validation images, in points, {case}; "
                f"bold: more than {100 * RISE:g} with its whole interval.",
                "columns": ["steps", *(f"`{arm}`" for arm in ARMS)],
                "rows": [
                    [f"{before} to {after}", *(_added(rows, case, before, after, arm) for arm in ARMS)]
                    for before, after in itertools.pairwise(STEPS)
                ],
            },
        )
    ]


def _closed(rows: Sequence[Mapping[str, Any]], case: str, steps: int) -> str:
    """The share of the gap that soft labels close; no interval where the gap may be 0."""
    ratio = fieller_interval(_gained(rows, case, steps), _gap(rows, case, steps))
    share, low, high = (100 * end for end in ratio)
    return f"{share:.0f} [{low:.0f}, {high:.0f}]" if np.isfinite([low, high]).all() else "-"


def _added(rows: Sequence[Mapping[str, Any]], case: str, before: int, after: int, arm: str) -> str:
    added = minus(_points(rows, case, after, arm, "val"), _points(rows, case, before, arm, "val"))
    rose = t_interval(added)[1] > 100 * RISE
    return f"**{cell(added)}**" if rose else cell(added)


if __name__ == "__main__":
    command_line("longer_trainings", main, doc=__doc__ or "")
