"""The main job on ``digits``: what synthetic data is worth with 600, 100, 50 and 20 real images, and on two
image folders from elsewhere.

``python -m benchmarks.main_job`` takes about half an hour on two CPU cores; finished runs are kept and
reused. Every run is a call of the command line in a new process, so time and memory are what a user sees.
Repetitions differ in the run seed: another choice of the few real images, another adaptation, other synthetic
images, other classifiers.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.claims import Claim, cell, command_line, repeated, write
from benchmarks.folders import cifar10_folder, odd_folder

_SMOKE = (
    *("draw.times=0.01", "draw.min_per_class=3", "draw.steps=2", "curate.max_refills=0"),
    *("compare.steps=10", "compare.curve_points=0"),
)
_SMOKE_ADAPT = ("adapt.steps=10", "adapt.validation_pairs=16")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command, and the seeds that it is repeated with."""

    name: str
    options: tuple[str, ...]
    seeds: tuple[int, ...]
    data: str = "digits"


_FEW = ("--preset", "quick", "--arms", "real,synthetic,mixed")
_ONE_FOR_ONE = (*_FEW, "--set", "draw.min_per_class=1")
CASES = (
    Case(name="demo", options=("--shots", "5", "--preset", "quick"), seeds=(0,)),
    Case(name="all-600", options=_ONE_FOR_ONE, seeds=(0, 1, 2)),
    Case(name="all-600-vanilla", options=(*_ONE_FOR_ONE, "--recipe", "vanilla"), seeds=(0,)),
    Case(name="10-per-class", options=(*_FEW, "--shots", "10"), seeds=(0, 1, 2)),
    Case(name="2-per-class", options=(*_FEW, "--shots", "2"), seeds=(0, 1, 2)),
    Case(name="odd-files", options=("--preset", "quick"), seeds=(0,), data="odd"),
    Case(
        name="cifar10-500",
        options=(
            *("--preset", "quick", "--set", "compare.augmentation=flip-crop"),
            *("--set", "compare.backbone=mini"),
            *("--set", "curate.stop_at_chance=false"),  # `mini` does not know photographs
        ),
        seeds=(0,),
        data="cifar10",
    ),
)
_SMOKE_CASES = ("demo", "all-600-vanilla", "odd-files", "cifar10-500")
_SHOWN_ARMS = ("synthetic", "mixed")
_SHOWN_CASES = {
    "2-per-class": "20",
    "demo": "50, the demo",
    "10-per-class": "100",
    "all-600": "600",
    "all-600-vanilla": "600, generator not adapted",
}
# CIFAR-10 is not part of the project; without the file, its case is left out.
_CIFAR10 = Path(os.environ.get("CIFAR10_PARQUET", "cifar10/train.parquet"))


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Run every unfinished case, then write rows and claims."""
    cases = [case for case in CASES if case.data != "cifar10" or _CIFAR10.exists()]
    cases = [case for case in cases if not smoke or case.name in _SMOKE_CASES]
    speed = _draw_speed(runs, images=20 if smoke else 1000)
    rows = [
        _row(case, seed, runs, smoke=smoke)
        for case in cases
        for seed in (case.seeds[:1] if smoke else case.seeds)
    ]
    settings = {
        case.name: {"command": ["understudy", "run", case.data, *case.options], "seeds": case.seeds}
        for case in cases
    }
    write(
        out,
        settings=settings,
        rows=[*rows, {"case": "draw-1000", **speed}],
        claims=[] if smoke else _claims(rows, speed),
        tables=_tables(rows),
    )


def _row(case: Case, seed: int, runs: Path, *, smoke: bool) -> dict[str, Any]:
    folder = runs / f"{case.name}-seed{seed}"
    record = folder / "wall.json"
    if not record.exists():
        resumed = folder.exists()
        data, few = _data(case, runs), _smoke(case) if smoke else ()
        start = time.monotonic()
        _understudy("run", data, *case.options, "--seed", str(seed), "--out", str(folder), *few)
        record.write_text(
            json.dumps({"wall_seconds": None if resumed else round(time.monotonic() - start, 1)})
        )
    results = json.loads((folder / "results.json").read_text())
    return {
        "case": case.name,
        "seed": seed,
        "train": results["data"]["train"],
        "arms": {
            name: {key: arm[key] for key in ("accuracy", "minus_real", "val_accuracy") if key in arm}
            for name, arm in results["arms"].items()
        },
        "verdict": results["verdict"],
        "curation": results["curation"],
        "cost": results["cost"],
        "commit": results["environment"]["commit"],
        **json.loads(record.read_text()),
    }


def _understudy(*words: str) -> None:
    """Run a command of the command line in a new process."""
    subprocess.run([sys.executable, "-m", "understudy.cli", *words], check=True)


def _smoke(case: Case) -> list[str]:
    """Options that reduce every stage of the case to a few steps."""
    few = [*_SMOKE, *(() if "vanilla" in case.options else _SMOKE_ADAPT)]
    return [word for text in few for word in ("--set", text)]


def _data(case: Case, runs: Path) -> str:
    """Name of the built-in data set, or path of a folder, which is created if missing."""
    folder = runs / f"data-{case.data}"
    if case.data == "digits":
        return case.data
    if not folder.exists():
        cifar10_folder(_CIFAR10, folder) if case.data == "cifar10" else odd_folder(folder)
    return str(folder)


def _draw_speed(runs: Path, *, images: int) -> dict[str, Any]:
    """Seconds to draw with 20 steps and guidance 2. Encoding and writing of images count, loading the model
    does not.
    """
    record = runs / "draw-speed.json"
    if not record.exists():
        folder = runs / "draw-speed"
        settings = (f"draw.per_class={images // 10}", "draw.steps=20", "draw.guidance_scale=2")
        options = [word for text in settings for word in ("--set", text)]
        _understudy("draw", "digits", "--recipe", "vanilla", "--out", str(folder), *options)
        drawn = json.loads((folder / "stages" / "draw.json").read_text())
        record.write_text(
            json.dumps(
                {"images": drawn["images"], "seconds": round(drawn["images"] / drawn["images_per_second"], 2)}
            )
        )
    return dict(json.loads(record.read_text()))


def _tables(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What synthetic images are worth by the number of real ones, and every run."""
    return [
        {
            "title": "Accuracy of `real` in percent on 997 real test images of `digits`, and what other arms "
            "gain over it in points: mean over runs. Each run has its own real images, generator and "
            "classifiers. Brackets are 95% intervals: over the runs (Student's), or, for a single run, over "
            "test images and trainings.",
            "columns": [
                "real train images",
                "runs",
                "`real`",
                *(f"`{arm}` minus `real`" for arm in _SHOWN_ARMS),
            ],
            "rows": [
                [words, str(len(of_case)), _real(of_case), *(_gain(of_case, arm) for arm in _SHOWN_ARMS)]
                for name, words in _SHOWN_CASES.items()
                if (of_case := [row for row in rows if row["case"] == name])
            ],
        },
        {
            "title": "Each run: accuracy in percent and difference to `real` in points, 95% intervals.",
            "columns": ["case", "run seed", "real images", "arm", "accuracy", "minus `real`"],
            "rows": [
                [
                    row["case"],
                    str(row["seed"]),
                    str(row["train"]),
                    f"`{name}`",
                    *(_in_points(arm[key]) for key in ("accuracy", "minus_real")),
                ]
                for row in rows
                for name, arm in row["arms"].items()
            ],
        },
    ]


def _real(rows: Sequence[dict[str, Any]]) -> str:
    return f"{100 * sum(_accuracy(row, 'real') for row in rows) / len(rows):.1f}"


def _gain(rows: Sequence[dict[str, Any]], arm: str) -> str:
    if len(rows) == 1:
        return _in_points(rows[0]["arms"][arm]["minus_real"])
    return cell([100 * (_accuracy(row, arm) - _accuracy(row, "real")) for row in rows])


def _in_points(interval: dict[str, float]) -> str:
    return "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * interval[end] for end in ("mean", "low", "high")))


def _claims(rows: Sequence[dict[str, Any]], speed: dict[str, Any]) -> list[Claim]:
    by_case = {case.name: [row for row in rows if row["case"] == case.name] for case in CASES}
    ratios = [_accuracy(row, "synthetic") / _accuracy(row, "real") for row in by_case["all-600"]]
    floor = by_case["all-600-vanilla"][0]
    gained = [ratio - _accuracy(floor, "synthetic") / _accuracy(floor, "real") for ratio in ratios]
    claims = [
        *_demo_claims(by_case["demo"]),
        repeated(
            "600 real images: accuracy of synthetic-only (1x) over accuracy of real",
            ratios,
            least=0.97,
            target="at least 0.97",
        ),
        repeated(
            "600 real images: that ratio minus the ratio without adaptation (the floor)",
            gained,
            least=0.0,
            target="above 0",
        ),
        _largest(
            f"seconds to draw {speed['images']} images, 20 steps, guidance on",
            speed["seconds"],
            30,
            "at most 30",
        ),
    ]
    for name in ("10-per-class", "2-per-class"):
        for arm in ("synthetic", "mixed"):
            differences = [_accuracy(row, arm) - _accuracy(row, "real") for row in by_case[name]]
            claim = f"{name}: accuracy of {arm} minus accuracy of real"
            claims.append(repeated(claim, differences, least=0.0, target="at least 0"))
    for row in by_case["cifar10-500"]:
        claim = (
            "500 photographs of CIFAR-10 with mini, which knows none: best arm that uses synthetic "
            "data minus real, accuracy"
        )
        target, met = "finishes, and claims no gain: mini cannot help here", not row["verdict"]["helps"]
        claims.append(_best(row, claim, target=target, met=met, why=row["verdict"]["sentence"]))
    return claims


def _demo_claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    claim = "demo (5 real images per class, seed 0): best arm that uses synthetic data minus real, accuracy"
    above = _chosen(rows[0])["minus_real"]["low"] > 0
    why = "paired bootstrap over test images and trainings"
    minutes = max(row["wall_seconds"] or math.nan for row in rows) / 60
    gigabytes = max(row["cost"]["peak_memory_gb"] for row in rows)
    return [
        _best(rows[0], claim, target="interval above 0", met=above, why=why),
        _largest("demo: wall time in minutes, all stages", minutes, 5, "at most 5"),
        _largest("demo: peak memory in GB", gigabytes, 3, "under 3"),
    ]


def _best(row: dict[str, Any], claim: str, *, target: str, met: bool, why: str) -> Claim:
    """A claim about the accuracy of the best arm with synthetic images minus that of the real one."""
    return Claim.of(claim, _chosen(row)["minus_real"], target=target, met=met, why=why)


def _chosen(row: dict[str, Any]) -> dict[str, Any]:
    """The figures that the verdict is about."""
    verdict = row["verdict"]
    return dict(verdict.get("judged") or row["arms"][verdict["best"]])


def _accuracy(row: dict[str, Any], arm: str) -> float:
    return float(row["arms"][arm]["accuracy"]["mean"])


def _largest(claim: str, value: float, most: float, target: str) -> Claim:
    why = "the slowest or largest of the runs"
    return Claim.single(claim, value, target=target, met=value <= most, why=why)


if __name__ == "__main__":
    command_line("main_job", main, doc=__doc__ or "")
