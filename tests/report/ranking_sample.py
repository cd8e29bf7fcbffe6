"""A made-up bake-off, with the images that its page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from study_sample import environment
from tiny import two_classes

from understudy.evaluation.ranking import (
    FLOOR,
    OnValidation,
    accuracy_over_runs,
    against,
    rank,
    ranking_sentence,
)
from understudy.report.ranking_page import write_ranking_page
from understudy.settings import build, to_yaml

NAMES = ("mini:adapted", "mini:vanilla", "gan/images")
_SHARES = (0.93, 0.85, 0.72, 0.9, 0.8)


def make_bakeoff(
    names: tuple[str, ...] = NAMES, *, num_runs: int = 1, failed: tuple[tuple[str, str], ...] = ()
) -> dict[str, Any]:
    """Content of ``study.json``."""
    labels = np.tile(np.arange(4), 40)
    runs = {
        name: [_on_validation(share, labels, [number, repeat]) for repeat in range(num_runs)]
        for number, (name, share) in enumerate(
            zip([*names, FLOOR], [*_SHARES[: len(names)], 0.84], strict=True)
        )
    }
    ranking = rank(runs, measure="accuracy", seed=0)
    return {
        "schema": 1,
        "kind": "bakeoff",
        "summary": "generators",
        "sets": ["generator.name", "generator.images"],
        "unit": "generator",
        "axis": "names",
        "source": "digits",
        "repeats_differ_in": "seed",
        "measure": "accuracy",
        "sentence": ranking_sentence(ranking, measure="accuracy", num_val=len(labels)),
        "ranking": {
            "arm": "mixed",
            "images": len(labels),
            "trainings": 3,
            "interval": ranking["interval"],
            "floor": ranking["accuracy"][FLOOR],
            "differences": ranking["differences"],
        },
        "points": [
            {
                "point": name,
                "place": ranking["places"][name],
                **_point(name, runs[name]),
                "minus_real": against(ranking, name, FLOOR),
            }
            for name in ranking["order"]
        ],
        "failed": [{"point": name, "label": name, "reason": reason} for name, reason in failed],
        "runs": [
            _row(name, repeat, number) for number, name in enumerate(names) for repeat in range(num_runs)
        ],
        "settings": build({"data": {"source": "digits"}}).model_dump(mode="json"),
        "environment": environment(
            "understudy bakeoff digits --preset quick --generators mini,gan --per-class=9 --out a"
        ),
    }


def write(study: dict[str, Any], folder: Path) -> str:
    """The page's text, in a folder with the images that it needs."""
    for number, row in enumerate(study["runs"]):
        place = folder / row["folder"]
        (place / "data").mkdir(parents=True)
        (place / "synthetic").mkdir()
        two_classes(4).save(place / "data" / "train.parquet")
        two_classes(4, split="synthetic", seed=number).save(place / "synthetic" / "curated.parquet")
    page = folder / "study.html"
    write_ranking_page(page, study=study, settings_yaml=to_yaml(build(study["settings"])))
    return page.read_text(encoding="utf-8")


def _on_validation(share: float, labels: np.ndarray, seed: list[int]) -> OnValidation:
    is_right = np.random.default_rng(seed).random((3, len(labels))) < share
    return OnValidation(np.where(is_right, labels, (labels + 1) % 4), labels)


def _point(name: str, runs: list[OnValidation]) -> dict[str, Any]:
    is_images = "/" in name
    return {
        "label": name,
        "runs": len(runs),
        "generator": {
            "name": "folder" if is_images else "mini",
            "images": [name] if is_images else [],
            "adapt": "lora" if name.endswith("adapted") else "none",
        },
        "arms": {
            "mixed": accuracy_over_runs(runs, "accuracy"),
            "synthetic": accuracy_over_runs(runs, "accuracy"),
        },
        "mmd": 0.0123,
        "mmd_floor": 0.0031,
        "agreement": None if is_images else 0.875,
        "drawn": 210,
        "kept": 200,
        "seconds_per_image": 0.0171,
        "memory_gb": 1.24,
        "device_memory_gb": None,
        "whole_run_seconds": None if is_images else 431.5,
    }


def _row(name: str, repeat: int, number: int) -> dict[str, Any]:
    return {
        "point": name,
        "repeat": repeat,
        "folder": f"runs/point{number}-repeat{repeat}",
        "seed": repeat,
        "subset": None,
        "train_images": "0f0f0f0f",
        "train": 600,
        "val": 160,
        "test": 997,
        "synthetic": 200,
        "seconds": 31.5,
    }
