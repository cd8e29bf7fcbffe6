"""How often a verdict says "helps" although no arm gains anything on average: of a run, and over runs.

``python -m benchmarks.false_gains`` prints the table of docs/limits.md. It takes ten minutes on one core and
trains nothing. An experiment draws right and wrong answers to validation and test images, and passes them
through the functions that decide in a run and over runs. Every arm, ``real+val`` included, is right about 92%
of the images. In a run, an arm differs from this by a normal number with a standard deviation of a point: the
luck of the chosen images and of the generator. With 1,000 test images, the differences of a run have
intervals of about 1.6 points to each side.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtri

from understudy.evaluation.accuracy import verdict
from understudy.evaluation.verdict_over_runs import verdict_over_runs
from understudy.functional.intervals import paired_difference

_RIGHT = 0.92
_SEEDS = 3
_SHARES = {"image": 0.7, "image and arm": 0.1, "image, arm and run": 0.1, "training": 0.1}
"""Shares of the variance that decides whether a training is right about an image."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What an experiment is made of.

    Attributes:
        arms: arms that use synthetic images.
        runs: whole runs.
        val: validation images of a run.
        test: test images of a run.
        same_test: whether all runs have the same test images.
        effect: standard deviation between runs of the difference between an arm and its mean.
        gain: mean gain of every arm that uses synthetic images.
    """

    arms: int
    runs: int
    val: int = 1000
    test: int = 1000
    same_test: bool = True
    effect: float = 0.01
    gain: float = 0.0

    @property
    def candidates(self) -> list[str]:
        """Names of the arms that use synthetic images."""
        return [f"arm-{number}" for number in range(self.arms)]


CELLS = tuple(
    Cell(arms=arms, runs=runs, val=val, test=test, same_test=same_test)
    for val, test, same_test in (
        (50, 1000, True),
        (1000, 1000, True),
        (1000, 1000, False),
        (2000, 5000, True),
    )
    for arms in (3, 12)
    for runs in (3, 5)
)


def experiment(cell: Cell, rng: np.random.Generator) -> list[dict[str, dict[str, Any]]]:
    """Figures of every arm of every run, as in ``study.json``."""
    names = ["real", "real+val", *cell.candidates]
    luck = cell.effect * rng.standard_normal((cell.runs, len(names)))
    luck[:, 0] = 0
    luck[:, 2:] += cell.gain
    levels = ndtri(_RIGHT + luck)
    test, rows = _Images(cell.test, len(names), rng), []
    for level in levels:
        if not cell.same_test:
            test = _Images(cell.test, len(names), rng)
        on_val = _Images(cell.val, len(names), rng).right(level).mean(axis=(1, 2))
        rows.append(_figures(names, test.right(level), on_val))
    return rows


class _Images:
    """Images of different difficulty."""

    def __init__(self, count: int, arms: int, rng: np.random.Generator) -> None:
        self._shape, self._rng = (arms, _SEEDS, count), rng
        image, with_arm, *_ = np.sqrt(list(_SHARES.values()))
        self._fixed = image * rng.standard_normal(count) + with_arm * rng.standard_normal((arms, 1, count))

    def right(self, level: np.ndarray) -> np.ndarray:
        """Whether each training of each arm of a run is right, bool (arms, seeds, images)."""
        *_, of_run, of_training = np.sqrt(list(_SHARES.values()))
        arms, _, count = self._shape
        noise = of_run * self._rng.standard_normal((arms, 1, count))
        noise = noise + of_training * self._rng.standard_normal(self._shape)
        return np.asarray(self._fixed + noise < level[:, None, None])


def _figures(names: list[str], right: np.ndarray, on_val: np.ndarray) -> dict[str, dict[str, Any]]:
    """Figures of the arms of a run; the intervals of accuracies decide nothing and are left out."""
    figures: dict[str, dict[str, Any]] = {}
    for name, of_arm, val_accuracy in zip(names, right, on_val, strict=True):
        accuracy = dict.fromkeys(("mean", "low", "high"), float(of_arm.mean()))
        figures[name] = {
            "accuracy": accuracy | {"seeds": [0.0] * _SEEDS},
            "minus_real": _difference(of_arm, right[0]),
            "minus_real_val": _difference(of_arm, right[1]),
            "val_accuracy": float(val_accuracy),
            "steps": 1,
        }
    return figures


def _difference(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    return dict(zip(("mean", "low", "high"), paired_difference(a, b), strict=True))


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Shares of experiments that claim a gain.

    Attributes:
        single: single runs that say "helps".
        beats: repeated runs whose interval of the difference to ``real`` lies above 0.
        helps: repeated runs that say "helps": the difference to ``real+val`` lies above 0 too.
    """

    single: float
    beats: float
    helps: float


def rates(cell: Cell, *, experiments: int, seed: int = 0) -> Rates:
    """Shares of experiments in which single and repeated runs claim a gain."""
    rng = np.random.default_rng(seed)
    rows = [experiment(cell, rng) for _ in range(experiments)]
    options: dict[str, Any] = {"candidates": cell.candidates, "with_val": {"real": "real+val"}}
    counts: dict[str, Any] = {"num_test": cell.test, "num_val": cell.val}
    single = [verdict(run, **options, **counts)["helps"] for runs in rows for run in runs]
    repeated = [verdict_over_runs(runs, **options, same_images=False) for runs in rows]
    return Rates(
        single=float(np.mean(single)),
        beats=float(np.mean([answer["minus_real"]["low"] > 0 for answer in repeated])),
        helps=float(np.mean([answer["helps"] for answer in repeated])),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.false_gains", description=__doc__)
    parser.add_argument(
        "--experiments",
        type=int,
        default=1000,
        help="experiments of each row; a quarter with 5,000 test images",
    )
    parser.add_argument("--gain", type=float, default=0.0, help="mean gain of arms with synthetic images")
    given = parser.parse_args()
    print("| arms | validation images | test images of the runs | runs | a run helps | beat real | help |")
    print("|---|---|---|---|---|---|---|")
    for cell in CELLS:
        experiments = given.experiments // (1 if cell.test == 1000 else 4)
        found = rates(replace(cell, gain=given.gain), experiments=experiments)
        test = f"{cell.test:,}, {'the same' if cell.same_test else 'others in each run'}"
        shares = " | ".join(f"{share:.1%}" for share in (found.single, found.beats, found.helps))
        print(f"| {cell.arms} | {cell.val:,} | {test} | {cell.runs} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
