"""Accuracy of the arms on corrupted digits and on shifted handwriting: part of ``proof``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.claims import Claim
from benchmarks.shifted_digits import write_shifted
from understudy.core.progress import Silent
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.recipes import PRESETS
from understudy.settings import build

SHOTS = (None, 10)
"""Real images per class; None for all 600."""
_COMMON: Mapping[str, Any] = {
    "data": {"source": "digits"},
    "draw": {"per_class": 60, "steps": 15},
    "adapt": {"steps": 300},
    "curate": {"score": "none"},
    "compare": {"arms": ["real", "synthetic", "mixed", "bridged"], "steps": 100, "batch_size": 32},
}
_SMOKE: Mapping[str, Any] = {
    "adapt": {"steps": 2, "batch_size": 8, "validation_pairs": 16},
    "draw": {"per_class": 2, "steps": 2},
    "compare": {"steps": 2},
    "shift": {"corruptions": ["noise"], "severities": [3]},
}


_ARMS = ("synthetic", "mixed", "bridged")


def case_of(shots: int | None) -> str:
    return "all 600" if shots is None else f"{shots} per class"


def measure(shots: int | None, runs: Path, *, smoke: bool) -> dict[str, Any]:
    """The section ``shift`` of a run; finished stages are reused."""
    folder = runs / f"shift-{case_of(shots).replace(' ', '-')}"
    chosen: dict[str, Any] = {"data": {"shots": 4 if smoke else shots}}
    plain = build(PRESETS["quick"], _COMMON, chosen, _SMOKE if smoke else {})
    run(plain, folder, until="load")
    test = Run(RunFolder.find(folder), "cpu", Silent()).test
    tests = {
        kind: str(path) for kind, path in write_shifted(test, runs / f"{folder.name}-tests", seed=0).items()
    }
    shifted = build(plain.model_dump(mode="json"), {"shift": {"measure": True, "tests": tests}})
    results = run(shifted, folder)
    arms = {name: arm["accuracy"] for name, arm in results["arms"].items()}
    return {"part": "shift", "case": case_of(shots), "arms": arms, "shift": results["shift"]}


def row(measured: Mapping[str, Any]) -> dict[str, Any]:
    """The row for the result file, averaged over severities; single severities and more on calibration stay
    in the run's results.json.
    """
    shift = measured["shift"]
    corruptions = {
        name: {arm: _mean(severities) for arm, severities in arms.items()}
        for name, arms in shift["corruptions"].items()
    }
    tests = {
        name: {
            **test,
            "arms": {
                arm: {key: figures[key] for key in ("accuracy", "minus_real")}
                for arm, figures in test["arms"].items()
            },
        }
        for name, test in shift["tests"].items()
    }
    return {
        "part": "shift",
        "case": measured["case"],
        "shift": {**shift, "corruptions": corruptions, "tests": tests},
    }


def _mean(severities: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {key: float(np.mean([each[key]["mean"] for each in severities])) for key in ("accuracy", "ece")}


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Accuracy of the arms with synthetic images minus that of ``real``, in points, on corrupted digits and
    on shifted handwriting.
    """
    return [
        Claim.of(
            f"{row['case']}: {arm} minus real on {where}, in points",
            difference,
            scale=100,
            why="bootstrap over test images and 3 trainings",
        )
        for row in rows
        for arm in _ARMS
        for where, difference in (
            ("corrupted digits, mean of all", row["shift"]["mean_corruption"][arm]["minus_real"]),
            (
                "shifted handwriting, everything at once",
                row["shift"]["tests"]["all"]["arms"][arm]["minus_real"],
            ),
        )
    ]


def tables(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy by corruption and kind of handwriting, and calibration."""
    found = []
    for row in rows:
        shift, arms = row["shift"], ["real", *_ARMS]
        named = {"test images as they are": shift["clean"], "all corruptions": shift["mean_corruption"]}
        named |= {f"handwriting: {name}": test["arms"] for name, test in shift["tests"].items()}
        body = [
            [name, *(f"{100 * figures[arm]['accuracy']:.1f}" for arm in arms)]
            for name, figures in shift["corruptions"].items()
        ]
        body += [
            [name, *(_interval(figures[arm]["accuracy"]) for arm in arms)] for name, figures in named.items()
        ]
        body += [["calibration error (ECE)", *(_interval(shift["calibration"][arm]["ece"]) for arm in arms)]]
        found.append(
            {
                "title": f"Accuracy on changed digits, %, {row['case']}",
                "columns": ["test images", *arms],
                "rows": body,
            }
        )
    return found


def _interval(share: Mapping[str, float]) -> str:
    return f"{100 * share['mean']:.1f} [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"
