"""The accuracy gap between synthetic and real training images on ``digits``: its parts, and how much of it
each strategy closes.

``python -m benchmarks.content_gap`` takes about an hour and a half on two CPU cores; finished parts are kept
and reused. A case is a number of real images (10 per class, or all 600) and a generator: here ``mini``, in
``content_gap_class_conditional`` the other one. Repetitions differ in the run seed, and with it in the
adaptation, the drawn images, the classifier and, with 10 per class, the choice of real images. The 997 test
images are always the same.

Arms, strategies and combinations were fixed before any measurement, with the exceptions that :data:`TRAINED`
lists. Validation images choose among them.
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

from benchmarks.claims import Claim, cell, command_line, excludes_zero, minus, repeated, t_interval, write
from understudy.core.files import write_atomically, write_json
from understudy.core.progress import Silent, follow
from understudy.evaluation.gap import summarise_gap
from understudy.functional.ratios import fieller_interval
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.gap import real_again, redrawn_sets, role_sets
from understudy.pipeline.run import run
from understudy.pipeline.strategies import as_many_as_real
from understudy.pipeline.synthetic import CuratedSet
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
"""The two settings of Wang et al. 2024 (arXiv:2311.03959), and the arm that each starts from."""
COMBINATIONS = (
    "confidence-filter@refresh",
    "confidence-filter@refresh@soft-labels",
    "coverage@soft-labels",
    "several-generators@confidence-filter@refresh@soft-labels",
    "real-guidance@refresh@soft-labels",
)
FEW = ("confidence-filter", "coverage", "diverse", "refresh", "soft-labels", *COMBINATIONS[:3])
"""Strategies tried with all real images; with 10 per class, every strategy is tried."""
REAL_GUIDED = "synthetic@real-guidance"
TRAINED = (*FEW, "real-guidance", COMBINATIONS[-1])
"""Strategies tried with the second generator, which is trained on the real images alone. A first look at 10
per class tried four of these; starting from real images, selection by coverage and soft labels were added
afterwards, together with the second case.
"""
_ONLY_MIXED = ("two-stream", "late-layer")
_PROCESSES = 2
_TEST_IMAGES = 997
_SMOKE: Mapping[str, Any] = {
    "adapt": {"steps": 4, "until": "steps", "batch_size": 8, "validation_pairs": 16},
    "draw": {"steps": 2, "per_class": 2},
    "compare": {
        "steps": 2,
        "batch_size": 8,
        "arms": ["real", "synthetic", "mixed", "synthetic@confidence-filter@refresh"],
    },
    "gap": {"strengths": [0.5]},
}


def main(out: Path, runs: Path, smoke: bool, *, generator: str = "mini", module: str = "content_gap") -> None:
    """Measure every unfinished part, then write rows, tables and claims."""
    cases = [(generator, shots) for shots in SHOTS[: 1 if smoke else None]]
    parts = [(*case, repeat) for case in cases for repeat in (REPEATS[:2] if smoke else REPEATS)]
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        rows = pool.starmap(measure, [(*part, runs, smoke) for part in parts], chunksize=1)
    by_case = {_name(*case): [row for row in rows if row["case"] == _name(*case)] for case in cases}
    gaps = {case: _gap(case, repeats, runs) for case, repeats in by_case.items()}
    command = {"command": ["python", "-m", f"benchmarks.{module}"]}
    settings = {
        _name(*case): {
            **command,
            "settings": _settings(*case, 0, smoke=smoke).model_dump(mode="json", exclude_defaults=True),
        }
        for case in cases
    }
    claims = (
        []
        if smoke
        else [claim for case, repeats in by_case.items() for claim in _claims(case, repeats, gaps[case])]
    )
    tables = (
        []
        if smoke
        else [table for case, repeats in by_case.items() for table in _tables(case, repeats, gaps[case])]
    )
    write(
        out,
        settings=settings,
        rows=[*map(_short, rows), *({"case": f"gap, {case}", **gap} for case, gap in gaps.items())],
        claims=claims,
        tables=tables,
    )


def _name(generator: str, shots: int | None) -> str:
    return f"{generator}, {'all 600' if shots is None else f'{shots} per class'}"


def _folder(case: str, repeat: int, runs: Path) -> Path:
    return runs / f"{case.replace(', ', '-').replace(' ', '-')}-{repeat}"


def _settings(generator: str, shots: int | None, repeat: int, *, smoke: bool) -> Settings:
    chosen: dict[str, Any] = {"generator": {"name": generator}}
    if generator == "class_conditional":
        chosen = {
            "generator": {"name": generator, "channels": [64, 128], "patch": 4},
            "adapt": {"steps": 1000, "max_steps": 2000},
        }
    common = {
        "seed": repeat,
        "data": {"source": "digits", "shots": shots},
        "adapt": {"steps": 200},
        "draw": {"per_class": PER_CLASS, "steps": 15, "refresh_times": 4},
        "curate": {"score": "none"},
        "compare": {"steps": 100, "batch_size": 32, "arms": arms(generator, shots)},
        "gap": {"measure": True, "strengths": [0.07, 0.2, 0.4, 0.6, 0.8]},
    }
    return build(PRESETS["quick"], common, chosen, _SMOKE if smoke else {})


def arms(generator: str, shots: int | None) -> list[str]:
    """Every arm of a case, plain arms first."""
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
    """Train once on every arm and on every set of the decomposition; finished trainings are reused."""
    torch.set_num_threads(1)
    case = _name(generator, shots)
    settings, folder = _settings(generator, shots, repeat, smoke=smoke), _folder(case, repeat, runs)
    run(settings, folder, until="curate")
    case_run = Run(RunFolder.find(folder), "cpu", Silent())
    found = {
        name: trained(case_run, name, name, lambda name=name: case_run.sets.of_arm(name), repeat)
        for name in settings.compare.arms
    }
    plain = as_many_as_real(settings)

    @cache
    def sets() -> dict[str, tuple[str, CuratedSet]]:
        return role_sets(case_run.sets, plain)

    @cache
    def redrawn() -> dict[float, CuratedSet]:
        return redrawn_sets(case_run.sets, plain)

    roles = {
        f"gap-{role}": trained(case_run, f"gap-{role}", arm, lambda role=role: sets()[role][1], repeat)
        for role, (arm, _) in sets().items()
    }
    roles |= {
        f"gap-redrawn-{strength:g}": trained(
            case_run, f"gap-redrawn-{strength:g}", "synthetic", lambda curated=curated: curated, repeat
        )
        for strength, curated in redrawn().items()
    }
    for index, part in enumerate(real_again(case_run.train, case_run.spare, seed=settings.seed)):
        roles[f"gap-again-{index}"] = trained(
            case_run, f"gap-again-{index}", "real", lambda: None, repeat, train=part
        )
    print(f"{case}, repetition {repeat}: done", flush=True)
    seconds = {
        name: (case_run.folder.record(name) or {}).get("seconds") for name in ("adapt", "draw", "curate")
    }
    return {
        "case": case,
        "repeat": repeat,
        "seconds": seconds,
        "copies": copies(case_run),
        "arms": found,
        "gap": roles,
    }


def copies(case_run: Run) -> dict[str, float]:
    """Share of images marked as copies of real train images: for images drawn from noise and, where the
    generator supports it, for images drawn from real ones.
    """
    path = case_run.path / "measured" / "copies.json"
    if not path.exists():
        found = {}
        for arm in ("synthetic", REAL_GUIDED):
            if arm in case_run.settings.compare.arms:
                images = case_run.sets.of_arm(arm).images
                found[arm] = float(
                    np.mean(
                        [
                            flag != ""
                            for flag in case_run.sets.copies.flags(case_run.sets.copies.nearest(images))
                        ]
                    )
                )
        write_json(path, found)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def trained(
    case_run: Run, key: str, arm: str, images: Any, repeat: int, *, train: Any = None
) -> dict[str, Any]:
    """Train an arm once. Returns its accuracies and the cost of its images; predictions on the test images
    are written to a separate file.
    """
    path = case_run.path / "measured" / f"{key}.json"
    if not path.exists():
        curated = images()
        start = time.monotonic()
        data = TrainingData(
            train=case_run.train if train is None else train,
            synthetic=None if curated is None else curated.images,
            quota=None if curated is None else curated.quota,
            teacher=lambda: case_run.classifiers.judge,
        )
        classifier = follow(
            fit_steps(arm, data, settings=case_run.settings.compare, seed=repeat, device="cpu")
        )
        seconds = time.monotonic() - start
        probabilities = classifier.predict(case_run.test)
        accuracy, loss = accuracy_and_loss(classifier, case_run.val)
        write_atomically(path.with_suffix(".npy"), lambda to: to.write_bytes(_bytes(probabilities)))
        record = (
            {}
            if curated is None
            else {
                name: curated.record[name]
                for name in ("seconds", "drawn", "judged", "kept")
                if name in curated.record
            }
        )
        accuracy_on_test = float((probabilities.argmax(axis=1) == case_run.test.labels).mean())
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
    """The decomposition over all repetitions, each of which counts as a seed."""
    first = RunFolder.find(_folder(case, rows[0]["repeat"], runs))
    case_run = Run(first, "cpu", Silent())

    def result(key: str, name: str, part: str) -> ArmResult:
        files = [_folder(case, row["repeat"], runs) / "measured" / f"{key}.npy" for row in rows]
        return as_result(
            name,
            files,
            [row[part][key] for row in rows],
            repeats=[row["repeat"] for row in rows],
            case_run=case_run,
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
        class_names=case_run.test.class_names,
        real_again=[result(key, key, "gap") for key in again],
    )


def as_result(
    name: str,
    files: Sequence[Path],
    measured: Sequence[Mapping[str, Any]],
    *,
    repeats: Sequence[int],
    case_run: Run,
) -> ArmResult:
    """Join repetitions into one result with a seed each, from the predictions and figures that
    :func:`trained` wrote.
    """
    predicted = [
        np.frombuffer(path.read_bytes(), dtype=np.float32).reshape(len(case_run.test), -1) for path in files
    ]
    return ArmResult(
        arm=name,
        seeds=tuple(repeats),
        probabilities=np.stack(predicted).astype(np.float64),
        labels=case_run.test.labels,
        val_accuracy=tuple(each["val"] for each in measured),
        val_loss=tuple(each["val_loss"] for each in measured),
        seconds=0.0,
        steps=case_run.settings.compare.steps,
        histories=(),
    )


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the result file keeps of a repetition: all figures of the arms, but only accuracies of the sets of
    the decomposition.
    """
    arms = {
        name: {
            "test": round(figures["test"], 4),
            "val": figures["val"],
            "val_loss": round(figures["val_loss"], 4),
            "seconds": round(figures["seconds"], 1),
        }
        | (
            {"images": {key: figures["images"][key] for key in ("seconds", "judged")}}
            if figures["images"]
            else {}
        )
        for name, figures in row["arms"].items()
    }
    gap = {role: [round(figures["test"], 4), figures["val"]] for role, figures in row["gap"].items()}
    return {**row, "arms": arms, "gap": gap}


def again(content: Mapping[str, Any]) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Claims and tables from the rows of a result file."""
    gaps = {row["case"].removeprefix("gap, "): row for row in content["rows"] if "terms" in row}
    by_case = {case: [_long(row) for row in content["rows"] if row["case"] == case] for case in gaps}
    return (
        [claim for case, rows in by_case.items() for claim in _claims(case, rows, gaps[case])],
        [table for case, rows in by_case.items() for table in _tables(case, rows, gaps[case])],
    )


def _long(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it was before :func:`_short`: its four digits tell how many of the test images were right.

    Rows of earlier versions have no ``val_loss``, which matters only where two arms have equal accuracies.
    """
    arms = {
        name: {"val_loss": 0.0, "images": {}, **figures, "test": _whole(figures["test"])}
        for name, figures in row["arms"].items()
    }
    gap = {role: {"test": _whole(test), "val": val} for role, (test, val) in row["gap"].items()}
    return {**row, "arms": arms, "gap": gap}


def _whole(share: float) -> float:
    return round(share * _TEST_IMAGES) / _TEST_IMAGES


def points(rows: Sequence[Mapping[str, Any]], arm: str, minus: str | None = None) -> list[float]:
    return [100 * (row["arms"][arm]["test"] - (row["arms"][minus]["test"] if minus else 0.0)) for row in rows]


def chosen(rows: Sequence[Mapping[str, Any]], plain: str, *, but: str = "") -> str:
    """The arm with the highest mean validation accuracy; ties go to the lowest validation loss.

    Args:
        rows: repetitions.
        plain: the plain arm whose variants are compared.
        but: a strategy to leave out.
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
    return str(max(candidates, key=lambda arm: means[arm]))


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
    """Claims about the terms of a decomposition; ``over`` names what the bootstrap resamples besides test
    images.
    """
    return [
        Claim.of(
            f"{case}: the gap's term {name}, in points",
            term,
            scale=100,
            why=f"bootstrap over test images and {over}",
        )
        for name in names
        if (term := gap["terms"].get(name)) is not None
    ]


def _closed(
    case: str, rows: Sequence[Mapping[str, Any]], arm: str, which: str, plain: Sequence[float]
) -> Claim:
    """The share of a gap that an arm closes; undefined if there is no gap."""
    total = minus([row["arms"]["real"]["test"] for row in rows], plain)
    closed = minus([row["arms"][arm]["test"] for row in rows], plain)
    share, low, high = (100 * end for end in fieller_interval(closed, total))
    mean, least, most = (100 * value for value in t_interval(total))
    why = f"ratio of means over {len(rows)} runs, Fieller's interval; chosen on validation images"
    # Without a gap above 0 the interval is unbounded, and no share of it is known.
    if not least > 0:
        why = f"there is no gap to close: {mean:.1f} points [{least:.1f}, {most:.1f}]"
    return Claim(
        claim=f"{case}: {arm} closes this share of the gap between {which} and real images, in %",
        value=share,
        low=low,
        high=high,
        target="at least 50",
        met=least > 0 and low >= 50,
        why=why,
    )


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
    num_gains = sum("@" in arm for arm in rows[0]["arms"])
    body = []
    for arm in rows[0]["arms"]:
        plain = arm.split("@")[0]
        gain, at_once = "", ""
        if "@" in arm:
            gains = points(rows, arm, plain)
            gain, at_once = cell(gains), "yes" if excludes_zero(gains, rows_of_table=num_gains) else "no"
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
                at_once,
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
        f"not 0 for all {num_gains} rows at once",
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
