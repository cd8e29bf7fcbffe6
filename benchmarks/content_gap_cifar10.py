"""The gap on photographs: 5,000 images of CIFAR-10 and a class-conditional diffusion model trained on them
alone.

``CIFAR10_FOLDER=FOLDER python -m benchmarks.content_gap_cifar10`` needs CIFAR-10 as Parquet and uses its
first 6,000 train images (a sixth of them for validation) and its first 2,000 test images. It trains one
generator, for about forty minutes on one CPU core. Repetitions are classifiers trained from scratch. With
``--smoke`` it runs on ``digits``. Patches of 4 pixels were chosen on validation images: after equally long
trainings (five CPU minutes) their loss was 0.417, that with patches of 2 about 0.455.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import Claim, cell, command_line, repeated, write
from benchmarks.content_gap import as_result, gap_table, points, term_claims, trained
from benchmarks.folders import take_first
from understudy.core.progress import Silent
from understudy.evaluation.gap import summarise_gap
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.gap import redrawn_sets
from understudy.pipeline.run import run
from understudy.pipeline.strategies import as_many_as_real
from understudy.settings import Settings, build
from understudy.training.records import ArmResult

REPEATS = (0, 1, 2, 3, 4)
_STEPS, _BATCH_SIZE = 4000, 64  # training of the generator
_TARGET = Path(os.environ.get("CIFAR10_FOLDER", "cifar10"))
_PUBLISHED = (
    ("Slim 2020: BigGAN, ResNet-20, 50,000 images", 94.3, 79.8),
    ("minimal-diffusion: DDPM, ResNet-50, 50,000 images", 93.8, 87.3),
    ("Ravuri and Vinyals 2019: BigGAN, ResNet-56, 45,000 images", 92.6, 71.9),
)
"""Accuracy in % on real and on synthetic images, as published; classifiers, generators and numbers of images
differ from ours.
"""


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Run every unfinished part, then write rows, tables and claims."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    if not smoke:
        take_first(_TARGET, runs / "cifar10", train=6_000, test=2_000)
    settings = _settings(runs, smoke=smoke)
    run(settings, runs / "run", until="curate")
    case_run = Run(RunFolder.find(runs / "run"), "cpu", Silent())
    repeats = REPEATS[:2] if smoke else REPEATS
    redrawn = redrawn_sets(case_run.sets, as_many_as_real(settings))
    rows = [_row(case_run, repeat, redrawn) for repeat in repeats]
    gap = summarise_gap(
        {"real": _result(case_run, "real", rows), "plain": _result(case_run, "synthetic", rows)},
        {strength: _result(case_run, f"redrawn-{strength:g}", rows) for strength in redrawn},
        class_names=case_run.test.class_names,
    )
    stored = settings.model_dump(mode="json", exclude_defaults=True)
    # A local folder means nothing on another machine.
    stored["data"]["source"] = "digits" if smoke else "cifar10"
    cases = {
        "CIFAR-10, 5,000 images": {
            "command": ["python", "-m", "benchmarks.content_gap_cifar10"],
            "settings": stored,
        }
    }
    tables = [] if smoke else [gap_table("CIFAR-10, 5,000 real images", gap), _arms_table(rows)]
    write(
        out,
        settings=cases,
        rows=[*rows, {"case": "gap", **gap}],
        claims=[] if smoke else _claims(rows, gap),
        tables=tables,
    )


def _settings(runs: Path, *, smoke: bool) -> Settings:
    common: dict[str, Any] = {
        "data": {"source": str(runs / "cifar10"), "val_fraction": 1 / 6},
        "generator": {"name": "class_conditional", "patch": 4},
        "adapt": {
            "steps": _STEPS,
            "until": "steps",
            "batch_size": _BATCH_SIZE,
            "augmentation": "flip",
            "validate_every": 500,
        },
        "draw": {"times": 1, "min_per_class": 1, "steps": 20},
        "curate": {"score": "none"},
        "compare": {"pretrained": False, "augmentation": "flip-crop", "steps": 300},
        "gap": {"measure": True, "strengths": [0.1, 0.5]},
    }
    small = {
        "data": {"source": "digits", "shots": 2},
        "generator": {"channels": [48, 48]},
        "adapt": {"steps": 4, "batch_size": 8, "validation_pairs": 16},
        "compare": {"steps": 2, "batch_size": 8, "augmentation": "affine"},
    }
    return build(common, small if smoke else {})


def _row(case_run: Run, repeat: int, redrawn: Mapping[float, Any]) -> dict[str, Any]:
    arms = {
        name: trained(
            case_run, f"{name}-{repeat}", name, lambda name=name: case_run.sets.of_arm(name), repeat
        )
        for name in ("real", "synthetic", "mixed", "mixed-balanced")
    }
    arms |= {
        f"redrawn-{strength:g}": trained(
            case_run, f"redrawn-{strength:g}-{repeat}", "synthetic", lambda curated=curated: curated, repeat
        )
        for strength, curated in redrawn.items()
    }
    return {"case": "CIFAR-10", "repeat": repeat, "arms": arms}


def _result(case_run: Run, name: str, rows: list[dict[str, Any]]) -> ArmResult:
    repeats = [row["repeat"] for row in rows]
    files = [case_run.path / "measured" / f"{name}-{repeat}.npy" for repeat in repeats]
    return as_result(name, files, [row["arms"][name] for row in rows], repeats=repeats, case_run=case_run)


def _arms_table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    body = [[arm, cell(points(rows, arm)), "this benchmark"] for arm in rows[0]["arms"]]
    for name, *figures in _PUBLISHED:
        body += [
            [f"{arm}, published", f"{figure:.1f}", name]
            for arm, figure in zip(("real", "synthetic"), figures, strict=True)
        ]
    return {
        "title": "CIFAR-10, classifier accuracy score",
        "columns": ["trained on", "accuracy, %", "source"],
        "rows": body,
    }


def _claims(rows: list[dict[str, Any]], gap: Mapping[str, Any]) -> list[Claim]:
    ratios = [
        100 * synthetic / real
        for real, synthetic in zip(points(rows, "real"), points(rows, "synthetic"), strict=True)
    ]
    found = [
        repeated(
            "CIFAR-10: classifier accuracy score in % of the accuracy on real images",
            ratios,
            target="at least 75",
            least=75.0,
        )
    ]
    found += [
        repeated(
            f"CIFAR-10: classifier accuracy score in % of the accuracy on real images; {name}: "
            f"{100 * synthetic / real:.0f}",
            ratios,
            target=f"the published {100 * synthetic / real:.0f}",
            least=100 * synthetic / real,
            why_not=f"a tenth of the images; the generator had {_STEPS:,} steps of {_BATCH_SIZE} images, not "
            "some hundred thousand",
        )
        for name, real, synthetic in _PUBLISHED
    ]
    return found + term_claims("CIFAR-10", gap, ("total", "appearance", "content"), over="classifiers")


if __name__ == "__main__":
    command_line("content_gap_cifar10", main, doc=__doc__ or "")
