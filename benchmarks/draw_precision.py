"""Accuracy of arms whose images were drawn with bfloat16 instead of float32 products.

``python -m benchmarks.draw_precision`` runs the demo (``digits``, 5 images per class, preset ``quick``) once
per seed in float32, and once more in bfloat16 with the same adapter, plan and trainings. Nothing but the
format differs, so the differences between the arms are what it costs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.claims import Claim, command_line, t_interval, write
from understudy.core.progress import Silent
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.run import run
from understudy.recipes import PRESETS
from understudy.settings import build

_ARMS = ("synthetic", "mixed", "bridged")
_SMOKE = {"adapt": {"steps": 4}, "draw": {"per_class": 4, "steps": 2}, "compare": {"steps": 4}}


def measure(out: Path, runs: Path, smoke: bool) -> None:
    """Run every seed in both formats, and write the result file."""
    rows = [_row(runs, seed, smoke=smoke) for seed in range(1 if smoke else 5)]
    save(out, rows)


def save(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write the result file of measured rows."""
    claims = [_claim(arm, [row[arm] for row in rows]) for arm in _ARMS]
    command = ["python", "-m", "benchmarks.draw_precision"]
    columns = ["seed", "mean_levels", "largest", *_ARMS]
    table = {
        "title": "bfloat16 minus float32 by run: mean and largest difference of the drawn images in grey "
        "levels, and accuracy of the arms in points.",
        "columns": ["seed", "grey levels, mean", "largest", *(f"`{arm}`" for arm in _ARMS)],
        "rows": [
            [f"{row[name]:.2f}" if isinstance(row[name], float) else str(row[name]) for name in columns]
            for row in rows
        ],
    }
    settings = {"demo": {"command": command, "preset": "quick", "shots": 5}}
    write(out, settings=settings, rows=rows, claims=claims, tables=[table])


def _row(runs: Path, seed: int, *, smoke: bool) -> dict[str, Any]:
    """Differences between bfloat16 and float32, in points of accuracy and in grey levels."""
    exact = _finished(runs, "float32", seed, {}, smoke=smoke)
    ready = {"adapt": {"adapter": str(runs / f"float32-{seed}" / "adapter")}}
    moved = _finished(runs, "bfloat16", seed, ready, smoke=smoke)
    points = {
        arm: 100 * (moved["arms"][arm]["accuracy"]["mean"] - exact["arms"][arm]["accuracy"]["mean"])
        for arm in _ARMS
    }
    levels = np.abs(_drawn(runs / f"float32-{seed}") - _drawn(runs / f"bfloat16-{seed}"))
    return {"seed": seed, "mean_levels": float(levels.mean()), "largest": int(levels.max()), **points}


def _finished(
    runs: Path, precision: str, seed: int, changes: dict[str, Any], *, smoke: bool
) -> dict[str, Any]:
    chosen = {
        "seed": seed,
        "data": {"source": "digits", "shots": 5},
        "draw": {"precision": precision},
        "fidelity": {"measure": False},
    }
    settings = build(PRESETS["quick"], _SMOKE if smoke else {}, chosen, changes)
    return run(settings, runs / f"{precision}-{seed}", observer=Silent())


def _drawn(folder: Path) -> np.ndarray:
    """Grey levels of the first round, as int (N, 3, H, W)."""
    parts = sorted((folder / "synthetic" / "images" / "round-00").glob("*.parquet"))
    drawn = LabelledSet.concatenate([LabelledSet.load(part) for part in parts])
    return drawn.pixels(32).astype(np.int64)


def _claim(arm: str, points: list[float]) -> Claim:
    value, low, high = t_interval(points)
    return Claim(
        claim=f"accuracy of `{arm}` with images drawn in bfloat16 minus that in float32, in points",
        value=value,
        low=low,
        high=high,
        target="the interval contains 0",
        met=not low > 0 and not high < 0,
        why=f"Student interval over {len(points)} runs",
    )


if __name__ == "__main__":
    command_line("draw_precision", measure, doc=__doc__ or "")
