"""A lucky training counts twice if the same trainings choose the arm of a verdict and judge it: by how much,
and what is left if each training is judged by the choice of the others?

``python -m benchmarks.lucky_trainings`` writes ``benchmarks/results/lucky_trainings.json``. It trains nothing
and takes two minutes on one core. An experiment draws right and wrong answers of three trainings of each arm
to validation and to test images, and passes them through the functions that choose and judge in a run. No arm
gains anything: the accuracy of every training is 95% plus a normal number, which no other training shares.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri

from benchmarks.claims import Claim, command_line, write
from understudy.evaluation.choice import Choice, choose
from understudy.evaluation.other_trainings import arms_of_other_trainings
from understudy.functional.intervals import paired_difference
from understudy.training.records import ArmResult

_ACCURACY = 0.95
_SEEDS = 3
_TEST = 1000
_EXPERIMENTS = 600
_IMAGE, _WITH_ARM, _OF_TRAINING = np.sqrt([0.7, 0.1, 0.2]).tolist()
"""Whether a training is right about an image has these shares of variance: of the image; of image and arm; of
the training."""
SPREADS, ARMS, VAL = (0.003, 0.01), (3, 12), (50, 1000)
_WAYS = ("the same trainings", "the other trainings")


@dataclass(frozen=True)
class Found:
    """What the experiments of a case say, in fractions of 1.

    Attributes:
        bias: mean gain; the truth is 0.
        claims: share of experiments whose 95% interval of the gain lies above 0.
        covers: share of those whose interval contains 0.
    """

    bias: float
    claims: float
    covers: float


def experiment(spread: float, arms: int, val: int, rng: np.random.Generator) -> list[tuple[float, ...]]:
    """The gain of the chosen arm over ``real`` with its interval, chosen in both ways."""
    accuracies = _ACCURACY + spread * rng.standard_normal((arms + 1, _SEEDS))
    limits = ndtri(np.clip(accuracies, 0.01, 0.999))[..., None]
    on_val, on_test = (_answers(count, limits, rng) for count in (val, _TEST))
    names = [f"arm-{number}" for number in range(arms)]
    choice = Choice(candidates=names, num_val=val)
    results = [_result(name, right) for name, right in zip(names, on_val[1:], strict=True)]
    figures = {one.arm: {"val_accuracy": float(np.mean(one.val_accuracy))} for one in results}
    of_all = on_test[1 + names.index(choose(figures, choice).arm)]
    others = arms_of_other_trainings(results, choice)
    of_others = np.stack([on_test[1 + names.index(arm), index] for index, arm in enumerate(others)])
    return [paired_difference(right, on_test[0]) for right in (of_all, of_others)]


def _answers(count: int, limits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whether each training of each arm is right about each image, bool (arms, trainings, count)."""
    noise = _IMAGE * rng.standard_normal(count) + _WITH_ARM * rng.standard_normal((len(limits), 1, count))
    return np.asarray(noise + _OF_TRAINING * rng.standard_normal((len(limits), _SEEDS, count)) < limits)


def _result(arm: str, right: np.ndarray) -> ArmResult:
    """The record of an arm, of which the choice reads the accuracy on validation images alone."""
    return ArmResult(
        arm=arm,
        seeds=tuple(range(_SEEDS)),
        probabilities=np.zeros((_SEEDS, 0, 2)),
        labels=np.zeros(0, dtype=np.int64),
        val_accuracy=tuple(right.mean(axis=-1).tolist()),
        val_loss=(0.0,) * _SEEDS,
        seconds=0.0,
        steps=1,
        histories=({},) * _SEEDS,
    )


def measure(spread: float, arms: int, val: int, *, experiments: int) -> dict[str, Found]:
    """Experiments of one case, by the way of choosing."""
    rng = np.random.default_rng(0)
    gains = np.array([experiment(spread, arms, val, rng) for _ in range(experiments)])
    return {
        way: Found(
            bias=float(gains[:, index, 0].mean()),
            claims=float((gains[:, index, 1] > 0).mean()),
            covers=float(((gains[:, index, 1] <= 0) & (gains[:, index, 2] >= 0)).mean()),
        )
        for index, way in enumerate(_WAYS)
    }


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Simulate every case, then write rows, table and claims; ``runs`` is not used."""
    cases = list(itertools.product(SPREADS, ARMS, VAL))[: 1 if smoke else None]
    rows = []
    for spread, arms, val in cases:
        found = measure(spread, arms, val, experiments=5 if smoke else _EXPERIMENTS)
        rows += [
            {"spread": spread, "arms": arms, "val": val, "way": way, **vars(one)}
            for way, one in found.items()
        ]
    write(
        out,
        settings={"simulation": {"command": ["python", "-m", "benchmarks.lucky_trainings"]}},
        rows=rows,
        claims=[] if smoke else _claims(rows),
        tables=[_table(rows)],
    )


def _claims(rows: list[dict[str, Any]]) -> list[Claim]:
    """The largest figures over all cases."""
    claims = []
    for way in _WAYS:
        of_way = [row for row in rows if row["way"] == way]
        bias = 100 * max(abs(row["bias"]) for row in of_way)
        share = 100 * max(row["claims"] for row in of_way)
        claims += [
            Claim.single(
                f"chosen by {way}: largest {what}, {len(of_way)} cases", value, target="reported", met=True
            )
            for what, value in (("bias of the gain, points", bias), ("share of false claims, %", share))
        ]
    return claims


def _table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    by_case: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_case.setdefault((row["spread"], row["arms"], row["val"]), {})[row["way"]] = row
    return {
        "title": f"Equal arms of 95%, {_SEEDS} trainings each, {_TEST:,} test images: gain that is found, "
        "in points, the share of experiments that claim one, and the share whose 95% interval contains 0, if "
        "the arm is chosen by the same trainings that judge it, or in each training by the others; "
        f"{_EXPERIMENTS} experiments in each case.",
        "columns": [
            *("spread of trainings, points", "candidate arms", "validation images"),
            *("same: gain", "claims", "contains 0", "others: gain", "claims", "contains 0"),
        ],
        "rows": [
            [
                *(f"{100 * spread:g}", str(arms), f"{val:,}"),
                *(text for way in _WAYS for text in _cells(found[way])),
            ]
            for (spread, arms, val), found in by_case.items()
        ],
    }


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [f"{100 * row['bias']:.2f}", f"{100 * row['claims']:.1f}%", f"{100 * row['covers']:.1f}%"]


if __name__ == "__main__":
    command_line("lucky_trainings", main, doc=__doc__ or "")
