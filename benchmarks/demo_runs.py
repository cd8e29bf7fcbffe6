"""The demo over five choices of images: what is its chosen arm worth, once both sides learn from every
labelled image?

``python -m benchmarks.demo_runs`` takes about fifteen minutes on two CPU cores; finished runs are kept and
reused. A run is the demo, ``understudy run digits --shots 5 --preset quick``, with its own seed, and with it
another choice of real images, another adaptation, other synthetic images and other classifiers; seed 0 is
the demo itself. The 997 test images are the same. Validation images choose the arm of each run.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import Claim, cell, command_line, minus, repeated, write
from understudy.core.files import write_json
from understudy.pipeline.run import run
from understudy.recipes import PRESETS
from understudy.settings import Settings, build
from understudy.training.settings import DEFAULT_ARMS

SEEDS = (0, 1, 2, 3, 4)
CHOSEN, CHOSEN_AGAIN = "the chosen arm", "the chosen arm, trained again"
"""In each run, the arm that its validation images choose, and this arm in the form that is compared with
``real+val``: with the validation images as train images if it has such a form.
"""
_PROCESSES = 2
_SMOKE: Mapping[str, Any] = {
    "adapt": {"steps": 2, "batch_size": 8, "validation_pairs": 16},
    "draw": {"per_class": 2, "steps": 2},
    "curate": {"max_refills": 0},
    "compare": {"steps": 4},
}


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Do every unfinished run, then write rows, tables and claims."""
    seeds = SEEDS[:1] if smoke else SEEDS
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        rows = pool.starmap(_row, [(seed, runs, smoke) for seed in seeds], chunksize=1)
    settings = {
        "the demo": {
            "command": ["python", "-m", "benchmarks.demo_runs"],
            "seeds": list(seeds),
            "settings": _settings(0, smoke=smoke).model_dump(mode="json", exclude_defaults=True),
        }
    }
    claims, tables = ([], []) if smoke else (_claims(rows), _tables(rows))
    write(out, settings=settings, rows=rows, claims=claims, tables=tables)


def _settings(seed: int, *, smoke: bool) -> Settings:
    common = {
        "seed": seed,
        "data": {"source": "digits", "shots": 5},
        "compute": {"threads": 1, "workers": 1},
    }
    return build(PRESETS["quick"], common, _SMOKE if smoke else {})


def _row(seed: int, runs: Path, smoke: bool) -> dict[str, Any]:
    """Accuracies of every arm, and the verdict; a finished run is read."""
    torch.set_num_threads(1)
    record = runs / f"seed{seed}.json"
    if not record.exists():
        results = run(_settings(seed, smoke=smoke), runs / f"seed{seed}")
        arms = {
            name: {key: arm[key] for key in ("accuracy", "minus_real")}
            for name, arm in results["arms"].items()
        }
        write_json(record, {"seed": seed, "arms": arms, "verdict": results["verdict"]})
    return dict(json.loads(record.read_text(encoding="utf-8")))


def _points(rows: Sequence[Mapping[str, Any]], name_of: Callable[[Mapping[str, Any]], str]) -> list[float]:
    return [100 * float(row["arms"][name_of(row)]["accuracy"]["mean"]) for row in rows]


def _accuracies(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Accuracy in percent by arm, one value per run."""
    found = {arm: _points(rows, lambda row, arm=arm: arm) for arm in DEFAULT_ARMS}  # type: ignore[misc]
    judged = [row["verdict"].get("judged") for row in rows]
    chosen = _points(rows, lambda row: str(row["verdict"]["best"]))
    found[CHOSEN] = [100 * one["mean"] if one else own for one, own in zip(judged, chosen, strict=True)]
    again = _points(rows, lambda row: str(row["verdict"]["against_val"]))
    has_form = [row["verdict"]["against_val"] != row["verdict"]["best"] for row in rows]
    found[CHOSEN_AGAIN] = [
        trained if has else own for has, trained, own in zip(has_form, again, found[CHOSEN], strict=True)
    ]
    return found


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Differences in points. The target stood before these runs; four of their seeds had been run once."""
    accuracy = _accuracies(rows)
    claims = [
        repeated(
            f"the demo: {CHOSEN_AGAIN}, minus real+val",
            minus(accuracy[CHOSEN_AGAIN], accuracy["real+val"]),
            low_above=0.0,
            target="interval above 0: a gain if both sides learn from every labelled image",
        ),
        repeated(
            f"the demo: {CHOSEN}, minus real",
            minus(accuracy[CHOSEN], accuracy["real"]),
            low_above=0.0,
            target="interval above 0",
        ),
    ]
    claims += [
        repeated(f"the demo: {arm} minus {rival}", minus(accuracy[arm], accuracy[rival]), target="reported")
        for rival in ("real", "real+val")
        for arm in DEFAULT_ARMS
        if arm not in ("real", rival)
    ]
    helps = [float(row["verdict"]["helps"]) for row in rows]
    claims.append(
        Claim.single(
            f"the demo: share of {len(rows)} verdicts that say that synthetic images help",
            sum(helps) / len(helps),
            target="reported",
            met=True,
        )
    )
    return claims


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    accuracy = _accuracies(rows)
    return [
        {
            "title": f"The demo over {len(rows)} choices of 50 train and 50 validation images: accuracy in "
            "percent and differences in points, mean and 95% Student interval over runs; 997 test images.",
            "columns": ["arm", "accuracy", "minus `real`", "minus `real+val`"],
            "rows": [
                [
                    f"`{arm}`" if arm in DEFAULT_ARMS else arm,
                    cell(accuracy[arm]),
                    *(
                        "" if arm in ("real", rival) else cell(minus(accuracy[arm], accuracy[rival]))
                        for rival in ("real", "real+val")
                    ),
                ]
                for arm in accuracy
            ],
        },
        {
            "title": "Each run: accuracy in percent, and what its verdict says.",
            "columns": ["seed", "`real`", "`real+val`", "chosen", "trained again", "accuracy", "helps"],
            "rows": [
                [
                    str(row["seed"]),
                    *(f"{100 * row['arms'][arm]['accuracy']['mean']:.1f}" for arm in ("real", "real+val")),
                    f"`{row['verdict']['best']}`",
                    f"`{row['verdict']['against_val']}`",
                    f"{again:.1f}",
                    "yes" if row["verdict"]["helps"] else "no",
                ]
                for row, again in zip(rows, accuracy[CHOSEN_AGAIN], strict=True)
            ],
        },
    ]


if __name__ == "__main__":
    command_line("demo_runs", main, doc=__doc__ or "")
