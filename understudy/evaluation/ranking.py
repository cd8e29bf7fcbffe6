"""A ranking of generators by accuracy on validation images, and the differences that hold all at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, final

import numpy as np

from understudy.core.listing import listed
from understudy.evaluation.class_sizes import MEASURES
from understudy.evaluation.over_classes import balanced_accuracy
from understudy.evaluation.repeats import over_runs
from understudy.evaluation.simultaneous import at_once
from understudy.functional.class_means import balanced_accuracy_terms
from understudy.functional.intervals import accuracy_interval
from understudy.functional.simultaneous import bonferroni_half_widths

FLOOR = "real"
"""The arm that every generator has to beat."""


@final
@dataclass(frozen=True, eq=False)
class OnValidation:
    """What the trainings of an arm predict for the validation images of a run.

    Attributes:
        predicted: class by training and image, int (S, N).
        labels: true class of each image, int (N,).
    """

    predicted: np.ndarray
    labels: np.ndarray

    def terms(self, measure: str) -> np.ndarray:
        """Values of the trainings and images whose mean is the measure, float (S, N)."""
        if measure == "accuracy":
            return np.asarray(self.predicted == self.labels, dtype=np.float64)
        return balanced_accuracy_terms(self.predicted, self.labels)

    def interval(self, measure: str) -> dict[str, float]:
        """The measure with its 95% interval over images and trainings: ``mean``, ``low``, ``high``."""
        correct = self.predicted == self.labels
        if measure == "accuracy":
            return dict(zip(("mean", "low", "high"), accuracy_interval(correct), strict=True))
        return balanced_accuracy(correct, self.labels)


def accuracy_over_runs(runs: Sequence[OnValidation], measure: str) -> dict[str, Any]:
    """A measure of an arm on validation images; as :func:`understudy.evaluation.repeats.over_runs`."""
    return over_runs([run.interval(measure) for run in runs], lowest=0.0, highest=1.0, test_images=True)


def rank(runs: Mapping[str, Sequence[OnValidation]], *, measure: str, seed: int) -> dict[str, Any]:
    """Rank generators, and say which places and differences the validation images leave open.

    With one run per generator, intervals cover other validation images and trainings. With R runs they cover
    whatever differs between runs (:func:`understudy.functional.simultaneous.bonferroni_half_widths`), and
    other validation images, which runs share or take from the same source: the squared distances of the ends
    to the mean add up, as in :func:`understudy.evaluation.repeats.over_runs`.

    Args:
        runs: by name, one entry per run; ``real`` is the floor, and the others are generators. Entries at the
            same position belong to the same images and seeds.
        measure: a key of :data:`understudy.evaluation.class_sizes.MEASURES`.
        seed: of the draws behind the simultaneous error.

    Returns:
        ``order`` (generators, best mean first), ``accuracy`` (by name, ``real`` included), ``differences``
        (of all pairs, ``real`` included: ``a``, the one with the higher mean, ``b``, and ``mean``, ``low``,
        ``high`` of a minus b, which hold for all pairs at once), ``places`` (by generator, the best and the
        worst place that the differences leave possible) and ``interval`` (what intervals cover).
    """
    accuracy = {name: accuracy_over_runs(of_one, measure) for name, of_one in runs.items()}
    by_mean = sorted(runs, key=lambda name: -accuracy[name]["mean"])  # of equals the first given stays first
    differences = _differences(runs, by_mean, measure=measure, seed=seed)
    order = [name for name in by_mean if name != FLOOR]
    holds = [(one["a"], one["b"]) for one in differences if one["low"] > 0]
    return {
        "order": order,
        "accuracy": accuracy,
        "differences": differences,
        "places": {
            name: [
                1 + sum((other, name) in holds for other in order),
                len(order) - sum((name, other) in holds for other in order),
            ]
            for name in order
        },
        "interval": "images" if len(runs[FLOOR]) == 1 else "runs and images",
    }


def _differences(
    runs: Mapping[str, Sequence[OnValidation]], by_mean: Sequence[str], *, measure: str, seed: int
) -> list[dict[str, Any]]:
    """All pairs, the better one first, with intervals that hold at once."""
    pairs = list(combinations(by_mean, 2))
    each = []
    for number, of_real in enumerate(runs[FLOOR]):
        terms = {name: of_one[number].terms(measure) for name, of_one in runs.items()}
        each.append(
            at_once(
                {pair: terms[pair[0]] - terms[pair[1]] for pair in pairs},
                groups=None if measure == "accuracy" else of_real.labels,
                seed=seed,
            )
        )
    means = np.array([[run.terms(measure).mean() for run in runs[name]] for name in by_mean])
    of_runs = np.array([first - second for first, second in combinations(means, 2)])
    halves = bonferroni_half_widths(of_runs) if len(each) > 1 else np.zeros(len(pairs))
    found = []
    for (a, b), centre, half in zip(pairs, of_runs.mean(axis=1).tolist(), halves.tolist(), strict=True):
        low, high = (float(np.mean([run[a, b][end] for run in each])) for end in ("low", "high"))
        low, high = centre - math.hypot(half, centre - low), centre + math.hypot(half, high - centre)
        low, high = max(-1.0, low), min(1.0, high)
        found.append({"a": a, "b": b, "mean": centre, "low": low, "high": high})
    return found


def against(ranking: Mapping[str, Any], name: str, other: str) -> dict[str, float]:
    """The difference of two names of a ranking, ``name`` minus ``other``: ``mean``, ``low``, ``high``."""
    for one in ranking["differences"]:
        if (one["a"], one["b"]) == (name, other):
            return {end: one[end] for end in ("mean", "low", "high")}
        if (one["b"], one["a"]) == (name, other):
            return {"mean": -one["mean"], "low": -one["high"], "high": -one["low"]}
    raise KeyError((name, other))


def ranking_sentence(ranking: Mapping[str, Any], *, measure: str, num_val: int) -> str:
    """What a ranking shows, in words: which generators differ, and which ones beat the real images alone.

    Args:
        ranking: of :func:`rank`.
        measure: as given to it.
        num_val: validation images of a run.
    """
    words = "" if measure == "accuracy" else f"In {MEASURES[measure]}: "
    return f"{words}{_who_is_better(ranking, num_val)} {_who_beats_real(ranking)}"


def _who_is_better(ranking: Mapping[str, Any], num_val: int) -> str:
    order = ranking["order"]
    pairs = [one for one in ranking["differences"] if FLOOR not in (one["a"], one["b"])]
    holding = [one for one in pairs if one["low"] > 0]
    first, images = order[0], f"{num_val:,} validation images"
    if ranking["interval"] != "images":  # they can be others in each run
        images += " of each run"
    if not pairs:
        return f"{first} was the only generator."
    if not holding:
        widest = max(pairs, key=lambda one: one["mean"])
        return (
            f"No generator is clearly better than another on {images}: the largest difference, "
            f"{widest['a']} minus {widest['b']}, is {_points(widest)} points."
        )
    beaten = [one["b"] for one in holding if one["a"] == first]
    if len(beaten) == len(order) - 1:
        least = min((one for one in holding if one["a"] == first), key=lambda one: one["mean"])
        return (
            f"{first} is clearly better than {'the other generator' if len(beaten) == 1 else 'every other'} "
            f"on {images}: {_points(least)} points more than {least['b']}."
        )
    if beaten:
        rest = [name for name in order[1:] if name not in beaten]
        return (
            f"{first} comes first on {images} and is clearly better than {_all_of(beaten)}, but not than "
            f"{_all_of(rest)}."
        )
    known = listed([f"{one['a']} is better than {one['b']}" for one in holding], most=3)
    return f"No generator is clearly the best on {images}; it is clear only that {known}."


def _who_beats_real(ranking: Mapping[str, Any]) -> str:
    to_real = {name: against(ranking, name, FLOOR) for name in ranking["order"]}
    above = [name for name, difference in to_real.items() if difference["low"] > 0]
    below = [name for name, difference in to_real.items() if difference["high"] < 0]
    alone = f"the real images alone ({ranking['accuracy'][FLOOR]['mean']:.1%})"
    if above:
        beat = f"{_all_of(above)} clearly {'beats' if len(above) == 1 else 'beat'} {alone}"
    else:
        beat = f"No generator clearly beats {alone}"
    worse = f", and {_all_of(below)} {'is' if len(below) == 1 else 'are'} clearly worse" if below else ""
    return f"{beat}{worse}."


def _all_of(names: Sequence[str]) -> str:
    """Names in a sentence, at most ten of them."""
    if len(names) == 1 or len(names) > 10:
        return listed(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _points(difference: Mapping[str, float]) -> str:
    mean, low, high = (100 * difference[end] for end in ("mean", "low", "high"))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
