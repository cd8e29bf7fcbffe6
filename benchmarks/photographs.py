"""Photographs of users' kind: what are synthetic images worth over real ones, over real ones with strong
augmentation, and over a network that knows ImageNet?

``PHOTOGRAPHS=FOLDER python -m benchmarks.photographs`` needs the folders ``trashnet``, ``clothing`` and
``sign-digits`` with Parquet files for train, val and test in it, and ``pip install "understudy[photo]"``. A
set takes about two hours on two CPU cores; ``SETS=trashnet`` measures one, and rows of other sets
in the result file are kept. With ``--smoke`` it runs on ``digits`` with bundled networks.

Each set is tried with 5 and 20 images per class and with all, three runs each, with two backbones at 64
pixels: ``photo``, which knows ImageNet, and a ResNet from random weights. ``class_conditional`` learns from
the train images alone; ``mini``, which knows printed characters, is the floor, with 20 per class. Settings
were fixed before any run, and nothing is chosen on test images. Copies are removed first: the sets have some
within and across their splits, a few of them with two labels.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import Claim, cell, command_line, minus, repeated, write
from benchmarks.folders import without_copies
from understudy.core.files import write_json
from understudy.pipeline.run import run
from understudy.recipes import PRESETS
from understudy.settings import Settings, build

SETS = ("trashnet", "clothing", "sign-digits")
SHOTS: Mapping[str, int | None] = {"5 per class": 5, "20 per class": 20, "all": None}
REPEATS = (0, 1, 2)
STRONG = "real-strong"
SYNTHETIC = ("synthetic", "mixed", "bridged")
ARMS = ("real", STRONG, *SYNTHETIC)
RIVALS = ("real", STRONG)
BACKBONES: Mapping[str, Mapping[str, Any]] = {
    "ResNet from random weights": {"backbone": "resnet10t", "pretrained": False, "steps": 100},
    "photo": {"backbone": "photo", "steps": 60},
}
GENERATORS: Mapping[str, Mapping[str, Any]] = {
    "class_conditional": {
        "generator": {"name": "class_conditional", "resolution": 64, "patch": 4, "channels": [64, 128]},
        "adapt": {"steps": 500, "until": "steps", "augmentation": "flip-crop"},
    },
    "mini": {"adapt": {"augmentation": "flip-crop"}},
}
_FLOOR_SHOTS = "20 per class"
_DATA = Path(os.environ.get("PHOTOGRAPHS", "photographs"))
_PROCESSES = 2
_COMMON: Mapping[str, Any] = {
    "draw": {"per_class": 60, "steps": 15},
    "curate": {"score": "none", "stop_at_chance": False},
    "compare": {
        "arms": ARMS,
        "own_arms": {STRONG: [{"data": "real", "augmentation": "randaugment", "cutmix": 1.0}]},
        "augmentation": "flip-crop",
        "resolution": 64,
        "batch_size": 32,
        "curve_points": 0,
        "verdict": "balanced_accuracy",
    },
    "fidelity": {"encoder": "mini"},  # not reported: without a name, it would be measured with `photo`
    "compute": {"threads": 1, "workers": 1},
}
_SMOKE: Mapping[str, Any] = {
    "adapt": {"steps": 2, "batch_size": 8, "validation_pairs": 16},
    "draw": {"per_class": 2, "steps": 2},
    "compare": {"steps": 2, "batch_size": 8, "resolution": 32},
}


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Do every unfinished run, then write rows, tables and claims, those of other sets included."""
    sets = ("digits",) if smoke else tuple(os.environ.get("SETS", ",".join(SETS)).split(","))
    jobs = list(_jobs(sets))[: 1 if smoke else None]
    for name in () if smoke else sets:
        without_copies(_DATA / name, runs / "data" / name)
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        measured = [
            row for rows in pool.starmap(_rows, [(*job, runs, smoke) for job in jobs]) for row in rows
        ]
    earlier = json.loads(out.read_text(encoding="utf-8"))["rows"] if out.exists() and not smoke else []
    rows = [row for row in earlier if row["set"] not in sets] + measured
    settings = {
        f"{generator}, {backbone}": {
            "command": ["python", "-m", "benchmarks.photographs"],
            "settings": json.loads(json.dumps({**_COMMON, **chosen, "backbone": of_backbone})),
        }
        for generator, chosen in GENERATORS.items()
        for backbone, of_backbone in BACKBONES.items()
    }
    claims, tables = ([], []) if smoke else (_claims(rows), _tables(rows))
    write(out, settings=settings, rows=rows, claims=claims, tables=tables)


def _jobs(sets: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """Set, number of images and repetition of each job, the quick ones first."""
    for shots in SHOTS:
        for repeat in REPEATS:
            for name in sets:
                yield name, shots, repeat


def _rows(name: str, shots: str, repeat: int, runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """A row per generator and backbone."""
    torch.set_num_threads(1)
    generators = list(GENERATORS)[: None if shots == _FLOOR_SHOTS else 1]
    return [
        _row(name, shots, repeat, generator, backbone, runs, smoke=smoke)
        for generator in generators
        for backbone in BACKBONES
    ]


def _folder(runs: Path, *parts: object) -> Path:
    return runs / "-".join(str(part).replace(" ", "-") for part in parts)


def _row(
    name: str, shots: str, repeat: int, generator: str, backbone: str, runs: Path, *, smoke: bool
) -> dict[str, Any]:
    """Balanced accuracy of every arm; a finished run is read."""
    folder = _folder(runs, name, shots, repeat, generator, backbone)
    record = folder.with_suffix(".json")
    if not record.exists():
        first = _folder(runs, name, shots, repeat, generator, next(iter(BACKBONES)))
        # Both backbones get the images of one adapted generator.
        adapter = None if folder == first else first / "adapter"
        data: dict[str, Any] = {"source": "digits" if smoke else str(runs / "data" / name)}
        if SHOTS[shots] is not None:
            data |= {"shots": SHOTS[shots], "subset": repeat}
        chosen = settings_of(data, repeat, generator, backbone, adapter=adapter, smoke=smoke)
        results = run(chosen, folder)
        write_json(
            record,
            {
                "set": name,
                "shots": shots,
                "repeat": repeat,
                "generator": generator,
                "backbone": backbone,
                "train": results["data"]["train"],
                "test": results["data"]["test"],
                "accuracy": {
                    arm: found["balanced_accuracy"]["mean"] for arm, found in results["arms"].items()
                },
                "seconds": results["cost"]["seconds"],
            },
        )
    return dict(json.loads(record.read_text(encoding="utf-8")))


def settings_of(
    data: Mapping[str, Any],
    seed: int,
    generator: str,
    backbone: str,
    *,
    adapter: Path | None = None,
    smoke: bool,
) -> Settings:
    """Settings of a run.

    Args:
        data: section of the settings.
        seed: of the run.
        generator: key of :data:`GENERATORS`.
        backbone: key of :data:`BACKBONES`.
        adapter: of a run that has fitted the generator to the same images, whose images this one draws too.
        smoke: whether the smallest job is enough.
    """
    of_backbone = {"backbone": "mini"} if smoke and backbone == "photo" else BACKBONES[backbone]
    return build(
        PRESETS["quick"],
        _COMMON,
        GENERATORS[generator],
        {"seed": seed, "data": data, "compare": of_backbone},
        _SMOKE if smoke else {},
        {} if adapter is None else {"adapt": {"adapter": str(adapter)}},
    )


def _points(rows: Sequence[Mapping[str, Any]], arm: str) -> list[float]:
    return [100 * float(row["accuracy"][arm]) for row in rows]


def _cases(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str, str], list[Mapping[str, Any]]]:
    """Rows by set, number of images, generator and backbone, in the order of the runs."""
    cases: dict[tuple[str, str, str, str], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["repeat"]):
        cases.setdefault((row["set"], row["shots"], row["generator"], row["backbone"]), []).append(row)
    return cases


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Differences in points of balanced accuracy; none has a target."""
    return [
        repeated(
            f"{', '.join(case)}: {arm} minus {rival}",
            minus(_points(of_case, arm), _points(of_case, rival)),
            target="reported",
        )
        for case, of_case in _cases(rows).items()
        for arm in (STRONG, *SYNTHETIC)
        for rival in RIVALS
        if arm != rival
    ]


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    cases, first = _cases(rows), next(iter(BACKBONES))  # whose runs have adapted the generator
    return [
        {
            "title": f"{name}, {backbone}: balanced accuracy in percent, mean and 95% Student interval over "
            f"{len(REPEATS)} runs, on all test images of the set.",
            "columns": ["images", "generator", *(f"`{arm}`" for arm in ARMS), "minutes to adapt"],
            "rows": [
                [
                    shots,
                    f"`{generator}`",
                    *(cell(_points(of_case, arm)) for arm in ARMS),
                    _minutes_to_adapt(cases[name, shots, generator, first]),
                ]
                for (of_set, shots, generator, of_backbone), of_case in cases.items()
                if (of_set, of_backbone) == (name, backbone)
            ],
        }
        for name in dict.fromkeys(row["set"] for row in rows)
        for backbone in BACKBONES
    ]


def _minutes_to_adapt(rows: Sequence[Mapping[str, Any]]) -> str:
    return f"{sum(row['seconds']['adapt'] for row in rows) / len(rows) / 60:.0f}"


if __name__ == "__main__":
    command_line("photographs", main, doc=__doc__ or "")
