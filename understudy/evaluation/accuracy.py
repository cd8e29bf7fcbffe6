"""Accuracy of arms on real test images, overall and by class: intervals, differences, verdict."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from understudy.evaluation.choice import Choice, choose, why_chosen
from understudy.evaluation.class_sizes import MEASURES
from understudy.evaluation.over_classes import balanced_accuracy, difference_over_classes, over_classes
from understudy.functional.class_means import (
    balanced_accuracy_terms,
    macro_f1_terms,
    precision_per_class,
    recall_per_class,
)
from understudy.functional.clusters import num_draws
from understudy.functional.intervals import Interval, accuracy_interval, paired_difference
from understudy.training.records import ArmResult

TOLD = 0.02
"""A difference in accuracy that a test should be able to tell."""
_CLEARLY_MORE = 1.1  # times as many test images
_BASELINE = "real"
_LONG = "real-long"
_WITH_VAL = "real+val"
CLASS_BALANCED = "real+class-balanced"
"""The arm of real images alone with every class equally often."""
RIVALS = {
    "minus_real": _BASELINE,
    "minus_real_long": _LONG,
    "minus_real_val": _WITH_VAL,
    "minus_class_balanced": CLASS_BALANCED,
}
"""By the difference of an arm to it, each arm of real images alone; every verdict compares with those that
were trained."""
_FURTHER = {
    _WITH_VAL: "real images with the validation images to learn from",
    CLASS_BALANCED: "real images with every class equally often",
}
_DIFFERENCES = (*RIVALS, "minus_plain")
_ON_VAL = ("val_accuracy", "val_balanced_accuracy", "val_balanced_accuracy_standard_error")
_CHOSEN = "the chosen arm"  # what the arm of the verdict is called if it is not the same in all trainings
FEW_VAL = 300  # the error of an accuracy of 90% is then 1.7 points; as train images they may be worth more


def summarise(results: Sequence[ArmResult], *, use_val: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Summarise every arm for ``results.json``.

    Args:
        results: one result per arm, including ``real``, all with the same test images and seeds.
        use_val: arms that learn from the validation images, so that their figures on them mean nothing.

    Returns:
        By arm name: ``accuracy`` (``mean``, ``low``, ``high``, and one value per training in ``seeds``),
        ``val_accuracy`` (mean over trainings; absent for ``use_val``), ``per_class`` (recall, mean over
        trainings; None for a class without test images), ``per_class_intervals`` (``mean``, ``low`` and
        ``high`` of the recall, and ``minus_real`` with the same of its difference to ``real``; None for a
        class with fewer than two test images, or groups of them), ``precision_per_class`` (None for a class
        that is never predicted), ``minus_real`` (``mean``, ``low``, ``high``; zeros for ``real``), ``steps``
        per training, and ``seconds``. Accuracies are fractions. If an arm has as many steps as the arm
        ``real-long`` but not as many as ``real``, it also has ``minus_real_long``. If ``real+val`` was
        compared, all other arms but ``real`` have ``minus_real_val``; if ``real+class-balanced`` was, those
        with as many steps have ``minus_class_balanced``. An arm with strategies also has
        ``minus_plain``, the difference to the same arm without them, if that arm exists.
        ``balanced_accuracy`` and ``macro_f1`` are like ``accuracy``, and ``balanced_accuracy`` holds its own
        differences. ``val_balanced_accuracy`` and its standard error are missing if a training was recorded
        without them.

    Raises:
        ValueError: if ``real`` is missing, or seeds or labels differ.
    """
    by_name = {result.arm: result for result in results}
    if _BASELINE not in by_name:
        raise ValueError(f"the arm {_BASELINE!r} must be among the results, got {sorted(by_name)}")
    real, long = by_name[_BASELINE], by_name.get(_LONG)
    for result in results:
        if result.seeds != real.seeds or not np.array_equal(result.labels, real.labels):
            raise ValueError(
                f"arms must have the seeds and test labels of {_BASELINE!r}, but {result.arm!r} has others"
            )
    summaries = {}
    on_val = figures_on_val(results, use_val=use_val)
    for result in results:
        is_longer = long is not None and result.arm != _LONG and result.steps == long.steps != real.steps
        plain = by_name.get(result.arm.split("@")[0])
        with_val, balanced = (
            None if result.arm in (_BASELINE, name) else by_name.get(name)
            for name in (_WITH_VAL, CLASS_BALANCED)
        )
        if balanced is not None and balanced.steps != result.steps:
            balanced = None  # longer training would count as a gain
        others = (real, long if is_longer else None, with_val, balanced, None if plain is result else plain)
        compared = {
            name: other for name, other in zip(_DIFFERENCES, others, strict=True) if other is not None
        }
        summaries[result.arm] = _summarise_one(result, compared, on_val[result.arm])
    return summaries


def figures_on_val(
    results: Sequence[ArmResult], *, use_val: Collection[str] = (), without: int | None = None
) -> dict[str, dict[str, float]]:
    """The figures on validation images, which choose between arms: means over trainings.

    Args:
        results: one result per arm.
        use_val: arms that learn from the validation images, so that they have no such figures.
        without: number of a training that is left out.

    Returns:
        By arm, ``val_accuracy`` and, if every training was recorded with them, ``val_balanced_accuracy`` and
        ``val_balanced_accuracy_standard_error``, that of one training.
    """
    found = dict[str, dict[str, float]]()
    for result in results:
        figures = {name: getattr(result, name) for name in _ON_VAL}
        kept = {} if result.arm in use_val else figures
        found[result.arm] = {
            name: float(np.mean([value for index, value in enumerate(values) if index != without]))
            for name, values in kept.items()
            if values
        }
    return found


def confusion(result: ArmResult) -> np.ndarray:
    """Count how often each true class was predicted as each class, over all trainings.

    Returns:
        int64 of shape (C, C), true classes in rows; the sum is trainings times test images.
    """
    num_seeds, _, num_classes = result.probabilities.shape
    cells = np.tile(result.labels, num_seeds) * num_classes + result.predicted.ravel()
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def measured_by(arm: Mapping[str, Any], measure: str) -> Mapping[str, Any]:
    """One measure of an arm: ``mean``, ``low``, ``high``, ``seeds`` and its differences to other arms.

    Args:
        arm: a value of the result of :func:`summarise`.
        measure: a key of :data:`understudy.evaluation.class_sizes.MEASURES`.
    """
    differences = {name: arm[name] for name in _DIFFERENCES if name in arm}
    return {**arm[measure], **(differences if measure == "accuracy" else {})}


def verdict(
    arms: Mapping[str, Mapping[str, Any]],
    choice: Choice,
    *,
    num_test: int,
    with_val: Mapping[str, str],
    judged: Mapping[str, Any] | None = None,
    num_groups: int | None = None,
) -> dict[str, Any]:
    """Decide whether synthetic images help, and say so: the comparison with ``real`` first.

    The arm is chosen on validation images and judged on test images. It is compared with ``real``, or with
    ``real-long`` if it was trained for longer and that arm has the same number of steps; with ``real+val``,
    since someone without synthetic images needs no validation images to choose between arms and can train on
    them; and with ``real+class-balanced``, since rare classes can be seen more often without synthetic
    images. Beside ``real+val``, the same arm with validation images counts if it is among ``arms``.

    Args:
        arms: the result of :func:`summarise`.
        choice: how the arm is chosen; its measure also judges.
        num_test: number of test images.
        with_val: by name of an arm, the name of the same arm that also learns from the validation images.
        judged: the result of
            :func:`understudy.evaluation.other_trainings.judged_by_other_trainings`; without it, the arm is
            chosen and judged by the same trainings.
        num_groups: number of groups of the test images, if they have groups.

    Returns:
        ``best`` (chosen by :func:`understudy.evaluation.choice.choose`; ``real`` without an arm to choose),
        ``chosen_on`` (``val``), ``why`` (why it was chosen, in words; missing without an arm to choose),
        ``judged`` (only with ``judged``: its ``arms``, and its figures in this measure),
        ``measure``, ``helps`` (whether the 95% intervals of all these differences lie above 0) and
        ``sentence``; with ``real+val`` also ``against_val``, the arm compared with it.
    """
    measure, real = choice.measure, measured_by(arms[_BASELINE], choice.measure)
    of_groups = "" if num_groups is None else f" of {num_groups:,} groups"
    terms = f"{MEASURES[measure]} on {num_test:,} real test images{of_groups} ({_seeds_of(real)})"
    answer = {"best": _BASELINE, "chosen_on": "val", "measure": measure, "helps": False}
    if not any(name in choice.candidates for name in arms):
        return answer | {"sentence": _nothing_known(real, terms)}
    chosen = choose(arms, choice)
    best = chosen.arm
    name, figures, partners = best, dict(arms), with_val
    if judged:
        name, partners = _CHOSEN, {_CHOSEN: with_val.get(best, _CHOSEN)}
        figures[name] = judged
    helps, sentence = judge(figures, name, terms=terms, with_val=partners, measure=measure)
    pair = (measured_by(figures[arm], measure) for arm in (name, partners.get(name, name)))
    sentence += _too_small(list(deciding_differences(*pair).values()), num_test, num_groups)
    if _WITH_VAL in arms:
        answer["against_val"] = with_val.get(best, best)
    elif choice.num_val < FEW_VAL:
        sentence += f" {_unused_val(choice.num_val)}"
    why = why_chosen(chosen, arms, choice)
    if judged:
        answer["judged"] = {"arms": judged["arms"], **measured_by(judged, measure)}
        why += f" {_arms_of_trainings(judged['arms'])}"
    return answer | {"best": best, "why": why, "helps": helps, "sentence": sentence}


def judge(
    arms: Mapping[str, Mapping[str, Any]],
    best: str,
    *,
    terms: str,
    with_val: Mapping[str, str],
    measure: str = "accuracy",
    runs: str = "",
) -> tuple[bool, str]:
    """Compare an arm with the real images alone, in each of the arms :data:`RIVALS` that were trained.

    Args:
        arms: figures of the arms, of one run or means over several.
        best: the arm to judge.
        terms: what the figures are, in words.
        with_val: as for :func:`verdict`.
        measure: a key of :data:`understudy.evaluation.class_sizes.MEASURES`.
        runs: which runs the figures are means of, in words. Empty for a single run, whose sentence is about
            its images and its generator.

    Returns:
        Whether the 95% intervals of all differences lie above 0, and the sentence that says so.
    """
    found = measured_by(arms[best], measure)
    equal_steps = "minus_real_long" in found
    against = measured_by(arms[_LONG if equal_steps else _BASELINE], measure)["mean"]
    figures = f"{found['mean']:.1%} against {against:.1%} {terms}."
    alone = f"the real images alone{f' for as many steps ({_LONG})' if equal_steps else ''}"
    partner = with_val.get(best, best)
    deciding = deciding_differences(found, measured_by(arms[partner], measure))
    to_real = deciding.pop(_BASELINE)
    if not equal_steps:
        figures += _other_lengths(arms[best]["steps"], arms[_BASELINE]["steps"])
    helps = to_real["low"] > 0
    sentences = [f"{_claim(best, alone, to_real, runs)}: {figures}"]
    for rival, difference in deciding.items():
        name = partner if rival == _WITH_VAL else best
        words = f"{_FURTHER[rival]} ({rival}, {measured_by(arms[rival], measure)['mean']:.1%})"
        sentences.append(_claim_beyond(name, words, difference, runs=runs, gains=helps))
        helps = helps and difference["low"] > 0
    if CLASS_BALANCED in arms and "minus_class_balanced" not in found:
        sentences.append(f"{CLASS_BALANCED} made another number of steps, so it was not compared.")
    return helps, " ".join(sentences)


def deciding_differences(
    found: Mapping[str, Any], of_partner: Mapping[str, Any]
) -> dict[str, Mapping[str, float]]:
    """The differences that decide whether an arm helps, by rival of real images alone.

    Args:
        found: figures of the arm in one measure, from :func:`measured_by`.
        of_partner: those of the arm that is compared with ``real+val``: the same one, or its form with
            validation images.

    Returns:
        First ``real``, against which the arm is compared with as many steps if that is known; then
        ``real+val`` and ``real+class-balanced``, if the arm was compared with them.
    """
    further = {
        _WITH_VAL: of_partner.get("minus_real_val"),
        CLASS_BALANCED: found.get("minus_class_balanced"),
    }
    known = {rival: difference for rival, difference in further.items() if difference is not None}
    return {_BASELINE: found.get("minus_real_long", found["minus_real"]), **known}


def images_to_tell_two_points(differences: Sequence[Mapping[str, float]], num_test: int) -> int | None:
    """About how many test images tell a difference of two points; None if these can, or one was found.

    The interval is taken to narrow with the square root of their number, which holds as far as test images,
    and not trainings, decide its width.

    Args:
        differences: those that decide a verdict, each with ``low`` and ``high``.
        num_test: number of test images.

    Returns:
        A number of images, rounded up to two digits.
    """
    half = max(
        ((one["high"] - one["low"]) / 2 for one in differences if one["low"] <= 0 <= one["high"]), default=0
    )
    wanted = num_test * (half / TOLD) ** 2
    if wanted < _CLEARLY_MORE * num_test:
        return None
    unit = int(10 ** max(0, math.floor(math.log10(wanted)) - 1))
    return math.ceil(wanted / unit) * unit


def _too_small(differences: Sequence[Mapping[str, float]], num_test: int, num_groups: int | None) -> str:
    """Say how many test images or groups it takes, if these cannot tell two points; else nothing."""
    wanted = images_to_tell_two_points(differences, num_groups or num_test)
    if wanted is None:
        return ""
    what = "test images" if num_groups is None else "groups of test images"
    told = f" This test is too small for a difference of {100 * TOLD:g} points"
    return f"{told}: that takes about {wanted:,} {what}."


def _arms_of_trainings(arms: Sequence[str]) -> str:
    return (
        "The verdict judges the chosen arm in each training by the choice of the other trainings: "
        f"{', '.join(arms)}."
    )


def _other_lengths(steps: int, of_real: int) -> str:
    if steps == of_real:
        return ""
    lengths = f"{steps:,} steps, {_BASELINE} {of_real:,}"
    return f" It made {lengths}: add the arm {_LONG} to see what the images add."


def _seeds_of(measured: Mapping[str, Any]) -> str:
    count = len(measured["seeds"])
    return f"{count} seed{'s' if count > 1 else ''}"


def _nothing_known(real: Mapping[str, Any], terms: str) -> str:
    told = "No arm used synthetic images, so nothing is known of their worth"
    return f"{told}: real images alone give {real['mean']:.1%} {terms}."


def _unused_val(num_val: int) -> str:
    return (
        f"The {num_val:,} validation images were used for choices alone: add the arm {_WITH_VAL} to see what "
        "they give as train images."
    )


def _claim(best: str, alone: str, difference: Mapping[str, float], runs: str) -> str:
    mean, low, high = (100 * difference[end] for end in ("mean", "low", "high"))
    if low > 0:
        gain = f"{mean:.1f} points [{low:.1f}, {high:.1f}]"
        if runs:
            return f"{runs}, {best} beats training on {alone} by {gain}"
        return f"With these images and this generator, {best} gains {gain} over training on {alone}"
    if high < 0:
        worse = f"{best} is worse than {alone} by {-mean:.1f} points [{-high:.1f}, {-low:.1f}]"
        return f"{runs}, {worse}" if runs else f"Synthetic images do not help here: {worse}"
    signed = f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]"
    if runs:
        return f"{runs}, no difference between {best} and {alone} is shown, {signed}"
    return f"This test shows no difference between {best} and {alone}, {signed}"


def _claim_beyond(name: str, rival: str, difference: Mapping[str, float], *, runs: str, gains: bool) -> str:
    """Say how an arm compares with a further rival; ``gains`` says whether it beats all before."""
    mean, low, high = (100 * difference[end] for end in ("mean", "low", "high"))
    first = f"T{name[1:]}" if name.startswith("the ") else name  # names of arms stay as they are
    if low > 0:
        ends = f"{mean:.1f} points [{low:.1f}, {high:.1f}]"
        who = f"{first} also" if gains else first
        return f"{who} beats {rival} by {ends}." if runs else f"{who} gains {ends} over {rival}."
    if high < 0:
        who = f"But {name}" if gains else first
        return f"{who} is worse than {rival} by {-mean:.1f} points [{-high:.1f}, {-low:.1f}]."
    return f"Against {rival}, {name} shows no difference, {mean:+.1f} points [{low:+.1f}, {high:+.1f}]."


def _summarise_one(
    result: ArmResult, compared: Mapping[str, ArmResult], on_val: Mapping[str, float]
) -> dict[str, Any]:
    """One arm, with its difference to each of the other arms, by the name of the difference."""
    labels, counts = result.labels, confusion(result)
    differences = {
        name: _interval(paired_difference(result.correct, other.correct, result.groups))
        for name, other in compared.items()
    }
    if result.arm == _BASELINE:
        differences["minus_real"] = _interval((0.0, 0.0, 0.0))
    f1 = macro_f1_terms(result.predicted, labels)
    return {
        "accuracy": _interval(accuracy_interval(result.correct, result.groups)) | _seeds(result.correct),
        **on_val,
        "per_class": _or_none(recall_per_class(counts)),
        "per_class_intervals": [
            _recall(result, compared["minus_real"], labels == label) for label in range(len(counts))
        ],
        "precision_per_class": _or_none(precision_per_class(counts)),
        **differences,
        "balanced_accuracy": _balanced(result, compared),
        "macro_f1": over_classes(f1, labels, result.groups) | _seeds(f1),
        "steps": result.steps,
        "seconds": result.seconds,
    }


def _recall(result: ArmResult, real: ArmResult, of_class: np.ndarray) -> dict[str, Any] | None:
    """The recall of a class, whose test images are given as bool (N,), with its difference to ``real``."""
    if num_draws(of_class, result.groups) < 2:
        return None
    groups = None if result.groups is None else result.groups[of_class]
    own, theirs = result.correct[:, of_class], real.correct[:, of_class]
    difference = (0.0, 0.0, 0.0) if result is real else paired_difference(own, theirs, groups)
    return {**_interval(accuracy_interval(own, groups)), "minus_real": _interval(difference)}


def _balanced(result: ArmResult, compared: Mapping[str, ArmResult]) -> dict[str, Any]:
    """Balanced accuracy with its differences to other arms."""
    labels = result.labels
    terms = balanced_accuracy_terms(result.predicted, labels)
    found: dict[str, Any] = {**balanced_accuracy(result.correct, labels, result.groups), **_seeds(terms)}
    for name, other in compared.items():
        of_other = balanced_accuracy_terms(other.predicted, labels)
        found[name] = difference_over_classes(terms, of_other, labels, result.groups)
    if result.arm == _BASELINE:
        found["minus_real"] = _interval((0.0, 0.0, 0.0))
    return found


def _interval(ends: tuple[float, float, float]) -> dict[str, Any]:
    return asdict(Interval.of(ends))


def _seeds(values: np.ndarray) -> dict[str, list[float]]:
    return {"seeds": values.mean(axis=1).tolist()}


def _or_none(shares: np.ndarray) -> list[float | None]:
    return [None if np.isnan(share) else float(share) for share in shares]
