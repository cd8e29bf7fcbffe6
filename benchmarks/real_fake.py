"""Real-Fake on ``digits``: what each component and larger sets are worth, and whether images are copied.

``python -m benchmarks.real_fake`` takes about an hour and a half on two CPU cores, one run on each; finished
runs are kept and reused. Repetitions differ in the run seed: another adaptation, other synthetic images,
other classifiers and, with few images per class, another choice of real images. Nothing is filtered
(``curate.score=none``), as in the paper.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.claims import Claim, cell, command_line, repeated, write
from benchmarks.feature_distance import squared_mmd
from understudy.core.files import write_json
from understudy.data.copies import CopyFinder, paired_distances
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.run import run
from understudy.recipes import PRESETS, RECIPES
from understudy.settings import build

SEEDS = (0, 1, 2, 3, 4)
_PROCESSES = 2
_COMMON: Mapping[str, Any] = {
    "draw": {"min_per_class": 1, "guidance_scale": 1.0},
    "curate": {"score": "none"},
    "compare": {"arms": ["real", "synthetic"], "steps": 150},
    "scale": {"real_shares": [0.25, 0.5]},
}
_SMOKE: Mapping[str, Any] = {
    "adapt": {"steps": 4, "batch_size": 8, "validation_pairs": 16},
    "draw": {"steps": 2},
    "compare": {"steps": 4},
    "data": {"shots": 4},
    "scale": {"real_shares": [0.5]},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A variant of the method, repeated with every seed.

    Attributes:
        name: name in rows and claims.
        settings: settings that differ from the plain fine-tuned generator.
        adapter_of: case whose adapter is reused; by default the case trains one.
        shots: real images per class; by default all 600 images are used.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    adapter_of: str | None = None
    shots: int | None = None


_ALL = RECIPES["real-fake-mini"]
_START: Mapping[str, Any] = {"draw": {"start_snr": _ALL["draw"]["start_snr"]}}
_VISUAL: Mapping[str, Any] = {"visual": _ALL["visual"]}
_TIMES = (1.0, 2.0, 5.0, 10.0)
_FEW_TIMES = (1.0, 2.5, 10.0)


_PAPER = {
    "vanilla": "79.8 / 66.0",
    "latent prior": "88.0 / 76.3",
    "fine-tuning": "80.8 / 73.3",
    "fine-tuning + batch-mean": "81.2 / 73.8",
    "fine-tuning + visual guidance": "82.3 / 74.0",
    "fine-tuning + latent prior": "88.7 / 78.3",
    "fine-tuning + visual guidance + batch-mean": "82.9 / 75.1",
    "fine-tuning + latent prior + visual guidance": "89.5 / 79.3",
    "fine-tuning + latent prior + batch-mean": "88.9 / 79.8",
    "all": "90.5 / 80.0",
    "real": "93.0 / 86.3",
}
"""Yuan et al. 2024, tables 1 and 2: ResNet-50 on ImageNette and ImageNet-100."""


_GROUPED = (
    "batches of four classes alone cost as much (grouped batches); the term adds nothing that can be told "
    "from 0"
)
_WHY_NOT = {
    "fine-tuning + batch-mean": "about 1% of the loss at 32 images: no effect that can be told from 0",
    "fine-tuning + grouped batches": "fewer classes per batch make noisier steps",
    "fine-tuning + class-mean": _GROUPED,
    "fine-tuning + kernel": _GROUPED,
    "fine-tuning + visual guidance": "no effect on accuracy that can be told from 0, though the squared MMD "
    "falls",
    "few": "real is strong here (letters-pretrained, augmented), and a start near the few real images "
    "limits variety; starting from noise gains more with few images, see main_job",
    "mmd": "batch-mean is too small to matter; the others pay for batches of four classes; kernel matches "
    "images denoised in one step, which is not how images are drawn",
    "copying": "at a signal-to-noise ratio of 0.385 half of the source's amplitude survives: the price of "
    "the latent prior",
}


def _term(form: str) -> dict[str, Any]:
    return {"adapt": {"distribution": form}}


ABLATION = (
    Case(name="vanilla", settings={"adapt": {"method": "none"}}),
    Case(name="latent prior", settings={"adapt": {"method": "none"}, **_START}),
    Case(name="fine-tuning"),
    Case(name="fine-tuning + batch-mean", settings=_term("batch-mean")),
    Case(
        name="fine-tuning + grouped batches",
        settings={"adapt": {"distribution": "class-mean", "distribution_weight": 1e-9}},
    ),
    Case(name="fine-tuning + class-mean", settings=_term("class-mean")),
    Case(name="fine-tuning + kernel", settings=_term("kernel")),
    Case(name="fine-tuning + visual guidance", settings=_VISUAL),
    Case(name="fine-tuning + latent prior", settings=_START, adapter_of="fine-tuning"),
    Case(
        name="fine-tuning + visual guidance + batch-mean",
        settings={**_VISUAL, **_term("batch-mean")},
    ),
    Case(
        name="fine-tuning + latent prior + visual guidance",
        settings={**_START, **_VISUAL},
        adapter_of="fine-tuning + visual guidance",
    ),
    Case(
        name="fine-tuning + latent prior + batch-mean",
        settings=_START,
        adapter_of="fine-tuning + batch-mean",
    ),
)
"""The ten rows of the ablation of Yuan et al. 2024 but the last, which is ``all``, and forms of the term that
are ours.
"""


def _few(shots: int) -> Case:
    """A case with few real images per class, combined with ten times as many synthetic ones."""
    draw = {**_ALL.get("draw", {}), "times": 10.0}
    return Case(
        name=f"all, {shots} per class",
        shots=shots,
        settings={**_ALL, "draw": draw, "compare": {"arms": ["real", "mixed"]}},
    )


_ARMS = ("real", "synthetic", "mixed")
CASES = (
    *ABLATION,
    Case(name="all", settings={**_ALL, "scale": {"times": _TIMES}, "compare": {"arms": _ARMS}}),
    Case(
        name="all, 10 per class",
        shots=10,
        settings={**_ALL, "scale": {"times": _FEW_TIMES}, "compare": {"arms": _ARMS}},
    ),
    _few(2),
)
_SMOKE_CASES = ("vanilla", "fine-tuning", "fine-tuning + kernel", "fine-tuning + latent prior", "all")


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Do every unfinished run, then write rows, tables and claims."""
    seeds = SEEDS[:1] if smoke else SEEDS
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        done = pool.starmap(_rows, [(seed, runs, smoke) for seed in seeds], chunksize=1)
    rows = [row for rows in done for row in rows]
    settings = {
        case.name: {"command": ["python", "-m", "benchmarks.real_fake"], "seeds": list(seeds), **_plain(case)}
        for case in CASES
    }
    claims, tables = ([], []) if smoke else (_claims(rows), _tables(rows))
    write(out, settings=settings, rows=rows, claims=claims, tables=tables)


def _plain(case: Case) -> dict[str, Any]:
    return {
        "settings": json.loads(json.dumps(case.settings)),
        "adapter_of": case.adapter_of,
        "shots": case.shots,
    }


def _rows(seed: int, runs: Path, smoke: bool) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    return [_row(case, seed, runs, smoke=smoke) for case in CASES if not smoke or case.name in _SMOKE_CASES]


def _folder(runs: Path, name: str, seed: int) -> Path:
    return runs / f"{name.replace(' + ', '+').replace(', ', '-').replace(' ', '-')}-seed{seed}"


def _row(case: Case, seed: int, runs: Path, *, smoke: bool) -> dict[str, Any]:
    folder = _folder(runs, case.name, seed)
    record = folder.with_suffix(".json")
    if not record.exists():
        chosen: dict[str, Any] = {"seed": seed, "data": {"source": "digits", "shots": case.shots}}
        if case.adapter_of is not None:
            chosen["adapt"] = {"adapter": str(_folder(runs, case.adapter_of, seed) / "adapter")}
        settings = build(PRESETS["quick"], _COMMON, case.settings, chosen, _SMOKE if smoke else {})
        run(settings, folder, until="curate")
        _share_real_arm(folder, _folder(runs, CASES[0].name, seed), same_data=case.shots is None)
        results = run(settings, folder)
        write_json(record, _measured(case, seed, folder, results))
    return dict(json.loads(record.read_text()))


def _share_real_arm(folder: Path, first: Path, *, same_data: bool) -> None:
    """Reuse the arm ``real``: its training is the same in all cases with the same images and seed."""
    if same_data and folder != first:
        for path in first.glob("arms/real-seed*.npz"):
            (folder / "arms").mkdir(exist_ok=True)
            shutil.copy(path, folder / "arms" / path.name)


def _measured(case: Case, seed: int, folder: Path, results: dict[str, Any]) -> dict[str, Any]:
    sets = {name: LabelledSet.load(folder / "data" / f"{name}.parquet") for name in ("train", "val", "test")}
    curated = LabelledSet.load(folder / "synthetic" / "curated.parquet")
    return {
        "case": case.name,
        "seed": seed,
        "train": results["data"]["train"],
        "synthetic": len(curated),
        "arms": {
            name: {key: arm[key] for key in ("accuracy", "minus_real")}
            for name, arm in results["arms"].items()
        },
        "mmd2": squared_mmd(curated, sets["test"]),
        "copying": _copying(curated, sets["train"], sets["val"]),
        "adaptation": {
            key: results["adaptation"][key]
            for key in ("best_step", "val_loss_before", "val_loss_after")
            if key in results["adaptation"]
        },
        **({"scale": results["scale"]} if "scale" in results else {}),
        "seconds": results["cost"]["seconds"],
    }


def _copying(curated: LabelledSet, train: LabelledSet, val: LabelledSet) -> dict[str, Any]:
    """Distance of synthetic images to their source and to the nearest train image; and of held-out real
    images to the nearest train image.
    """
    sources, position = curated.provenance("source_id"), {name: index for index, name in enumerate(train.ids)}
    distances = {
        "synthetic to nearest train": np.array(curated.provenance("nearest_distance")),
        "held-out real to nearest train": CopyFinder(train, val).held_out_distances,
    }
    if all(sources):
        nearest = np.array(curated.provenance("nearest_id"))
        distances["share whose nearest is the own source"] = (nearest == np.array(sources)).astype(float)
        pairs = train.select([position[name] for name in sources])
        distances["synthetic to own source"] = paired_distances(curated, pairs)
    return {
        name: {"mean": float(values.mean()), "p05": float(np.percentile(values, 5))}
        for name, values in distances.items()
    }


def _by_case(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows grouped by case and sorted by seed, so that cases can be compared pairwise."""
    return {
        case.name: sorted((row for row in rows if row["case"] == case.name), key=lambda row: row["seed"])
        for case in CASES
    }


def _accuracies(rows: Sequence[dict[str, Any]], arm: str = "synthetic") -> np.ndarray:
    return np.array([row["arms"][arm]["accuracy"]["mean"] for row in rows])


def _claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    cases = _by_case(rows)
    accuracy = {case.name: _accuracies(cases[case.name]) for case in (*ABLATION, CASES[len(ABLATION)])}
    real = _accuracies(cases["vanilla"], "real")
    claims = [
        repeated(
            f"600 real images, 1x: {name} minus {base}, accuracy",
            accuracy[name] - accuracy[base],
            least=0,
            target="at least 0",
            why_not=_WHY_NOT.get(name, ""),
        )
        for name, base in (
            ("fine-tuning", "vanilla"),
            ("latent prior", "vanilla"),
            *((case.name, "fine-tuning") for case in ABLATION[3:]),
            ("all", "fine-tuning"),
        )
    ]
    gap = (accuracy["all"] - accuracy["vanilla"]) / (real - accuracy["vanilla"])
    curve = np.array(
        [[point["mean"] for point in row["scale"]["arms"]["synthetic"]["curve"]] for row in cases["all"]]
    )
    few = cases["all, 10 per class"]
    claims += [
        repeated(
            "600 real images, 1x: share of the gap from vanilla to real that all closes",
            gap,
            least=0.9,
            target="at least 0.9",
        ),
        repeated(
            "600 real images, all: accuracy at 10x over accuracy of real",
            curve[:, -1] / real,
            least=0.99,
            target="at least 0.99",
        ),
        *(
            repeated(
                f"10 real images per class, all: synthetic only at {times:g}x minus real, accuracy",
                [row["scale"]["arms"]["synthetic"]["minus_real"][number]["mean"] for row in few],
                low_above=0.0 if times == 2.5 else -1.0,
                target="interval above 0: overtakes real" if times == 2.5 else "reported",
                why_not=_WHY_NOT["few"],
            )
            for number, times in enumerate(_FEW_TIMES)
        ),
    ]
    for name, target, above in (
        ("all", "interval above -0.005: not worse", -0.005),
        ("all, 10 per class", "interval above 0", 0.0),
        ("all, 2 per class", "interval above 0", 0.0),
    ):
        differences = _accuracies(cases[name], "mixed") - _accuracies(cases[name], "real")
        claim = f"{name}: real + synthetic minus real, accuracy"
        claims.append(repeated(claim, differences, low_above=above, target=target, why_not=_WHY_NOT["few"]))
    return [*claims, *_mmd_claims(cases), *_copying_claims(cases)]


def _mmd_claims(cases: Mapping[str, list[dict[str, Any]]]) -> list[Claim]:
    """Does the MMD term lower the MMD? Negative differences say that it does."""
    claims = []
    for encoder in cases["vanilla"][0]["mmd2"]:
        value = {name: np.array([row["mmd2"][encoder] for row in repeats]) for name, repeats in cases.items()}
        for case in ABLATION[3:7]:
            lower = value["fine-tuning"] - value[case.name]
            claim = f"squared MMD to held-out real images, {encoder}: fine-tuning minus {case.name}"
            why_not = _WHY_NOT["mmd"]
            claims.append(
                repeated(
                    claim,
                    lower,
                    low_above=0.0,
                    target="interval above 0: the term lowers it",
                    why_not=why_not,
                )
            )
    return claims


def _copying_claims(cases: Mapping[str, list[dict[str, Any]]]) -> list[Claim]:
    def ratio(row: dict[str, Any], key: str, statistic: str) -> float:
        return float(
            row["copying"][key][statistic] / row["copying"]["held-out real to nearest train"][statistic]
        )

    return [
        repeated(
            f"{name}: {statistic} distance of {key}, over that of held-out real images to their nearest "
            "train image",
            [ratio(row, key, statistic) for row in cases[name]],
            least=1.0,
            target="at least 1: no closer than real images lie to each other",
            why_not=_WHY_NOT["copying"],
        )
        for name, key, statistic in (
            ("fine-tuning", "synthetic to nearest train", "mean"),
            ("all", "synthetic to nearest train", "mean"),
            ("all", "synthetic to nearest train", "p05"),
            ("fine-tuning + latent prior", "synthetic to own source", "mean"),
            ("all", "synthetic to own source", "mean"),
        )
    ]


def _tables(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    cases = _by_case(rows)
    encoders = list(cases["vanilla"][0]["mmd2"])
    ablation = [
        [
            name,
            cell(100 * _accuracies(cases[name])),
            cell(100 * (_accuracies(cases[name]) - _accuracies(cases["vanilla"]))),
            *(cell([row["mmd2"][encoder] for row in cases[name]], digits=4) for encoder in encoders),
            cell([row["copying"]["synthetic to nearest train"]["mean"] for row in cases[name]], digits=3),
            _PAPER.get(name, ""),
        ]
        for name in (*(case.name for case in ABLATION), "all")
    ]
    held_out = cell(
        [row["copying"]["held-out real to nearest train"]["mean"] for row in cases["vanilla"]], digits=3
    )
    ablation.append(
        [
            "real",
            cell(100 * _accuracies(cases["vanilla"], "real")),
            "",
            *("" for _ in encoders),
            held_out,
            _PAPER["real"],
        ]
    )
    return [
        {
            "title": "600 real images, as many synthetic ones, synthetic only: mean over "
            f"{len(cases['all'])} runs, 95% Student interval. Accuracy in percent on 997 real test images; "
            "squared MMD to them; distance to the nearest train image (`real`: of held-out images).",
            "columns": [
                *("generator", "accuracy", "minus vanilla"),
                *(f"MMD², {name}" for name in encoders),
                *("nearest train image", "paper, IN-10 / IN-100"),
            ],
            "rows": ablation,
        },
        *(_curve_table(cases[name], name) for name in ("all", "all, 10 per class")),
    ]


def _curve_table(rows: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    arms = [row["scale"]["arms"]["synthetic"] for row in rows]
    lines = []
    for number, point in enumerate(arms[0]["curve"]):
        worth = [arm["worth_real_images"][number]["mean"] for arm in arms]
        known = [value for value in worth if value is not None]
        beyond = (
            f"; beyond all real images in {len(worth) - len(known)} of {len(worth)} runs"
            if len(known) < len(worth)
            else ""
        )
        lines.append(
            [
                f"{point['times']:g}x",
                str(point["images"]),
                cell([100 * arm["curve"][number]["mean"] for arm in arms]),
                cell([100 * arm["minus_real"][number]["mean"] for arm in arms]),
                (f"{np.median(known):.0f} (median)" if known else "-") + beyond,
            ]
        )
    slope = cell([100 * arm["log_fit"]["per_doubling"]["mean"] for arm in arms], digits=2)
    return {
        "title": f"Larger sets, {name}: synthetic only. Each doubling is worth {slope} points.",
        "columns": ["size", "images", "accuracy", "minus real", "worth, in real images"],
        "rows": lines,
    }


if __name__ == "__main__":
    command_line("real_fake", main, doc=__doc__ or "")
