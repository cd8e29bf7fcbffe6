"""The accuracy gap between training on synthetic and on real images.

The terms of the gap with their intervals, overall and per class, and a test of the content hypothesis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from understudy.evaluation.plateau import cannot_tell, still_rising, summarise_plateau
from understudy.functional.gaps import (
    PATH,
    REVERSE_PATH,
    VARIANTS,
    appearance_excess,
    content_hypothesis,
    gap_terms,
    path_terms,
    relative_drop,
    shares,
)
from understudy.functional.intervals import Interval, accuracy_interval, mean_interval
from understudy.training.records import ArmResult

_REDRAWN = "reconstructed"
_ATTACKABLE = ("appearance", "content", "quality", "quantity")
_PER_CLASS = ("total", "appearance", "content", "recovered")
_FLOORS = ("seeds", "independent real sample", "halves")  # the index is the number of results in real_again
_RULE = (
    "content explains most of the drop, unless real images that the generator redraws with the least noise, "
    "which keep their content, already lose more than half of it"
)


def summarise_gap(
    arms: Mapping[str, ArmResult],
    reconstructed: Mapping[float, ArmResult],
    *,
    class_names: Sequence[str],
    real_again: Sequence[ArmResult] = (),
    gan_test: Mapping[float, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """Summarise the gap for the section ``gap`` of ``results.json``.

    The terms of :mod:`understudy.functional.gaps` are computed for each training and test image, so their 95%
    intervals pair all sets by image and seed. A term is ``distinguishable`` if its interval
    excludes 0 and its size exceeds the noise floor. The noise floor is the difference between two real
    samples, or the standard deviation of the accuracy on ``real`` over seeds if that is larger.

    Args:
        arms: results by role: ``real``, ``plain``, and any of ``filtered``, ``fresh``, ``filtered+fresh``,
            ``diverse``, ``matched``.
        reconstructed: by strength, the result on real images redrawn with this strength; can be empty.
        class_names: C names.
        real_again: one result on an independent real sample as large as ``real``, two results on the halves
            of the real images (which differ more than whole sets), or none.
        gan_test: by strength, ``mean``, ``low`` and ``high`` of the GAN-test, for ``sweep``.

    Returns:
        The section as in ``docs/results_json.md``; accuracies and terms are fractions.

    Raises:
        ValueError: if ``real`` or ``plain`` is missing, a role is unknown, there are more than two results in
            ``real_again``, or class names, seeds or test labels differ.
    """
    _check(arms, reconstructed, real_again, class_names)
    strength = min(reconstructed, default=None)
    roles = dict(arms) if strength is None else {**arms, _REDRAWN: reconstructed[strength]}
    correct = {role: _correct(result) for role, result in roles.items()}
    variants = [role for role in VARIANTS if role in arms]
    best = max(variants, key=lambda role: float(np.mean(arms[role].val_accuracy)))
    floor = _noise_floor(correct["real"], [_correct(result) for result in real_again])
    cells = gap_terms(correct, best=best)
    terms = _with_shares(_intervals(cells, best), floor["floor"])
    excess = _difference(appearance_excess(cells)) if reconstructed else None
    hypothesis = _hypothesis(terms, excess, best=best, strength=strength, floor=floor["floor"])
    plateau = {role: summarise_plateau(result) for role, result in roles.items()}
    return {
        "best": best,
        "terms": terms,
        "path": _path(correct, PATH),
        "reverse_path": _path(correct, REVERSE_PATH),
        "noise_floor": floor,
        "hypothesis": hypothesis | {"sentence": hypothesis["sentence"] + _before_plateau(plateau)},
        "plateau": plateau,
        "largest": _largest(terms),
        "arms": {role: _arm(result, correct, role) for role, result in roles.items()},
        "sweep": _sweep(reconstructed, correct["real"], gan_test or {}),
        "per_class": _per_class(correct, cells, arms["real"].labels, class_names, best=best),
    }


def _accuracy(correct: np.ndarray) -> dict[str, float]:
    return asdict(Interval.of(accuracy_interval(correct)))


def _intervals(cells: Mapping[str, np.ndarray], best: str) -> dict[str, dict[str, float]]:
    """Each term with its interval; if the plain images are the best, recovering nothing is no measurement."""
    terms = {name: _difference(values) for name, values in cells.items()}
    nothing = asdict(Interval(mean=0.0, low=0.0, high=0.0))
    return terms | ({"recovered": nothing} if best == "plain" else {})


def _difference(values: np.ndarray) -> dict[str, float]:
    """The mean of a term with its interval; for one image a term lies in [-1, 1], (S, N)."""
    return asdict(Interval.of(mean_interval(values, limits=(-1.0, 1.0))))


def _correct(result: ArmResult) -> np.ndarray:
    """Correct and wrong predictions as 1.0 and 0.0, (S, N)."""
    return result.correct.astype(np.float64)


def _sweep(
    reconstructed: Mapping[float, ArmResult],
    real: np.ndarray,
    gan_test: Mapping[float, Mapping[str, float]],
) -> list[dict[str, Any]]:
    """Accuracy after training on redrawn images, by strength in ascending order."""
    return [
        {
            "strength": float(strength),
            "accuracy": _accuracy(_correct(result)),
            "minus_real": _difference(_correct(result) - real),
            **({"gan_test": dict(gan_test[strength])} if strength in gan_test else {}),
        }
        for strength, result in sorted(reconstructed.items())
    ]


def _noise_floor(real: np.ndarray, others: Sequence[np.ndarray]) -> dict[str, Any]:
    again = [real, *others][-2:] if others else []
    difference = _difference(again[0] - again[1]) if again else None
    spread = float(real.mean(axis=1).std(ddof=1)) if len(real) > 1 else 0.0
    return {
        "measured_by": _FLOORS[len(others)],
        "difference": difference,
        "seed_spread": spread,
        "floor": max(spread, abs(difference["mean"]) if difference else 0.0),
    }


def _with_shares(terms: Mapping[str, dict[str, float]], floor: float) -> dict[str, dict[str, Any]]:
    """Add ``share`` (None if there is no gap) and ``distinguishable`` to each term."""

    def distinguishable(term: Mapping[str, float]) -> bool:
        return (term["low"] > 0 or term["high"] < 0) and abs(term["mean"]) > floor

    is_gap = distinguishable(terms["total"]) and terms["total"]["mean"] > 0
    parts = shares({name: term["mean"] for name, term in terms.items()}) if is_gap else {}
    return {
        name: term | {"share": parts.get(name), "distinguishable": distinguishable(term)}
        for name, term in terms.items()
    }


def _path(correct: Mapping[str, np.ndarray], steps: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    differences = path_terms(correct, steps)
    return [
        {"term": term, "from": before, "to": after} | _difference(values)
        for (term, before, after), values in zip(steps, differences, strict=False)
    ]


def _largest(terms: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The largest positive term that is distinguishable from noise, which is worth reducing first."""
    found = [
        name
        for name in _ATTACKABLE
        if name in terms and terms[name]["distinguishable"] and terms[name]["mean"] > 0
    ]
    return max(found, key=lambda name: float(terms[name]["mean"]), default=None)


def _arm(result: ArmResult, correct: Mapping[str, np.ndarray], role: str) -> dict[str, Any]:
    return {
        "accuracy": _accuracy(correct[role]),
        "val_accuracy": float(np.mean(result.val_accuracy)),
        "relative_drop": relative_drop(float(correct["real"].mean()), float(correct[role].mean())),
    }


def _per_class(
    correct: Mapping[str, np.ndarray],
    cells: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    best: str,
) -> dict[str, Any]:
    """Accuracies and terms of each class, averaged over its test images and trainings.

    Both are None for a class without test images. ``intervals`` has the interval of each term over the test
    images of the class and the seeds; it is None for a class with fewer than two test images.
    """
    shown = {"real": "real", _REDRAWN: _REDRAWN, "plain": "plain", "best": best}
    columns = {name: correct[role] for name, role in shown.items() if role in correct}
    terms = {name: cells[name] for name in _PER_CLASS if name in cells}
    rows = {}
    for label, class_name in enumerate(class_names):
        of_class = np.flatnonzero(labels == label)
        row: dict[str, Any] = {
            name: float(cell[:, of_class].mean()) if len(of_class) else None
            for name, cell in (columns | terms).items()
        }
        rows[class_name] = row | {
            "intervals": _intervals({name: cell[:, of_class] for name, cell in terms.items()}, best)
            if len(of_class) > 1
            else None
        }
    return rows


def _hypothesis(
    terms: Mapping[str, Mapping[str, Any]],
    excess: Mapping[str, float] | None,
    *,
    best: str,
    strength: float | None,
    floor: float,
) -> dict[str, Any]:
    total = terms["total"]
    is_gap = total["share"] is not None
    # Without redrawn images appearance is unknown, so its interval is the whole range.
    ends = (excess["low"], excess["high"]) if excess else (-1.0, 1.0)
    outcome = content_hypothesis(ends, is_gap=is_gap)
    if not is_gap:
        sentence = _no_gap(total, floor)
    elif "appearance" not in terms:
        sentence = (
            f"Undecided: plain synthetic images lose {_points(total)}, but no real image was redrawn, so "
            "appearance is not known."
        )
    else:
        claim, compared = {
            "supported": ("Supported, content explains most of the drop", ", less than half"),
            "refuted": ("Refuted, content does not explain most of the drop", ", more than half"),
        }.get(
            outcome,
            ("Undecided, whether content explains most of the drop", "; that may be less or more than half"),
        )
        recovered = f"better sampling ({best}) recovers {_number(terms['recovered'])}"
        if best == "plain":
            recovered = "no other sampling was better on validation images"
        sentence = (
            f"{claim}: of {_points(total)} that plain synthetic images lose, real images redrawn at strength "
            f"{strength:g} lose {_points(terms['appearance'])}{compared}. Of the rest, {recovered} and "
            f"content keeps {_number(terms['content'])}."
        )
    return {"rule": _RULE, "outcome": outcome, "sentence": sentence, "strength": strength, "excess": excess}


def _before_plateau(plateau: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Sentences for a gap between sets that longer trainings may move."""
    sentence = ""
    if rising := still_rising(plateau):
        sentence += (
            " The gap is taken before the plateau: in the second half of the training, accuracy on "
            f"validation images still rose for {rising}."
        )
    if unclear := cannot_tell(plateau):
        sentence += f" The trainings cannot tell whether it still rose for {unclear}."
    return sentence


def _no_gap(total: Mapping[str, Any], floor: float) -> str:
    if total["mean"] < 0 and total["distinguishable"]:
        better = {"mean": -total["mean"], "low": -total["high"], "high": -total["low"]}
        return f"No drop to explain: plain synthetic images are better than real ones by {_points(better)}."
    return (
        f"No drop to explain: plain synthetic images lose {_points(total)}, not distinguishable from 0 "
        f"(noise floor {100 * floor:.1f})."
    )


def _points(interval: Mapping[str, float]) -> str:
    return f"{_number(interval)} points [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"


def _number(interval: Mapping[str, float]) -> str:
    return f"{100 * interval['mean']:.1f}"


def _check(
    arms: Mapping[str, ArmResult],
    reconstructed: Mapping[float, ArmResult],
    real_again: Sequence[ArmResult],
    class_names: Sequence[str],
) -> None:
    missing, unknown = {"real", "plain"} - set(arms), set(arms) - {"real", *VARIANTS}
    if missing or unknown:
        raise ValueError(
            f"arms must have the roles real and plain, and no other roles than {', '.join(VARIANTS)}, "
            f"got {', '.join(arms)}"
        )
    if len(real_again) >= len(_FLOORS):
        raise ValueError(
            f"real_again must have one result or the results of two halves, got {len(real_again)}"
        )
    real = arms["real"]
    if real.probabilities.shape[-1] != len(class_names):
        raise ValueError(
            f"class_names must have {real.probabilities.shape[-1]} names, got {len(class_names)}"
        )
    for result in (*arms.values(), *reconstructed.values(), *real_again):
        if result.seeds != real.seeds or not np.array_equal(result.labels, real.labels):
            raise ValueError(
                f"all results must have the seeds and test labels of real, but {result.arm!r} has others"
            )
