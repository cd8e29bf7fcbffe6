"""The gap between synthetic and real training images on ``digits``, taken apart, and what each strategy
closes of it.

``python -m benchmarks.content_gap`` takes about an hour and a half on two CPU cores; finished parts are kept
and reused. A case is a number of real images, 10 per class or all 600, and a generator: here ``mini``;
``content_gap_class_conditional`` is the same for the other one. A repetition is another run seed: with 10 per
class another choice of images, in any case another adaptation, other drawn images and another classifier.
Test images are always the same 997.

Arms, strategies and combinations were listed before anything was measured, but for what :data:`TRAINED` says;
among them, validation images choose.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.claims import Claim, cell, command_line, repeated, t_interval, write
from understudy.core.files import write_atomically, write_json
from understudy.core.progress import Silent, follow
from understudy.evaluation.gap import summarise_gap
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.gap import real_again, redrawn_sets, role_sets
from understudy.pipeline.run import run
from understudy.pipeline.strategies import as_many_as_real
from understudy.pipeline.synthetic import ArmImages
from understudy.recipes import PRESETS
from understudy.settings import Settings, build
from understudy.training.classifier import accuracy_and_loss
from understudy.training.data import TrainingData
from understudy.training.fit import fit_steps
from understudy.training.records import ArmResult
from understudy.training.strategies import STRATEGIES

SHOTS = (10, None)
"""Real images per class; None for all 600."""
REPEATS = (0, 1, 2, 3, 4)
PER_CLASS = 60  # synthetic images: as many as real ones where all are used
PLAIN = {"Synthetic-to-Real": "synthetic", "Data Augmentation": "mixed"}
"""The two settings of Wang et al. 2024 (arXiv:2311.03959), and the arm that each begins with."""
COMBINATIONS = (
    "confidence-filter@refresh",
    "confidence-filter@refresh@soft-labels",
    "coverage@soft-labels",
    "several-generators@confidence-filter@refresh@soft-labels",
    "real-guidance@refresh@soft-labels",
)
FEW = ("confidence-filter", "coverage", "diverse", "refresh", "soft-labels", *COMBINATIONS[:3])
"""What is tried with all real images; every strategy with 10 per class."""
REAL_GUIDED = "synthetic@real-guidance"
TRAINED = (*FEW, "real-guidance", COMBINATIONS[-1])
"""What is tried with the second generator, which is trained on the real images and nothing else. A first look
had four of these with 10 per class; starting from real images, choice by coverage and soft labels came after
it, with the second case.
"""
_ONLY_MIXED = ("two-stream", "late-layer")
_PROCESSES = 2
_SMOKE: Mapping[str, Any] = {
    "adapt": {"steps": 4, "batch_size": 8, "validation_pairs": 16},
    "draw": {"steps": 2, "per_class": 2},
    "compare": {
        "steps": 2,
        "batch_size": 8,
        "arms": ["real", "synthetic", "mixed", "synthetic@confidence-filter@refresh"],
    },
    "gap": {"strengths": [0.5]},
}


def main(out: Path, runs: Path, smoke: bool, *, generator: str = "mini", module: str = "content_gap") -> None:
    """Measure every part that is not there, then write rows, tables and claims."""
    cases = [(generator, shots) for shots in SHOTS[: 1 if smoke else None]]
    parts = [(*case, repeat) for case in cases for repeat in (REPEATS[:2] if smoke else REPEATS)]
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        rows = pool.starmap(measure, [(*part, runs, smoke) for part in parts], chunksize=1)
    by_case = {_name(*case): [row for row in rows if row["case"] == _name(*case)] for case in cases}
    gaps = {case: _gap(case, own, runs) for case, own in by_case.items()}
    command = {"command": ["python", "-m", f"benchmarks.{module}"]}
    settings = {
        _name(*case): {
            **command,
            "settings": _settings(*case, 0, smoke=smoke).model_dump(mode="json", exclude_defaults=True),
        }
        for case in cases
    }
    claims = (
        [] if smoke else [claim for case, own in by_case.items() for claim in _claims(case, own, gaps[case])]
    )
    tables = (
        [] if smoke else [table for case, own in by_case.items() for table in _tables(case, own, gaps[case])]
    )
    write(
        out,
        settings=settings,
        rows=[*map(_short, rows), *({"case": f"gap, {case}", **gap} for case, gap in gaps.items())],
        claims=claims,
        tables=tables,
    )
    print(f"wrote {out}")


def _name(generator: str, shots: int | None) -> str:
    return f"{generator}, {'all 600' if shots is None else f'{shots} per class'}"


def _folder(case: str, repeat: int, runs: Path) -> Path:
    return runs / f"{case.replace(', ', '-').replace(' ', '-')}-{repeat}"


def _settings(generator: str, shots: int | None, repeat: int, *, smoke: bool) -> Settings:
    own: dict[str, Any] = {"generator": {"name": generator}}
    if generator == "class_conditional":
        own = {"generator": {"name": generator, "channels": [32, 64], "patch": 4}, "adapt": {"steps": 1000}}
    common = {
        "seed": repeat,
        "data": {"source": "digits", "shots": shots},
        "adapt": {"steps": 200},
        "draw": {"per_class": PER_CLASS, "steps": 15, "refresh_times": 4},
        "curate": {"score": "none"},
        "compare": {"steps": 100, "batch_size": 32, "arms": arms(generator, shots)},
        "gap": {"measure": True, "strengths": [0.07, 0.2, 0.4, 0.6, 0.8]},
    }
    return build(PRESETS["quick"], common, own, _SMOKE if smoke else {})


def arms(generator: str, shots: int | None) -> list[str]:
    """Every arm of a case, plain ones first."""
    strategies: Sequence[str] = (
        TRAINED if generator != "mini" else FEW if shots is None else (*STRATEGIES, *COMBINATIONS)
    )
    suffixed = [
        f"{plain}@{strategy}"
        for plain in PLAIN.values()
        for strategy in strategies
        if plain == "mixed" or strategy not in _ONLY_MIXED
    ]
    return ["real", *PLAIN.values(), *suffixed]


def measure(generator: str, shots: int | None, repeat: int, runs: Path, smoke: bool) -> dict[str, Any]:
    """One training of every arm and of every set of the decomposition; what is there is not trained again."""
    torch.set_num_threads(1)
    case = _name(generator, shots)
    settings, folder = _settings(generator, shots, repeat, smoke=smoke), _folder(case, repeat, runs)
    run(settings, folder, until="curate")
    finished = Run(RunFolder.find(folder), "cpu", Silent())
    found = {
        name: trained(finished, name, name, lambda name=name: finished.sets.of_arm(name), repeat)
        for name in settings.compare.arms
    }
    plain = as_many_as_real(settings)

    @cache
    def sets() -> dict[str, tuple[str, ArmImages]]:
        return role_sets(finished.sets, plain)

    @cache
    def redrawn() -> dict[float, ArmImages]:
        return redrawn_sets(finished.sets, plain, settings.gap.strengths)

    roles = {
        f"gap-{role}": trained(finished, f"gap-{role}", arm, lambda role=role: sets()[role][1], repeat)
        for role, (arm, _) in sets().items()
    }
    roles |= {
        f"gap-redrawn-{strength:g}": trained(
            finished, f"gap-redrawn-{strength:g}", "synthetic", lambda own=own: own, repeat
        )
        for strength, own in redrawn().items()
    }
    for index, part in enumerate(real_again(finished)):
        roles[f"gap-again-{index}"] = trained(
            finished, f"gap-again-{index}", "real", lambda: None, repeat, train=part
        )
    print(f"{case}, repetition {repeat}: done", flush=True)
    seconds = {
        name: (finished.folder.record(name) or {}).get("seconds") for name in ("adapt", "draw", "curate")
    }
    return {
        "case": case,
        "repeat": repeat,
        "seconds": seconds,
        "copies": copies(finished),
        "arms": found,
        "gap": roles,
    }


def copies(finished: Run) -> dict[str, float]:
    """Share of images marked as copies of real train images: drawn from noise, and where they can be, drawn
    from real images.
    """
    path = finished.path / "measured" / "copies.json"
    if not path.exists():
        found = {}
        for arm in ("synthetic", REAL_GUIDED):
            if arm in finished.settings.compare.arms:
                images = finished.sets.of_arm(arm).images
                found[arm] = float(
                    np.mean(
                        [
                            flag != ""
                            for flag in finished.sets.copies.flags(finished.sets.copies.nearest(images))
                        ]
                    )
                )
        write_json(path, found)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def trained(
    finished: Run, key: str, arm: str, images: Any, repeat: int, *, train: Any = None
) -> dict[str, Any]:
    """Accuracy of an arm trained once, and what its images cost; predictions on test images go to a file of
    their own.
    """
    path = finished.path / "measured" / f"{key}.json"
    if not path.exists():
        own = images()
        start = time.monotonic()
        data = TrainingData(
            train=finished.train if train is None else train,
            synthetic=None if own is None else own.images,
            quota=None if own is None else own.quota,
            teacher=lambda: finished.classifiers.judge,
        )
        classifier = follow(
            fit_steps(arm, data, settings=finished.settings.compare, seed=repeat, device="cpu")
        )
        seconds = time.monotonic() - start
        probabilities = classifier.predict(finished.test)
        accuracy, loss = accuracy_and_loss(classifier, finished.val)
        write_atomically(path.with_suffix(".npy"), lambda to: to.write_bytes(_bytes(probabilities)))
        record = (
            {}
            if own is None
            else {
                name: own.record[name]
                for name in ("seconds", "drawn", "judged", "kept")
                if name in own.record
            }
        )
        accuracy_on_test = float((probabilities.argmax(axis=1) == finished.test.labels).mean())
        write_json(
            path,
            {
                "test": accuracy_on_test,
                "val": accuracy,
                "val_loss": loss,
                "seconds": round(seconds, 2),
                "images": record,
            },
        )
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _bytes(values: np.ndarray) -> bytes:
    return values.astype(np.float32).tobytes()


def _gap(case: str, rows: Sequence[Mapping[str, Any]], runs: Path) -> dict[str, Any]:
    """The decomposition over all repetitions, each of which is a seed of it."""
    first = RunFolder.find(_folder(case, rows[0]["repeat"], runs))
    finished = Run(first, "cpu", Silent())

    def result(key: str, name: str, part: str) -> ArmResult:
        files = [_folder(case, row["repeat"], runs) / "measured" / f"{key}.npy" for row in rows]
        return as_result(
            name,
            files,
            [row[part][key] for row in rows],
            repeats=[row["repeat"] for row in rows],
            finished=finished,
        )

    keys = list(rows[0]["gap"])
    redrawn = {float(key.removeprefix("gap-redrawn-")): key for key in keys if key.startswith("gap-redrawn-")}
    again = [key for key in keys if key.startswith("gap-again-")]
    roles = {key.removeprefix("gap-"): key for key in keys if key not in (*redrawn.values(), *again)}
    return summarise_gap(
        {
            "real": result("real", "real", "arms"),
            **{role: result(key, role, "gap") for role, key in roles.items()},
        },
        {strength: result(key, key, "gap") for strength, key in redrawn.items()},
        class_names=finished.test.class_names,
        real_again=[result(key, key, "gap") for key in again],
        num_resamples=2000,
        seed=0,
    )


def as_result(
    name: str,
    files: Sequence[Path],
    measured: Sequence[Mapping[str, Any]],
    *,
    repeats: Sequence[int],
    finished: Run,
) -> ArmResult:
    """Repetitions as the seeds of one result: what :func:`trained` wrote of each, predictions on the test
    images and figures.
    """
    predicted = [
        np.frombuffer(path.read_bytes(), dtype=np.float32).reshape(len(finished.test), -1) for path in files
    ]
    return ArmResult(
        arm=name,
        seeds=tuple(repeats),
        probabilities=np.stack(predicted).astype(np.float64),
        labels=finished.test.labels,
        val_accuracy=tuple(each["val"] for each in measured),
        val_loss=tuple(each["val_loss"] for each in measured),
        seconds=0.0,
        steps=finished.settings.compare.steps,
        histories=(),
    )


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a repetition is written down: figures of arms, and of the sets of the decomposition the
    accuracies alone.
    """
    arms = {
        name: {"test": round(own["test"], 4), "val": own["val"], "seconds": round(own["seconds"], 1)}
        | ({"images": {key: own["images"][key] for key in ("seconds", "judged")}} if own["images"] else {})
        for name, own in row["arms"].items()
    }
    gap = {role: [round(own["test"], 4), own["val"]] for role, own in row["gap"].items()}
    return {**row, "arms": arms, "gap": gap}


def points(rows: Sequence[Mapping[str, Any]], arm: str, minus: str | None = None) -> list[float]:
    return [100 * (row["arms"][arm]["test"] - (row["arms"][minus]["test"] if minus else 0.0)) for row in rows]


def chosen(rows: Sequence[Mapping[str, Any]], plain: str, *, but: str = "") -> str:
    """The arm of a setting with the highest mean validation accuracy; of equals, that with the lowest
    validation loss.

    Args:
        rows: repetitions.
        plain: the arm that the setting begins with.
        but: a strategy that is left out.
    """
    candidates = [
        arm for arm in rows[0]["arms"] if arm.split("@")[0] == plain and but not in arm.split("@")[1:]
    ]
    means = {
        arm: np.mean(
            [(row["arms"][arm]["val"], -row["arms"][arm]["val_loss"]) for row in rows], axis=0
        ).tolist()
        for arm in candidates
    }
    return max(candidates, key=lambda arm: means[arm])


def _claims(case: str, rows: Sequence[Mapping[str, Any]], gap: Mapping[str, Any]) -> list[Claim]:
    alone, from_noise, both = (
        chosen(rows, "synthetic"),
        chosen(rows, "synthetic", but="real-guidance"),
        chosen(rows, "mixed"),
    )
    plain = [row["arms"]["synthetic"]["test"] for row in rows]
    found = [
        _closed(case, rows, alone, "plain synthetic", plain),
        _closed(
            case,
            rows,
            alone,
            "as many plain synthetic as real",
            [row["gap"]["gap-plain"]["test"] for row in rows],
        ),
        repeated(
            f"{case}: {both} minus real and plain synthetic images (mixed), in points",
            points(rows, both, "mixed"),
            target="not worse: no less than 0",
            least=0.0,
            why_not="within its interval of 0 or below it",
        ),
    ]
    if from_noise != alone:
        found.append(_closed(f"{case}, drawn from noise alone", rows, from_noise, "plain synthetic", plain))
    for arm in rows[0]["copies"]:
        shares = [100 * row["copies"][arm] for row in rows]
        found.append(
            repeated(
                f"{case}: images of {arm} marked as copies of real train images, in %",
                shares,
                target="measured",
            )
        )
    return found + term_claims(
        case, gap, ("total", "appearance", "content", "quality", "quantity"), over="repetitions"
    )


def term_claims(case: str, gap: Mapping[str, Any], names: Sequence[str], *, over: str) -> list[Claim]:
    """What the terms of a decomposition came to; ``over`` what they are measured besides test images."""
    return [
        Claim(
            claim=f"{case}: the gap's term {name}, in points",
            value=100 * term["mean"],
            low=100 * term["low"],
            high=100 * term["high"],
            target="measured",
            met=True,
            why=f"bootstrap over test images and {over}",
        )
        for name in names
        if (term := gap["terms"].get(name)) is not None
    ]


def _closed(
    case: str, rows: Sequence[Mapping[str, Any]], arm: str, which: str, plain: Sequence[float]
) -> Claim:
    """The share of a gap that an arm closes; without a gap there is no share to speak of."""
    total = [row["arms"]["real"]["test"] - before for row, before in zip(rows, plain, strict=True)]
    closed = [row["arms"][arm]["test"] - before for row, before in zip(rows, plain, strict=True)]
    share, is_gap = 100 * float(np.mean(closed) / np.mean(total)), t_interval(total)[1] > 0
    low, high = _ratio_interval(closed, total)
    mean, least, most = (100 * value for value in t_interval(total))
    why = "ratio of means over repetitions, interval by resampling them; chosen on validation images"
    if not is_gap:
        why = f"there is no gap to close: {mean:.1f} points [{least:.1f}, {most:.1f}]"
    return Claim(
        claim=f"{case}: {arm} closes this share of the gap between {which} and real images, in %",
        value=share,
        low=low,
        high=high,
        target="at least 50",
        met=is_gap and share >= 50,
        why=why,
    )


def _ratio_interval(
    above: Sequence[float], below: Sequence[float], *, num_resamples: int = 2000
) -> tuple[float, float]:
    rng, a, b = np.random.default_rng(0), np.array(above), np.array(below)
    index = rng.integers(len(a), size=(num_resamples, len(a)))
    totals = b[index].mean(axis=1)
    if not (totals > 0).any():
        return float("nan"), float("nan")
    low, high = np.percentile(
        100 * a[index].mean(axis=1)[totals > 0] / totals[totals > 0], [2.5, 97.5]
    ).tolist()
    return low, high


def _tables(case: str, rows: Sequence[Mapping[str, Any]], gap: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [gap_table(case, gap), _strategy_table(case, rows)]


def gap_table(case: str, gap: Mapping[str, Any]) -> dict[str, Any]:
    def points(term: Mapping[str, float]) -> str:
        return f"{100 * term['mean']:.1f} [{100 * term['low']:.1f}, {100 * term['high']:.1f}]"

    rows = [
        [name, points(term), "yes" if term["distinguishable"] else "no"]
        for name, term in gap["terms"].items()
    ]
    rows += [
        [f"{which}: {step['term']}", points(step), ""]
        for which in ("path", "reverse_path")
        for step in gap[which]
        if "mean" in step
    ]
    rows += [
        [f"accuracy, real images redrawn from {step['strength']:g}", points(step["accuracy"]), ""]
        for step in gap["sweep"]
    ]
    return {"title": f"The gap, {case}", "columns": ["term", "points", "above the noise floor"], "rows": rows}


def _strategy_table(case: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    best = {chosen(rows, plain) for plain in PLAIN.values()}
    body = []
    for arm in rows[0]["arms"]:
        plain = arm.split("@")[0]
        gain = cell(points(rows, arm, plain)) if "@" in arm else ""
        drawn, making = (
            float(np.mean([row["arms"][arm]["images"].get(key, 0) for row in rows]))
            for key in ("judged", "seconds")
        )
        seconds = float(np.mean([row["arms"][arm]["seconds"] for row in rows]))
        val = 100 * float(np.mean([row["arms"][arm]["val"] for row in rows]))
        name = f"**{arm}**" if arm in best else arm
        body.append(
            [
                name,
                cell(points(rows, arm)),
                gain,
                f"{val:.1f}",
                f"{drawn:.0f}" if drawn else "",
                f"{making:.0f}" if drawn else "",
                f"{seconds:.1f}",
            ]
        )
    columns = [
        "arm",
        "accuracy, %",
        "minus the plain arm, points",
        "validation, %",
        "images looked at",
        "making its images, s",
        "training, s",
    ]
    return {
        "title": f"Strategies, {case}; bold: chosen on validation images",
        "columns": columns,
        "rows": body,
    }


if __name__ == "__main__":
    command_line("content_gap", main, doc=__doc__ or "")
