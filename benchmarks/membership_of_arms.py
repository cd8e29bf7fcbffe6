"""How well an attacker can tell which images were in the training set of each arm: part of ``proof``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims import Claim
from understudy.pipeline.run import run
from understudy.recipes import PRESETS, RECIPES
from understudy.settings import Settings, build

_COMMON: Mapping[str, Any] = {
    "data": {"source": "digits"},
    # Every image is drawn from a real one, which a shadow model has trained on or not.
    "draw": {"per_class": 60, "steps": 15, "start_snr": RECIPES["real-fake-mini"]["draw"]["start_snr"]},
    "adapt": {"steps": 150},
    "curate": {"score": "none"},
    "compare": {"arms": ["real", "synthetic", "mixed", "bridged"], "steps": 100, "batch_size": 32},
    "membership": {"measure": True, "arms": ["real", "synthetic", "mixed", "bridged"]},
}
_OVERFITTED: Mapping[str, Any] = {
    "adapt": {"method": "none"},
    "draw": {"start_snr": None},
    "compare": {
        "arms": ["real"],
        "steps": 250,
        "augmentation": "none",
        "label_smoothing": 0.0,
        "weight_decay": 0.0,
    },
    "membership": {"arms": ["real"]},
}
CASES: Mapping[str, Mapping[str, Any]] = {
    "overfitted": _OVERFITTED,
    "arms": {},
    "pipeline": {"membership": {"target": "pipeline", "shadows": 16, "false_positive_rates": [0.01]}},
    # Training with DP-SGD takes about a minute on one core.
    "private": {
        "membership": {"shadows": 8, "false_positive_rates": [0.01], "arms": ["real"], "private_epsilon": 8.0}
    },
}
"""What differs from the run whose arms are audited with 64 shadow models."""
_SMOKE: Mapping[str, Any] = {
    "data": {"shots": 4},
    "draw": {"per_class": 2, "steps": 2},
    "compare": {"steps": 2, "batch_size": 8},
    "membership": {"shadows": 6, "false_positive_rates": [0.1]},
}


def settings_of(case: str, *, smoke: bool) -> Settings:
    adapted = CASES[case].get("adapt", {}).get("method") != "none"
    steps: Mapping[str, Any] = (
        {"adapt": {"steps": 2, "batch_size": 8, "validation_pairs": 16}} if adapted else {}
    )
    return build(PRESETS["quick"], _COMMON, CASES[case], *((_SMOKE, steps) if smoke else ()))


def measure(case: str, runs: Path, *, smoke: bool) -> dict[str, Any]:
    """The section ``membership`` of a run; finished stages are reused."""
    results = run(settings_of(case, smoke=smoke), runs / f"membership-{case}")
    return {"part": "membership", "case": case, "membership": results["membership"]}


def row(measured: Mapping[str, Any]) -> dict[str, Any]:
    """The row for the result file; the points of the curves stay in the run's results.json."""
    audit = measured["membership"]
    attacks = {
        name: {arm: {key: figures[key] for key in ("auc", "tpr")} for arm, figures in arms.items()}
        for name, arms in audit["attacks"].items()
    }
    return {**measured, "membership": {**audit, "attacks": attacks}}


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Whether the attack succeeds where it should, and how well it does on every arm."""
    return [
        _claim(row["case"], arm, attack, entry, must=row["case"] == "overfitted")
        for row in rows
        for attack, arms in row["membership"]["attacks"].items()
        for arm, figures in arms.items()
        for entry in figures["tpr"]
    ]


def _claim(case: str, arm: str, attack: str, entry: Mapping[str, Any], *, must: bool) -> Claim:
    found, chance = entry["tpr"], entry["fpr"]
    return Claim.of(
        f"membership, {case}: {attack} on {arm}, true-positive rate at a false-positive rate of {chance:g}",
        found,
        target=f"interval above chance, {chance:g}" if must else "measured",
        met=found["low"] > chance or not must,
        why="bootstrap over images and target models",
    )


def tables(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """True positive rates and area under the curve, for every attack on every arm."""
    found = []
    for row in rows:
        audit = row["membership"]
        rates = [entry["fpr"] for entry in next(iter(audit["attacks"]["lira"].values()))["tpr"]]
        body = [
            [
                *(arm, attack, *(_interval(entry["tpr"], 2) for entry in figures["tpr"])),
                *(_interval(figures["auc"], 1), _interval(audit["arms"][arm]["test_accuracy"], 1)),
            ]
            for attack, arms in audit["attacks"].items()
            for arm, figures in arms.items()
        ]
        columns = [
            "arm",
            "attack",
            *(f"found at {100 * rate:g}%" for rate in rates),
            "area under curve",
            "test accuracy",
        ]
        title = (
            f"Membership, {row['case']}: target {audit['target']}, {audit['shadows']} shadow models, all in %"
        )
        found.append({"title": title, "columns": columns, "rows": body})
    return found


def _interval(share: Mapping[str, float], digits: int) -> str:
    mean, low, high = (f"{100 * share[end]:.{digits}f}" for end in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
