"""Bridged transfer on photographs, from Tiny-ImageNet to CIFAR-10 with few images per class: every arm and
control.

``CIFAR10_FOLDER=FOLDER python -m benchmarks.natural_images`` needs CIFAR-10 as Parquet, of which it uses the
first 5,000 train and 2,000 test images. It also needs the output of ``python -m benchmarks.natural_pretrain``
in ``RUNS/source``: a ResNet and a text-to-image pipeline pretrained on Tiny-ImageNet at 32 pixels, both small
enough for one CPU core. With ``--smoke`` it runs on ``digits`` with the bundled networks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import Claim, command_line, write
from benchmarks.folders import take_first
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.recipes import PRESETS, RECIPES
from understudy.settings import Settings, build

SHOTS = (16,)
_TARGET = Path(os.environ.get("CIFAR10_FOLDER", "cifar10"))
_COMMON: Mapping[str, Any] = {
    "seed": 0,
    "adapt": {"augmentation": "flip-crop"},
    "draw": {"per_class": 100, "guidance_scale": 1.5},
    "curate": {"score": "none"},  # a judge trained on a few photographs is wrong more often than right
    "compare": {
        "augmentation": "flip-crop",
        "steps": 100,
        "batch_size": 32,
        "num_seeds": 5,
        "curve_points": 0,
        "transferability": False,
    },
    "tune": {"learning_rates": [1e-3, 3e-3, 1e-2, 3e-2]},
}
_SMOKE: Mapping[str, Any] = {
    "adapt": {"steps": 4, "batch_size": 8, "validation_pairs": 16},
    "draw": {"steps": 2, "per_class": 3},
    "compare": {"steps": 2, "batch_size": 8, "num_seeds": 3, "arms": ["real", "real-long", "bridged++"]},
    "tune": {"learning_rates": [1e-3]},
}


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Run every unfinished case, then write rows, a table and claims."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    cases = {
        f"{shots} per class": _settings(shots, runs, smoke=smoke) for shots in ((2,) if smoke else SHOTS)
    }
    if not smoke:
        take_first(_TARGET, runs / "cifar10", train=5_000, test=2_000)
    results = {name: run(settings, runs / name.replace(" ", "-")) for name, settings in cases.items()}
    rows = [
        {
            "case": name,
            **{key: result[key] for key in ("data", "adaptation", "arms", "verdict", "tuning", "cost")},
        }
        for name, result in results.items()
    ]
    command = ["python", "-m", "benchmarks.natural_images"]
    settings: dict[str, Any] = {
        name: {
            "command": command,
            "settings": RunFolder.find(runs / name.replace(" ", "-")).settings.model_dump(
                mode="json", exclude_defaults=True
            ),
        }
        for name in cases
    }
    for entry in settings.values():  # local folders mean nothing on another machine
        for section, key, name in (
            ("data", "source", "cifar10"),
            ("generator", "name", "pipeline"),
            ("compare", "backbone", "resnet"),
        ):
            entry["settings"].setdefault(section, {})[key] = name
    for row in rows:
        row["data"] = {**row["data"], "source": "cifar10"}
    claims = [] if smoke else [claim for row in rows for claim in _claims(row)]
    write(
        out,
        settings=settings,
        rows=rows,
        claims=claims,
        tables=[] if smoke else [_table(row) for row in rows],
    )


def _settings(shots: int, runs: Path, *, smoke: bool) -> Settings:
    source = runs / "source"
    where: Mapping[str, Any] = {
        "data": {"source": str(runs / "cifar10"), "shots": shots, "subset": 0, "near_duplicate_distance": -1},
        "generator": {"name": str(source / "pipeline")},
        "compare": {"backbone": str(source / "resnet")},
    }
    bundled = {"data": {"source": "digits", "shots": shots, "subset": 0}}
    return build(
        PRESETS["quick"],
        RECIPES["bridged-transfer"],
        _COMMON,
        bundled if smoke else where,
        _SMOKE if smoke else {},
    )


def _claims(row: Mapping[str, Any]) -> list[Claim]:
    seeds = len(row["arms"]["real"]["accuracy"]["seeds"])
    why = f"bootstrap interval over {seeds} trainings and {row['data']['test']} test images, one subset"
    return [
        Claim.of(
            f"CIFAR-10, {row['case']}: {arm} minus tuned real, accuracy",
            row["arms"][arm]["minus_real"],
            target="reported",
            why=why,
        )
        for arm in ("synthetic", "mixed", "mixed-balanced", "bridged", "bridged++")
    ]


def _table(row: Mapping[str, Any]) -> dict[str, Any]:
    def text(interval: Mapping[str, float]) -> str:
        return f"{100 * interval['mean']:.1f} [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"

    return {
        "title": f"CIFAR-10, {row['case']}, {row['data']['test']} real test images: accuracy in percent and "
        "differences in points.",
        "columns": ["arm", "accuracy", "minus tuned real", "minus real-long", "steps"],
        "rows": [
            [
                f"`{name}`",
                text(arm["accuracy"]),
                "" if name == "real" else text(arm["minus_real"]),
                text(arm["minus_real_long"]) if "minus_real_long" in arm else "",
                str(arm["steps"]),
            ]
            for name, arm in row["arms"].items()
        ],
    }


if __name__ == "__main__":
    command_line("natural_images", main, doc=__doc__ or "")
