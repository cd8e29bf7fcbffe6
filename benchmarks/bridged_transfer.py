"""Bridged transfer on ``digits``: every arm and control, with 1 to 16 and with all real images per class.

``python -m benchmarks.bridged_transfer`` takes two to three hours on two CPU cores; finished parts are kept
and reused. The few-shot subsets are fixed and nested; they come from ``benchmarks/subsets/digits.json``. Each
repetition uses another subset (with all images: another run seed) and another classifier seed. Every arm
trains for ``STEPS`` steps per phase, so bridged arms train as long as ``real-long``. With 1, 2 and 4 images
per class there are further arms (:mod:`benchmarks.few_images`), tuned in the same way.
"""

from __future__ import annotations

import functools
import itertools
import json
import multiprocessing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import few_images
from benchmarks.claims import Claim, cell, command_line, repeated, write
from benchmarks.few_images import LONGER
from understudy.core.executors.do import do_jobs
from understudy.core.executors.executor import Terms
from understudy.core.files import write_json
from understudy.core.settings import ComputeSettings
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.transferability import feature_quality
from understudy.functional.allocation import first_of_each_class
from understudy.pipeline.run import run
from understudy.recipes import PRESETS, RECIPES
from understudy.settings import Settings, build
from understudy.training.arms import Arm, find_arm
from understudy.training.backbones import pretrained_classifier
from understudy.training.classifier import TrainedClassifier, accuracy_and_loss
from understudy.training.data import TrainingData
from understudy.training.fit import fit_arm, fit_steps
from understudy.training.records import ArmFolder
from understudy.training.settings import CompareSettings, TuneSettings
from understudy.training.tune import ArmTuning, best_trial

SHOTS = (1, 2, 4, 8, 16, None)
REPEATS = (0, 1, 2, 3, 4)
STEPS = 100
PER_CLASS = 100  # synthetic images
VOLUMES = (4, 20, 80, 200, 400)  # images per class at VOLUME_SHOTS real images: 1x to 100x
VOLUME_SHOTS = 4
LONGER_AT = (80, 400)
"""Images per class at which the longer phase is tried. It tells whether images or steps are the limit: in
STEPS steps, images of a larger set are seen less often, and at 400 per class some are not seen at all.
"""
TUNED_AT: Mapping[int | None, int | None] = {1: 4, 2: 4, 4: 4, 8: 16, 16: 16, None: None}
"""For each number of shots, the number at which the learning rate is chosen, on the validation images of all
subsets.
"""
TUNE = TuneSettings(learning_rates=(1e-3, 3e-3, 1e-2, 3e-2))
"""Weight decay stays at its default: 0.01 and 0.1 differed by at most 0.033 in validation loss."""
ARMS = RECIPES["bridged-transfer"]["compare"]["arms"]
BRIDGED = ("bridged", "bridged+reinit", "bridged+mixup", "bridged++", *few_images.BRIDGED)
_WATCHED = ("bridged", "bridged+mixup")  # arms whose features are measured after the synthetic phase
_PROCESSES = 2
_SMOKE: Mapping[str, Any] = {
    "adapt": {"steps": 4, "batch_size": 8, "validation_pairs": 16},
    "draw": {"steps": 2, "per_class": 3},
    "curate": {"score": "none"},
    "compare": {"steps": 2, "batch_size": 8},
}


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Run every unfinished part, then write rows, tables and claims."""
    cases = [
        (shots, repeat)
        for shots in ((2, None) if smoke else SHOTS)
        for repeat in (REPEATS[:1] if smoke else REPEATS)
    ]
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        tuned_at = [
            (shots, repeat)
            for shots in dict.fromkeys(TUNED_AT[shots] for shots, _ in cases)
            for repeat in dict.fromkeys(repeat for _, repeat in cases)
        ]
        trials = pool.starmap(_trials, [(*case, runs, smoke) for case in tuned_at], chunksize=1)
        chosen = _over_subsets(tuned_at, trials)
        rows = pool.starmap(
            _row,
            [(shots, repeat, runs, chosen[TUNED_AT[shots]], smoke) for shots, repeat in cases],
            chunksize=1,
        )
    command = {"command": ["python", "-m", "benchmarks.bridged_transfer"]}
    settings = {
        _name(shots): {
            **command,
            "settings": _settings(shots, 0, smoke=smoke).model_dump(mode="json", exclude_defaults=True),
            "tuned_at": _name(TUNED_AT[shots]),
        }
        for shots in dict.fromkeys(shots for shots, _ in cases)
    }
    tuning = [
        {"case": f"tuning, {_name(shots)}", "arm": arm, "trials": tried}
        for shots, trials in chosen.items()
        for arm, tried in trials.items()
    ]
    claims, tables = ([], []) if smoke else (_claims(rows), _tables(rows, chosen))
    write(out, settings=settings, rows=[*rows, *tuning], claims=claims, tables=tables)


def _arms_at(shots: int | None) -> tuple[str, ...]:
    return (*ARMS, *(few_images.ARMS if shots in few_images.SHOTS else ()))


def _name(shots: int | None) -> str:
    return "all" if shots is None else f"{shots} per class"


def _settings(shots: int | None, repeat: int, *, smoke: bool) -> Settings:
    """Settings of one run. Few-shot repetitions share the splits and use different subsets; with all images,
    repetitions differ in the run seed.
    """
    few = {"seed": 0, "data": {"source": "digits", "shots": shots, "subset": repeat}}
    everything = {"seed": repeat, "data": {"source": "digits"}}
    recipe = {
        "draw": {"per_class": max(VOLUMES) if shots == VOLUME_SHOTS else PER_CLASS},
        "compare": {"steps": STEPS, "batch_size": 32, "equal_steps": False},
    }
    return build(PRESETS["quick"], recipe, everything if shots is None else few, _SMOKE if smoke else {})


def _sets(
    shots: int | None, repeat: int, runs: Path, *, smoke: bool
) -> tuple[CompareSettings, dict[str, LabelledSet]]:
    """Settings for training, real splits and curated images of a run of the pipeline up to ``curate``."""
    settings = _settings(shots, repeat, smoke=smoke)
    folder = runs / f"{_name(shots).replace(' ', '-')}-{repeat}"
    run(settings, folder, until="curate")
    sets = {name: LabelledSet.load(folder / "data" / f"{name}.parquet") for name in ("train", "val", "test")}
    sets["synthetic"] = LabelledSet.load(folder / "synthetic" / "curated.parquet")
    return few_images.with_own_arms(settings.compare), sets


def _data(
    sets: Mapping[str, LabelledSet], per_class: int, settings: CompareSettings, repeat: int
) -> TrainingData:
    """The images of a training; soft labels come from a classifier of the real ones, as in a run."""

    @functools.cache
    def teacher() -> TrainedClassifier:
        return fit_arm(
            "real", train=sets["train"], synthetic=None, settings=settings, seed=repeat, device="cpu"
        )

    return TrainingData(train=sets["train"], synthetic=_first(sets["synthetic"], per_class), teacher=teacher)


def _first(data: LabelledSet, per_class: int) -> LabelledSet:
    return data.select(first_of_each_class(data.labels, np.full(data.num_classes, per_class)))


def _trials(shots: int | None, repeat: int, runs: Path, smoke: bool) -> dict[str, list[dict[str, Any]]]:
    """Tuning trials of every arm on one subset."""
    torch.set_num_threads(1)
    settings, sets = _sets(shots, repeat, runs, smoke=smoke)
    data = _data(sets, PER_CLASS, settings, repeat)
    folder = runs / "tuning" / f"{_name(shots).replace(' ', '-')}-{repeat}"
    tunings = {
        arm: ArmTuning(
            folder=ArmFolder(folder, arm),
            data=data,
            val=sets["val"],
            settings=settings,
            tune=TUNE,
            seed=repeat,
            device="cpu",
        )
        for arm in _arms_at(shots)
    }
    terms = Terms(root=runs.absolute(), compute=ComputeSettings(executor="local"), device="cpu")
    do_jobs([job for tuning in tunings.values() for job in tuning.jobs], terms)
    return {arm: tuning.trials() for arm, tuning in tunings.items()}


def _over_subsets(
    cases: Sequence[tuple[int | None, int]], trials: Sequence[Mapping[str, list[dict[str, Any]]]]
) -> dict[int | None, dict[str, list[dict[str, Any]]]]:
    """For each number of shots and each arm, the trials with mean figures over the subsets.

    A trial that diverged on one subset counts as diverged.
    """
    pooled: dict[int | None, dict[str, list[dict[str, Any]]]] = {}
    for shots in dict.fromkeys(shots for shots, _ in cases):
        of_shots = [tried for (at, _), tried in zip(cases, trials, strict=True) if at == shots]
        pooled[shots] = {
            arm: [_mean_trial(same) for same in zip(*(tried[arm] for tried in of_shots), strict=True)]
            for arm in _arms_at(shots)
        }
    return pooled


def _mean_trial(same: Sequence[dict[str, Any]]) -> dict[str, Any]:
    losses = [trial["val_loss"] for trial in same]
    return same[0] | {
        "val_accuracy": float(np.mean([trial["val_accuracy"] for trial in same])),
        "val_loss": None if None in losses else float(np.mean(losses)),
    }


def _row(
    shots: int | None, repeat: int, runs: Path, trials: Mapping[str, list[dict[str, Any]]], smoke: bool
) -> dict[str, Any]:
    torch.set_num_threads(1)
    record = runs / f"{_name(shots).replace(' ', '-')}-{repeat}.json"
    if not record.exists() or set(json.loads(record.read_text())["arms"]) < set(_arms_at(shots)):
        settings, sets = _sets(shots, repeat, runs, smoke=smoke)
        data = _data(sets, PER_CLASS, settings, repeat)
        partial = runs / "arms" / f"{_name(shots).replace(' ', '-')}-{repeat}"
        arms = {
            name: _arm(
                find_arm(name, settings), settings, trials[name], sets, data, repeat, partial / f"{name}.json"
            )
            for name in _arms_at(shots)
        }
        row = {
            "case": _name(shots),
            "repeat": repeat,
            "train": len(sets["train"]),
            "synthetic": data.num_synthetic,
            "arms": arms,
            "source": _source(settings, sets),
        }
        if shots == VOLUME_SHOTS:
            row["volume"] = {
                str(size): _of_size(size, settings, trials, sets, repeat, partial) for size in VOLUMES
            }
        write_json(record, row)
    return dict(json.loads(record.read_text()))


def _of_size(
    size: int,
    settings: CompareSettings,
    trials: Mapping[str, list[dict[str, Any]]],
    sets: Mapping[str, LabelledSet],
    repeat: int,
    partial: Path,
) -> dict[str, float]:
    """Accuracy by arm with ``size`` synthetic images per class."""
    arms = [
        *(find_arm(name, settings) for name in ("synthetic", "mixed", "bridged")),
        *([LONGER] if size in LONGER_AT else []),
    ]
    data = _data(sets, size, settings, repeat)
    return {
        arm.name: _arm(
            arm,
            settings,
            trials[arm.name],
            sets,
            data,
            repeat,
            partial / f"{arm.name}-{size}.json",
        )["accuracy"]
        for arm in arms
    }


def _arm(
    arm: Arm,
    settings: CompareSettings,
    trials: list[dict[str, Any]],
    sets: Mapping[str, LabelledSet],
    data: TrainingData,
    repeat: int,
    record: Path,
) -> dict[str, Any]:
    """Train an arm once and measure it on the test images."""
    if record.exists():
        return dict(json.loads(record.read_text()))
    chosen = {key: best_trial(trials)[key] for key in ("learning_rate", "weight_decay")}
    after: list[dict[str, float | None]] = []
    tuned = settings.model_copy(update=chosen)
    for step in fit_steps(arm, data, settings=tuned, seed=repeat, device="cpu"):
        if arm.name in _WATCHED and step.ends_phase and step.step < step.of:
            after.append(feature_quality(step.classifier, train=sets["train"], test=sets["test"]))
    classifier = step.classifier
    val_accuracy, val_loss = accuracy_and_loss(classifier, sets["val"])
    accuracy, _ = accuracy_and_loss(classifier, sets["test"])
    steps = arm.phase_steps(settings, num_real=len(data.train), num_synthetic=data.num_synthetic)
    row = {
        "accuracy": accuracy,
        "val_accuracy": val_accuracy,
        "val_loss": val_loss,
        "steps": sum(steps),
        **({"after_synthetic": after[0]} if after else {}),
    }
    write_json(record, row)
    return row


def _source(settings: CompareSettings, sets: Mapping[str, LabelledSet]) -> dict[str, float | None]:
    """Feature quality of the letters ResNet before any training on digits, with its 26 classes."""
    backbone = pretrained_classifier(settings)
    assert backbone is not None
    return feature_quality(
        TrainedClassifier(backbone, sets["train"].class_names), train=sets["train"], test=sets["test"]
    )


def _by_shots(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows grouped by number of shots and sorted by repetition, so that arms can be compared pairwise."""
    names = dict.fromkeys(row["case"] for row in rows)
    return {
        name: sorted((row for row in rows if row["case"] == name), key=lambda row: int(row["repeat"]))
        for name in names
    }


def _values(rows: Sequence[dict[str, Any]], arm: str, figure: str = "accuracy") -> np.ndarray:
    return np.array([row["arms"][arm][figure] for row in rows])


def _best_bridged(rows: Sequence[dict[str, Any]]) -> str:
    """The bridged arm with the highest mean validation accuracy; ties go to the lowest validation loss."""
    return max(
        [arm for arm in BRIDGED if arm in rows[0]["arms"]],
        key=lambda arm: (
            _values(rows, arm, "val_accuracy").mean().round(9),
            -_values(rows, arm, "val_loss").mean(),
        ),
    )


def _claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    claims = []
    for name, repeats in _by_shots(rows).items():
        best = _best_bridged(repeats)
        real = _values(repeats, "real")
        claims.append(
            repeated(
                f"{name}: {best} (best bridged arm on validation images) minus tuned real, accuracy",
                _values(repeats, best) - real,
                low_above=0.0 if name in _CUT else -0.005,
                target="interval above 0" if name in _CUT else "interval above -0.005: not worse",
                why_not="the interval over five subsets is wide"
                if name in _CUT
                else "real is near its ceiling",
            )
        )
        if name in _CUT:
            cut = (_values(repeats, best) - real) / (1 - real)
            claim = f"{name}: share of the error of tuned real that {best} takes away"
            why_not = (
                "what is left is mostly the generator's, which saw the same few images: `synthetic` alone "
                "is no better"
            )
            claims.append(repeated(claim, cut, least=1 / 3, target="at least a third", why_not=why_not))
        claims += [
            repeated(
                f"{name}: {best} minus {control}, accuracy: what remains of its gain",
                _values(repeats, best) - _values(repeats, control),
                target="reported",
            )
            for control in ("real-long", "real+mixup", "bridged-neutral")
        ]
        claims.append(
            repeated(
                f"{name}: bridged++ minus tuned real, accuracy",
                _values(repeats, "bridged++") - real,
                target="reported",
            )
        )
        for arm, base in (("mixed", "real"), ("mixed-balanced", "mixed")):
            difference = _values(repeats, arm) - _values(repeats, base)
            claims.append(repeated(f"{name}: {arm} minus {base}, accuracy", difference, target="reported"))
    few = few_images.claims(_with_few_images(rows))
    return [*claims, *few, *_volume_claims([row for row in rows if "volume" in row])]


def _with_few_images(rows: Sequence[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    cases = _by_shots(rows)
    return {shots: cases[_name(shots)] for shots in few_images.SHOTS}


def _volume_claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """What each increase in the number of synthetic images adds, and whether longer training helps with many
    images.
    """
    claims = [
        repeated(
            f"{VOLUME_SHOTS} per class: {arm} with {after} synthetic images per class minus {before}, "
            "accuracy",
            _volume(rows, after, arm) - _volume(rows, before, arm),
            target="reported",
        )
        for arm in ("synthetic", "bridged")
        for before, after in itertools.pairwise(VOLUMES)
    ]
    longer = _volume(rows, LONGER_AT[1], LONGER.name) - _volume(rows, LONGER_AT[0], LONGER.name)
    claim = (
        f"{VOLUME_SHOTS} per class: {LONGER.name} with {LONGER_AT[1]} synthetic images per class minus "
        f"{LONGER_AT[0]}, accuracy"
    )
    return [*claims, repeated(claim, longer, target="reported")]


_CUT = ("1 per class", "2 per class", "4 per class")
"""Cases in which the error should shrink by a third."""


def _tables(
    rows: Sequence[dict[str, Any]], tuning: Mapping[int | None, Mapping[str, list[dict[str, Any]]]]
) -> list[dict[str, Any]]:
    cases = _by_shots(rows)
    repeats = len(next(iter(cases.values())))
    what = (
        f"mean over {repeats} subsets (all: {repeats} run seeds), one training each, 95% Student interval; "
        "997 real test images"
    )
    tables = [
        {
            "title": f"Accuracy in percent by real images per class, {PER_CLASS} synthetic images per class: "
            f"{what}.",
            "columns": ["arm", *cases],
            "rows": [
                [f"`{arm}`", *(cell(100 * _values(repeats, arm)) for repeats in cases.values())]
                for arm in ARMS
            ],
        },
        {
            "title": "The same minus tuned `real`, in points; bold: the bridged arm that validation images "
            "choose.",
            "columns": ["arm", *cases],
            "rows": [
                [
                    f"`{arm}`",
                    *(
                        f"**{text}**" if arm == _best_bridged(repeats) else text
                        for repeats in cases.values()
                        for text in [cell(100 * (_values(repeats, arm) - _values(repeats, "real")))]
                    ),
                ]
                for arm in ARMS
                if arm != "real"
            ],
        },
    ]
    volume = [row for row in rows if "volume" in row]
    if volume:
        arms = ("synthetic", "mixed", "bridged", LONGER.name)
        tables.append(
            {
                "title": f"Synthetic images per class at {VOLUME_SHOTS} real ones, accuracy in percent: "
                f"{what}.",
                "columns": ["images per class", "times real", *(f"`{arm}`" for arm in arms)],
                "rows": [
                    [
                        *(str(size), f"{size // VOLUME_SHOTS}x"),
                        *(
                            cell(100 * _volume(volume, size, arm))
                            if arm in volume[0]["volume"][str(size)]
                            else ""
                            for arm in arms
                        ),
                    ]
                    for size in VOLUMES
                ],
            }
        )
    few = few_images.tables(_with_few_images(rows))
    return [*tables, *few, _features_table(cases), _tuning_table(tuning)]


def _volume(rows: Sequence[dict[str, Any]], size: int, arm: str) -> np.ndarray:
    return np.array([row["volume"][str(size)][arm] for row in rows])


def _features_table(cases: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    figures = {"linear_probe": 100, "knn": 100, "leep": 1, "log_me": 1, "h_score": 1}
    lines = []
    for name, repeats in cases.items():
        networks = {
            "letters, as pretrained": [row["source"] for row in repeats],
            "after synthetic": [row["arms"]["bridged"]["after_synthetic"] for row in repeats],
            "after synthetic with Mixup": [
                row["arms"]["bridged+mixup"]["after_synthetic"] for row in repeats
            ],
        }
        for label, measured in networks.items():
            cells = [
                cell(unit * np.array([entry[key] for entry in measured]), digits=1 if unit == 100 else 2)
                for key, unit in figures.items()
            ]
            lines.append([name, label, *cells])
    return {
        "title": "Transferability of the features before any training on real images: linear probe and "
        "nearest neighbours in percent on test images; LEEP, LogME and H-score of the train images.",
        "columns": ["real images", "network", "linear probe", "kNN", "LEEP", "LogME", "H-score"],
        "rows": lines,
    }


def _tuning_table(tuning: Mapping[int | None, Mapping[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    def chosen(trials: list[dict[str, Any]]) -> str:
        best, accuracies = best_trial(trials), [100 * trial["val_accuracy"] for trial in trials]
        return f"{best['learning_rate']:g} ({min(accuracies):.1f} to {max(accuracies):.1f})"

    rates = ", ".join(f"{rate:g}" for rate in TUNE.learning_rates or ())
    return {
        "title": f"Tuning on the validation images of all subsets (learning rates {rates}): chosen rate, "
        "worst and best mean accuracy in percent.",
        "columns": ["arm", *(f"at {_name(shots)}" for shots in tuning)],
        "rows": [
            [f"`{arm}`", *(chosen(trials[arm]) if arm in trials else "" for trials in tuning.values())]
            for arm in (*ARMS, *few_images.ARMS)
        ],
    }


if __name__ == "__main__":
    command_line("bridged_transfer", main, doc=__doc__ or "")
