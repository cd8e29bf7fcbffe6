"""Dataset Style Inversion on ``digits``: are images drawn with S* closer to the real images than images drawn
with an untrained token in the same prompts?

``python -m benchmarks.style_inversion`` takes about ten minutes on two CPU cores; finished parts are kept and
reused. As in the paper, the weights of the generator (``mini``) stay fixed and only the token is learned.
Nothing is filtered, so the drawn sets themselves are compared. Repetitions differ in the run seed.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.claims import Claim, cell, command_line, repeated, write
from benchmarks.feature_distance import squared_mmd
from understudy.adaptation.adapter import apply_adapter
from understudy.adaptation.held_out import held_out_losses
from understudy.core.files import write_json
from understudy.data.labelled_set import LabelledSet
from understudy.functional.intervals import student_interval
from understudy.generators.generator import adaptable
from understudy.generators.load import load_generator
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.recipes import PRESETS, RECIPES
from understudy.settings import Settings, build
from understudy.training.classifier import accuracy_and_loss
from understudy.training.fit import fit_arm

RECIPE_NAMES = ("vanilla", "neutral-token", "style-inversion", "textual-inversion")
REPEATS = (0, 1, 2, 3, 4)
TIMESTEPS = 8
"""At which the denoising loss of each held-out image is measured."""
_ARMS = ("synthetic", "bridged", "bridged++")
_PROCESSES = 2
_COMMON: Mapping[str, Any] = {
    "draw": {"per_class": 60},
    "curate": {"score": "none"},
    "compare": {"steps": 100, "batch_size": 32},
}
_SMOKE: Mapping[str, Any] = {
    "data": {"shots": 4},
    "draw": {"steps": 2, "per_class": 3},
    "compare": {"steps": 4},
}


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Run every unfinished part, then write rows, tables and claims."""
    repeats = REPEATS[:1] if smoke else REPEATS
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        rows = pool.starmap(_row, [(repeat, runs, smoke) for repeat in repeats], chunksize=1)
    settings = {
        recipe: {
            "command": ["python", "-m", "benchmarks.style_inversion"],
            "settings": _settings(recipe, 0, smoke=smoke).model_dump(mode="json", exclude_defaults=True),
        }
        for recipe in RECIPE_NAMES
    }
    claims, tables = ([], []) if smoke else (_claims(rows), _tables(rows))
    write(out, settings=settings, rows=rows, claims=claims, tables=tables)


def _settings(recipe: str, repeat: int, *, smoke: bool) -> Settings:
    few_steps = {} if recipe == "vanilla" or not smoke else {"adapt": {"steps": 4, "validation_pairs": 16}}
    chosen = {"seed": repeat, "data": {"source": "digits"}}
    return build(PRESETS["quick"], RECIPES[recipe], _COMMON, chosen, {**_SMOKE, **few_steps} if smoke else {})


def _row(repeat: int, runs: Path, smoke: bool) -> dict[str, Any]:
    torch.set_num_threads(1)
    record = runs / f"seed{repeat}.json"
    if not record.exists():
        real, row = None, {}
        for recipe in RECIPE_NAMES:
            settings, folder = _settings(recipe, repeat, smoke=smoke), runs / f"{recipe}-seed{repeat}"
            run(settings, folder, until="curate")
            row[recipe] = _measured(settings, folder, repeat, timesteps=1 if smoke else TIMESTEPS)
            real = real or _accuracy("real", settings, folder, repeat)
        losses = {recipe: np.array(measured.pop("losses")) for recipe, measured in row.items()}
        for recipe, measured in row.items():
            measured["loss"] = float(losses[recipe].mean())
        paired = student_interval((losses["neutral-token"] - losses["style-inversion"]).tolist())
        write_json(
            record,
            {
                "case": "600 real images",
                "seed": repeat,
                "real": real,
                "recipes": row,
                "neutral_minus_style": paired,
            },
        )
    return dict(json.loads(record.read_text()))


def _sets(folder: Path) -> dict[str, LabelledSet]:
    sets = {name: LabelledSet.load(folder / "data" / f"{name}.parquet") for name in ("train", "val", "test")}
    return sets | {"synthetic": LabelledSet.load(folder / "synthetic" / "curated.parquet")}


def _measured(settings: Settings, folder: Path, repeat: int, *, timesteps: int) -> dict[str, Any]:
    sets, adaptation = _sets(folder), RunFolder.find(folder).record("adapt") or {}
    generator = adaptable(load_generator(settings.generator, device="cpu"))
    if adaptation["method"] != "none":
        apply_adapter(generator, folder / "adapter")
    names = (RunFolder.find(folder).record("load") or {})["prompt_names"]
    losses = held_out_losses(
        generator, sets["test"], prompt_names=names, settings=settings.adapt, seed=repeat, repeats=timesteps
    )
    return {
        "losses": losses,
        "mmd2": squared_mmd(sets["synthetic"], sets["test"]),
        "accuracy": {arm: _accuracy(arm, settings, folder, repeat) for arm in _ARMS},
        "val_loss_before": adaptation.get("val_loss_before"),
        "val_loss_after": adaptation.get("val_loss_after"),
        "seconds": {
            stage: (RunFolder.find(folder).record(stage) or {})["seconds"] for stage in ("adapt", "draw")
        },
    }


def _accuracy(arm: str, settings: Settings, folder: Path, repeat: int) -> float:
    sets = _sets(folder)
    classifier = fit_arm(
        arm,
        train=sets["train"],
        synthetic=sets["synthetic"],
        settings=settings.compare,
        seed=repeat,
        device="cpu",
    )
    return accuracy_and_loss(classifier, sets["test"])[0]


def _values(rows: Sequence[dict[str, Any]], recipe: str, *path: str) -> np.ndarray:
    found = []
    for row in rows:
        value = row["recipes"][recipe]
        for key in path:
            value = value[key]
        found.append(np.mean(value))
    return np.array(found)


def _claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    paired = rows[0]["neutral_minus_style"]
    claims = [
        Claim.of(
            "denoising loss on held-out real images, neutral token minus S*, seed 0, paired by image",
            paired,
            target="interval above 0: S* lowers it",
            met=paired["low"] > 0,
            why=f"Student interval over 997 test images, {TIMESTEPS} timesteps each, the same noise for both",
        )
    ]
    for what, path in (
        ("denoising loss on held-out real images", ("loss",)),
        *(
            (f"squared MMD of the drawn set to held-out real images, {encoder}", ("mmd2", encoder))
            for encoder in _encoders(rows)
        ),
    ):
        difference = _values(rows, "neutral-token", *path) - _values(rows, "style-inversion", *path)
        claims.append(
            repeated(
                f"{what}, neutral token minus S*",
                difference,
                low_above=0.0,
                target="interval above 0: S* lowers it",
            )
        )
    for arm in _ARMS:
        for base in ("neutral-token", "vanilla", "textual-inversion"):
            difference = _values(rows, "style-inversion", "accuracy", arm) - _values(
                rows, base, "accuracy", arm
            )
            claims.append(repeated(f"{arm}, S* minus {base}, accuracy", difference, target="reported"))
    return claims


def _encoders(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(rows[0]["recipes"]["vanilla"]["mmd2"])


def _tables(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    encoders = _encoders(rows)
    return [
        {
            "title": f"600 real images: mean over {len(rows)} runs, 95% Student interval. Denoising loss on, "
            "and squared MMD to, 997 held-out real images; accuracy on them in percent (`real` alone: "
            f"{cell([100 * row['real'] for row in rows])}).",
            "columns": [
                *("recipe", "denoising loss", *(f"MMD², {encoder}" for encoder in encoders)),
                *(*(f"`{arm}`" for arm in _ARMS), "seconds to learn"),
            ],
            "rows": [
                [
                    f"`{recipe}`",
                    cell(_values(rows, recipe, "loss"), digits=4),
                    *(cell(_values(rows, recipe, "mmd2", encoder), digits=3) for encoder in encoders),
                    *(cell(100 * _values(rows, recipe, "accuracy", arm)) for arm in _ARMS),
                    f"{_values(rows, recipe, 'seconds', 'adapt').mean():.0f}",
                ]
                for recipe in RECIPE_NAMES
            ],
        }
    ]


if __name__ == "__main__":
    command_line("style_inversion", main, doc=__doc__ or "")
