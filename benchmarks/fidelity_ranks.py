"""Do measures of fidelity rank synthetic sets in the same order as the accuracy of classifiers trained on
them? Part of ``proof``.

Twelve sets of 600 images are compared with the same 600 real digits. They come from the generator without
adaptation, after more and more steps of adaptation, from ways of drawing that are known to help or to harm,
and from the full Real-Fake recipe. Nothing is filtered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.claims import Claim, cell
from benchmarks.content_gap import trained
from understudy.core.files import write_json
from understudy.core.progress import Silent
from understudy.evaluation.encoders import load_encoder
from understudy.evaluation.feature_cache import FeatureCache
from understudy.evaluation.fidelity import KERNEL_MEASURES, MEASURES, EncodedImages, measure_fidelity
from understudy.functional.rank_correlation import rank_correlation_interval
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.recipes import PRESETS, RECIPES
from understudy.settings import Settings, build

REPEATS = (0, 1, 2)
ENCODERS = ("mini", "backbone")
_PRIOR: Mapping[str, Any] = {"draw": {"start_snr": RECIPES["real-fake-mini"]["draw"]["start_snr"]}}
_NONE: Mapping[str, Any] = {"adapt": {"method": "none"}}
SETS: Mapping[str, tuple[Mapping[str, Any], str | None]] = {
    "vanilla": (_NONE, None),
    "vanilla, latent prior": ({**_NONE, **_PRIOR}, None),
    "adapted, 30 steps": ({"adapt": {"steps": 30}}, None),
    "adapted, 100 steps": ({"adapt": {"steps": 100}}, None),
    "adapted": ({"adapt": {"steps": 300}}, None),
    "adapted, guidance 3": ({"draw": {"guidance_scale": 3.0}}, "adapted"),
    "adapted, guidance 7": ({"draw": {"guidance_scale": 7.0}}, "adapted"),
    "adapted, 3 solver steps": ({"draw": {"steps": 3}}, "adapted"),
    "adapted, noise 0.8": ({"draw": {"noise_scale": 0.8}}, "adapted"),
    "adapted, noise 1.2": ({"draw": {"noise_scale": 1.2}}, "adapted"),
    "adapted, latent prior": (_PRIOR, "adapted"),
    "real-fake": (
        {**RECIPES["real-fake-mini"], "adapt": {**RECIPES["real-fake-mini"]["adapt"], "steps": 300}},
        None,
    ),
}
"""By set: the settings that differ from the plain set, and the set whose adapter it reuses (None: it trains
one, or needs none).
"""
SMOKE = ("vanilla", "adapted", "adapted, guidance 3")


def settings_of(name: str, repeat: int, runs: Path, *, smoke: bool) -> Settings:
    """Settings of the run that draws a set."""
    chosen, adapter_of = SETS[name]
    common: dict[str, Any] = {
        "seed": repeat,
        "data": {"source": "digits"},
        "draw": {"per_class": 60, "steps": 15},
        "curate": {"score": "none"},
        "compare": {"arms": ["real", "synthetic"], "steps": 100, "batch_size": 32},
    }
    smallest = {
        "adapt": {"steps": 2, "batch_size": 8, "validation_pairs": 16},
        "draw": {"per_class": 2, "steps": 2},
        "compare": {"steps": 2},
    }
    small = {**smallest, "data": {"shots": 4}} if smoke else {}
    if SETS[name][0].get("adapt", {}).get("method") == "none":
        small.pop("adapt", None)
    # A reused adapter was trained by another run, so the settings of its training do not belong to this one.
    reused = (
        {} if adapter_of is None else {"adapt": {"adapter": folder_of(adapter_of, repeat, runs) / "adapter"}}
    )
    if reused:
        small.pop("adapt", None)
    return build(PRESETS["quick"], common, chosen, small, reused)


def folder_of(name: str, repeat: int, runs: Path) -> Path:
    """Folder of the run that draws a set."""
    return runs / f"set-{name.replace(', ', '-').replace(' ', '-')}-{repeat}"


def drawn(name: str, repeat: int, runs: Path, *, smoke: bool, until: str = "curate") -> Run:
    """Run the pipeline for a set up to the stage ``until``; finished stages are reused."""
    settings, folder = settings_of(name, repeat, runs, smoke=smoke), folder_of(name, repeat, runs)
    run(settings, folder, until=until)
    return Run(RunFolder.find(folder), "cpu", Silent())


def row(name: str, repeat: int, runs: Path, *, smoke: bool) -> dict[str, Any]:
    """Fidelity of a set, and accuracy on real test images of classifiers trained on this set alone; the row
    of the first set also holds the floor.
    """
    set_run = drawn(name, repeat, runs, smoke=smoke)
    measured = {kind: _fidelity(set_run, kind) for kind in (ENCODERS[:1] if smoke else ENCODERS)}
    trainings = [
        trained(set_run, f"synthetic-{seed}", "synthetic", lambda: set_run.sets.of_arm("synthetic"), seed)
        for seed in range(1 if smoke else 3)
    ]
    accuracy = float(np.mean([each["test"] for each in trainings]))
    found = {
        "part": "fidelity",
        "set": name,
        "repeat": repeat,
        "accuracy": accuracy,
        "value": _of("value", measured),
    }
    # The floor is the same for every set, so only the first one holds it.
    return found | ({"floor": _of("floor", measured)} if name == next(iter(SETS)) else {})


def _of(role: str, measured: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {kind: figures[role] for kind, figures in measured.items()}


def _fidelity(set_run: Run, kind: str) -> dict[str, Any]:
    """Value and floor of every measure, stored in the run folder."""
    path = set_run.path / "measured" / f"fidelity-{kind}.json"
    if not path.exists():
        encoder = load_encoder(kind, start=lambda: set_run.classifiers.start)
        cache = FeatureCache(set_run.path)
        sets = [
            EncodedImages(cache.features(encoder, data), data.labels)
            for data in (set_run.train, set_run.val, set_run.curated)
        ]
        neighbours = min(5, min(map(len, sets)) - 1)  # --smoke has only a few images
        found = measure_fidelity(
            *sets,
            class_names=set_run.train.class_names,
            neighbours=neighbours,
            num_resamples=50,
            max_bytes=2.5e8,
            seed=0,
        )
        short = {
            # Within classes where runs report that form; it has no bias with classes of fixed sizes.
            name: {role: (measure.get("within_classes") or measure)[role] for role in ("value", "floor")}
            for name, measure in found["measures"].items()
        }
        write_json(path, {"compared": found["compared"], "measures": short})
    measures = json.loads(path.read_text(encoding="utf-8"))["measures"]
    return {
        role: {name: round(measure[role]["mean"], 4) for name, measure in measures.items()}
        for role in ("value", "floor")
    }


def correlations(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Spearman's rank correlation between measure and accuracy, by encoder and measure: mean over the
    repetitions, and its interval over the sets. 1 means the same order.
    """
    repeats = [
        [row for row in rows if row["repeat"] == repeat] for repeat in sorted({row["repeat"] for row in rows})
    ]
    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    for kind in rows[0]["value"]:
        found[kind] = {}
        for name, better in MEASURES.items():
            sign = 1 if better == "higher" else -1
            of_repeats = [
                spearmanr(
                    [sign * row["value"][kind][name] for row in sets], [row["accuracy"] for row in sets]
                ).statistic
                for sets in repeats
            ]
            # The repetitions are of the same sets, so they are no more sets.
            found[kind][name] = rank_correlation_interval(float(np.mean(of_repeats)), len(repeats[0]))
    return found


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """How well each measure ranks the sets in the order of accuracy."""
    return [
        Claim.of(
            f"rank correlation of {_label(name)} ({kind} features) with accuracy on real test images, "
            f"{len(SETS)} sets",
            {"mean": mean, "low": low, "high": high},
            target="interval above 0",
            met=low > 0,
            why=f"interval over the {len(SETS)} sets"
            + ("" if low > 0 else "; not shown to rank the sets as accuracy does"),
        )
        for kind, measures in correlations(rows).items()
        for name, (mean, low, high) in measures.items()
    ]


def tables(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every measure of every set next to its floor, and the correlations."""
    kind, body = ENCODERS[0], []
    for name in SETS:
        sets = [row for row in rows if row["set"] == name]
        body.append([name, cell([100 * row["accuracy"] for row in sets]), *_cells(sets, kind, "value")])
    body.append(
        [
            "real against real (floor)",
            "",
            *_cells([row for row in rows if row["set"] == next(iter(SETS))], kind, "floor"),
        ]
    )
    found = correlations(rows)
    ranks = [
        [_label(key), *("{:.2f} [{:.2f}, {:.2f}]".format(*measures[key]) for measures in found.values())]
        for key in MEASURES
    ]
    title = (
        f"Fidelity of twelve sets to 600 real digits, {kind} features; accuracy, %, of what is trained on "
        "each, on real test images"
    )
    return [
        {"title": title, "columns": ["set", "accuracy", *map(_label, MEASURES)], "rows": body},
        {
            "title": "Rank correlation with that accuracy, 95% intervals over the sets; 1 is the same order",
            "columns": ["measure", *(f"{each} features" for each in found)],
            "rows": ranks,
        },
    ]


def _label(measure: str) -> str:
    return f"{measure}, within classes" if measure in KERNEL_MEASURES else measure


def _cells(rows: Sequence[Mapping[str, Any]], kind: str, role: str) -> list[str]:
    return [cell([row[role][kind][key] for row in rows], digits=3) for key in MEASURES]
