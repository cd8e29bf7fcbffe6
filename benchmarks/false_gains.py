"""How often a verdict claims a gain although no arm gains anything on average: of a run, and over runs.

``python -m benchmarks.false_gains`` writes ``benchmarks/results/false_gains.json``. It trains nothing and
takes four minutes on one core. An experiment draws right and wrong answers to validation and test images for
five runs, and passes them through the functions that decide in a run, over the first three runs and over all
five.

Every arm, ``real+val`` included, is right about 92% of the images. In a run, an arm differs from this by a
normal number with a standard deviation of a point: the luck of the chosen images and of the generator. The
arm of a run's own verdict is trained again with the validation images, as in a run; this form shares its luck
with the arm, by a correlation of 0.7, and so does what it answers to single test images. The first arm has no
such form, as ``synthetic``. With 1,000 test images, the differences of a run have intervals of about 1.6
points to each side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri

from benchmarks.claims import Claim, command_line, write
from understudy.evaluation.accuracy import verdict
from understudy.evaluation.choice import Choice, choose
from understudy.evaluation.verdict_over_runs import arms_of_other_runs, verdict_over_runs
from understudy.functional.intervals import binomial_limits, paired_difference

RUNS = (3, 5)
"""Numbers of whole runs that a verdict is about."""
_RIGHT = 0.92
_SEEDS = 3
_IMAGE, _WITH_ARM, _OF_RUN, _OF_TRAINING = np.sqrt([0.7, 0.1, 0.1, 0.1]).tolist()
"""Whether a training is right about an image has these shares of variance: of the image; of image and arm; of
image, arm and run; of the training."""
_SHARED_LUCK = 0.7
_OTHER_LUCK = float(np.sqrt(1 - _SHARED_LUCK**2))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What an experiment is made of.

    Attributes:
        arms: arms that use synthetic images.
        val: validation images of a run.
        test: test images of a run.
        same_test: whether all runs have the same test images.
        effect: standard deviation between runs of the difference between an arm and its mean.
        gain: mean gain of every arm that uses synthetic images.
    """

    arms: int
    val: int = 1000
    test: int = 1000
    same_test: bool = True
    effect: float = 0.01
    gain: float = 0.0

    @property
    def experiments(self) -> int:
        """How many are simulated: more where shares come close to 5%."""
        return 200 if self.gain else 1600 if self.test > 1000 else 400

    @property
    def choice(self) -> Choice:
        """How a verdict chooses among the arms; all but the first can be trained again."""
        names = [f"arm-{number}" for number in range(self.arms)]
        return Choice(candidates=names, num_val=self.val, refittable=names[1:])


CELLS = tuple(
    Cell(arms=arms, val=val, test=test, same_test=same_test)
    for val, test, same_test in (
        (50, 1000, True),
        (1000, 1000, True),
        (1000, 1000, False),
        (2000, 5000, True),
    )
    for arms in (3, 12)
)
WITH_GAIN = tuple(Cell(arms=3, val=50, gain=gain) for gain in (0.03, 0.05))


class _Images:
    """Images of different difficulty, some of them easier for an arm in all runs."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._image = _IMAGE * self._normal(count)
        self._of_arm: dict[str, np.ndarray] = {}

    def right(self, name: str, accuracy: float) -> np.ndarray:
        """Whether each training of an arm is right in one run, bool (trainings, images)."""
        count = len(self._image)
        noise = _OF_RUN * self._normal(count) + _OF_TRAINING * self._normal((_SEEDS, count))
        fixed = self._image + _WITH_ARM * self._with_arm(name)
        return np.asarray(fixed + noise < ndtri(accuracy))

    def _with_arm(self, name: str) -> np.ndarray:
        if name not in self._of_arm:
            other = self._normal(len(self._image))
            plain = name.removesuffix("+val")
            is_refit = plain not in (name, "real")
            self._of_arm[name] = (
                _SHARED_LUCK * self._with_arm(plain) + _OTHER_LUCK * other if is_refit else other
            )
        return self._of_arm[name]

    def _normal(self, shape: int | tuple[int, ...]) -> np.ndarray:
        return self._rng.standard_normal(shape, dtype=np.float32)


def experiment(cell: Cell, rng: np.random.Generator) -> list[dict[str, dict[str, Any]]]:
    """Figures of the arms of five runs, as in ``study.json``; only arms that a verdict reads are tested."""
    names, choice = list(cell.choice.candidates), cell.choice
    luck = [
        dict(zip(names, cell.effect * rng.standard_normal(cell.arms), strict=True)) for _ in range(RUNS[-1])
    ]
    on_val = [_val_accuracies(cell, of_run, rng) for of_run in luck]
    of_others = [arms_of_other_runs(on_val[:num], choice) for num in RUNS]
    test, runs = _Images(cell.test, rng), []
    for number, (of_run, validated) in enumerate(zip(luck, on_val, strict=True)):
        test = test if cell.same_test else _Images(cell.test, rng)
        best = choose(validated, choice).arm
        judged = {best, *(chosen[number] for chosen in of_others if number < len(chosen))}
        accuracies = {"real": _RIGHT, "real+val": _RIGHT + cell.effect * rng.standard_normal()}
        accuracies |= {name: _RIGHT + cell.gain + of_run[name] for name in sorted(judged)}
        if best in choice.refittable:
            shared = _SHARED_LUCK * of_run[best] + _OTHER_LUCK * cell.effect * rng.standard_normal()
            accuracies[f"{best}+val"] = _RIGHT + cell.gain + shared
        right = {name: test.right(name, accuracy) for name, accuracy in accuracies.items()}
        runs.append(_figures(right, validated))
    return runs


def _val_accuracies(
    cell: Cell, luck: Mapping[str, float], rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    images = _Images(cell.val, rng)
    accuracies = {name: _RIGHT + cell.gain + of_arm for name, of_arm in luck.items()}
    return {
        name: {"val_accuracy": float(images.right(name, accuracy).mean())}
        for name, accuracy in accuracies.items()
    }


def _figures(
    right: Mapping[str, np.ndarray], validated: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Figures of the arms of a run; the intervals of accuracies decide nothing and are left out."""
    figures: dict[str, dict[str, Any]] = {name: dict(of_val) for name, of_val in validated.items()}
    for name, of_arm in right.items():
        accuracy = dict.fromkeys(("mean", "low", "high"), float(of_arm.mean()))
        figures[name] = figures.get(name, {}) | {
            "accuracy": accuracy | {"seeds": [0.0] * _SEEDS},
            "minus_real": _difference(of_arm, right["real"]),
            "minus_real_val": _difference(of_arm, right["real+val"]),
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
        beats: by number of runs, verdicts over runs whose difference to ``real`` lies above 0.
        helps: by number of runs, verdicts over runs that say "helps".
    """

    single: float
    beats: Mapping[int, float]
    helps: Mapping[int, float]


def rates(cell: Cell, *, experiments: int, seed: int = 0) -> Rates:
    """Shares of experiments in which single and repeated runs claim a gain."""
    rng, choice = np.random.default_rng(seed), cell.choice
    partners = {"real": "real+val"} | {name: f"{name}+val" for name in choice.refittable}
    single: list[bool] = []
    beats: dict[int, list[bool]] = {num: [] for num in RUNS}
    helps: dict[int, list[bool]] = {num: [] for num in RUNS}
    for _ in range(experiments):
        runs = experiment(cell, rng)
        for run in runs:
            with_val = {name: partner for name, partner in partners.items() if partner in run}
            single.append(verdict(run, choice, num_test=cell.test, with_val=with_val)["helps"])
        for num in RUNS:
            answer = verdict_over_runs(runs[:num], choice, with_val=partners, images="other")
            beats[num].append(answer["minus_real"]["low"] > 0)
            helps[num].append(answer["helps"])
    return Rates(
        single=float(np.mean(single)),
        beats={num: float(np.mean(claimed)) for num, claimed in beats.items()},
        helps={num: float(np.mean(claimed)) for num, claimed in helps.items()},
    )


def measure(out: Path, runs: Path, smoke: bool) -> None:
    """Simulate all cells, and write the result file; ``runs`` is not used."""
    rows = []
    for number, cell in enumerate((*CELLS, *WITH_GAIN)):
        experiments = 2 if smoke else cell.experiments
        found = rates(cell, experiments=experiments, seed=number)
        rows.append({**asdict(cell), "experiments": experiments, **asdict(found)})
        print(rows[-1], flush=True)
    write(
        out,
        settings={"all": {"command": ["python", "-m", "benchmarks.false_gains"]}},
        rows=rows,
        claims=_claims([row for row in rows if not row["gain"]]),
        tables=_tables(rows),
    )


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    words = {
        "single": "single runs that say `helps` although no arm gains, largest share of a case, %",
        "beats": "verdicts over runs that say `beats` although no arm gains, largest share of a case, %",
        "helps": "verdicts over runs that say `helps` although no arm gains, largest share of a case, %",
    }
    claims = []
    for name, claim in words.items():
        shares = [
            (share, row["experiments"])
            for row in rows
            for share in ([row[name]] if name == "single" else row[name].values())
        ]
        share, num = max(shares)
        low, high = binomial_limits(share, num)
        claims.append(
            Claim.of(
                claim,
                {"mean": share, "low": low, "high": high},
                target="measured" if name == "single" else "at most 5",
                met=high <= 0.05,
                why=f"{num:,} experiments, interval of Clopper and Pearson",
                scale=100,
            )
        )
    return claims


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    over_runs = [f"{num} runs" for num in RUNS]
    none, some = [row for row in rows if not row["gain"]], [row for row in rows if row["gain"]]
    return [
        {
            "title": (
                'Share of verdicts that say "helps" although no arm gains anything, and over runs, in '
                'parentheses, the share that says "beats" of `real` alone; '
                f"{none[0]['experiments']:,} experiments of five runs in each case, "
                f"{none[-1]['experiments']:,} with 5,000 test images:"
            ),
            "columns": ["arms", "validation images", "test images", "single run", *over_runs],
            "rows": [_row(row) for row in none],
        },
        {
            "title": (
                f"The same if every arm gains something ({some[0]['experiments']} experiments, 3 arms, 50 "
                "validation images, 1,000 test images, the same in all runs):"
            ),
            "columns": ["gain of every arm, points", "single run", *over_runs],
            "rows": [[f"{100 * row['gain']:g}", *_row(row)[3:]] for row in some],
        },
    ]


def _row(row: Mapping[str, Any]) -> list[str]:
    test = f"{row['test']:,}, {'the same' if row['same_test'] else 'others'} in each run"
    return [
        *(str(row["arms"]), f"{row['val']:,}", test, f"{row['single']:.1%}"),
        *(f"{row['helps'][num]:.1%} ({row['beats'][num]:.1%})" for num in row["helps"]),
    ]


if __name__ == "__main__":
    command_line("false_gains", measure, doc=__doc__ or "")
