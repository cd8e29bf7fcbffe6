"""Summaries of several runs: means with intervals over runs, and the sentence of a study."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from understudy.evaluation.accuracy import RIVALS, measured_by
from understudy.evaluation.class_sizes import MEASURES
from understudy.functional.intervals import student_interval

_NORMAL = 1.96  # the 97.5% quantile of the normal distribution


def summarise_points(
    rows: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, Any]], *, test_images: bool = False
) -> list[dict[str, Any]]:
    """Summarise every arm at every point of a study.

    Args:
        rows: one per run, with ``point`` and ``arms``. Each arm has ``accuracy`` and ``minus_real`` (each
            ``mean``, ``low``, ``high``), ``val_accuracy`` and ``steps``; arms that were trained for longer
            than ``real`` may also have ``minus_real_long``.
        points: the points with ``point`` and further fields, in the order of the result. Points without a
            run are left out.
        test_images: whether intervals cover other test images too, see :func:`over_runs`.

    Returns:
        For each point its fields, the number of ``runs``, and ``arms``. Each arm has ``accuracy`` and
        ``minus_real`` from :func:`over_runs`, also ``minus_real_long`` if every run has it, the mean
        ``val_accuracy``, and ``steps``; also ``balanced_accuracy`` (with its differences), ``macro_f1`` and
        ``val_balanced_accuracy`` if every run has them.
    """
    summaries = []
    for point in points:
        runs = [row["arms"] for row in rows if row["point"] == point["point"]]
        if runs:
            names = dict.fromkeys(name for arms in runs for name in arms)
            summary = {
                name: summarise_arm([arms[name] for arms in runs if name in arms], test_images=test_images)
                for name in names
            }
            summaries.append({**point, "runs": len(runs), "arms": summary})
    return summaries


def over_runs(
    measured: Sequence[Mapping[str, float]], *, lowest: float, highest: float, test_images: bool = False
) -> dict[str, Any]:
    """Average a figure over runs, with its 95% interval.

    With the same test images in n runs, a figure of run j is ``mu + t + r_j + e_j``: what the test images add
    in all runs, what differs between runs, and what the test images add in this run alone. The variance of
    the mean is ``Var(t) + (Var(r) + Var(e)) / n``. The spread of the runs shows the second part only, because
    ``t`` is the same in all of them; the interval of a run by itself covers ``t`` and ``e``, at least the
    first part. So the squared distances of the ends to the mean add up (MOVER, Zou and Donner 2008). The sum
    is rather too large, by the variance of ``e``, which cannot be told from ``t`` without the answers of
    every run.

    Args:
        measured: ``mean``, ``low`` and ``high`` of each run.
        lowest: smallest possible value; the interval is cut there.
        highest: largest possible value; the interval is cut there.
        test_images: whether the interval allows for other test images too, as above; otherwise it is
            Student's over runs.

    Returns:
        ``mean``, ``low``, ``high``; ``runs``, the mean of each run; ``interval``: ``runs`` for a Student
        interval over several runs, ``runs and images`` if it allows for other test images, ``images`` for the
        interval of a single run; and with several runs ``spread``, see :func:`spread_of`. Runs with equal
        means say nothing about their spread, so they keep the average interval of one run.

    Example:
        >>> over_runs([{"mean": 0.5, "low": 0.4, "high": 0.6}], lowest=0, highest=1)["low"]
        0.4
        >>> runs = [{"mean": mean, "low": 0, "high": 1} for mean in (0.5, 1.0)]
        >>> over_runs(runs, lowest=0, highest=1)["high"]
        1.0
    """
    means = [float(run["mean"]) for run in measured]
    spread = {"spread": spread_of(measured)} if len(means) > 1 else {}
    of_one_run = {end: float(np.mean([run[end] for run in measured])) for end in ("low", "high")}
    if len(set(means)) == 1:
        return {"mean": means[0], **of_one_run, "runs": means, "interval": "images", **spread}
    mean, low, high = (float(student_interval(means)[end]) for end in ("mean", "low", "high"))
    if test_images:
        low = mean - math.hypot(mean - low, mean - of_one_run["low"])
        high = mean + math.hypot(high - mean, of_one_run["high"] - mean)
    return {
        "mean": mean,
        "low": float(max(lowest, low)),
        "high": float(min(highest, high)),
        "runs": means,
        "interval": "runs and images" if test_images else "runs",
        **spread,
    }


def spread_of(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """How much runs differ, beside what the interval of a run by itself says.

    Args:
        measured: ``mean``, ``low`` and ``high`` of each of at least two runs.

    Returns:
        ``between``, the standard deviation of the means of the runs; and ``within``, the standard error that
        the 95% intervals of the runs stand for: the root mean square of their half widths, divided by 1.96.

    Example:
        >>> runs = [{"mean": mean, "low": mean - 0.0196, "high": mean + 0.0196} for mean in (0.5, 0.6)]
        >>> {name: round(value, 3) for name, value in spread_of(runs).items()}
        {'between': 0.071, 'within': 0.01}
    """
    halves = [(run["high"] - run["low"]) / 2 for run in measured]
    within = np.sqrt(np.mean(np.square(halves))) / _NORMAL
    return {"between": float(np.std([run["mean"] for run in measured], ddof=1)), "within": float(within)}


def difference_field(arm: Mapping[str, Any]) -> str:
    """The name of the field with the difference that a study reports.

    An arm that trains for longer than ``real`` is compared with ``real-long``, as in a single run.

    Args:
        arm: an arm of :func:`summarise_points`.

    Returns:
        ``minus_real_long``, the difference to the arm ``real-long``, if the arm has it; otherwise
        ``minus_real``.

    Example:
        >>> difference_field({"minus_real": {"mean": 0.1}})
        'minus_real'
        >>> difference_field({"minus_real": {"mean": 0.1}, "minus_real_long": {"mean": 0}})
        'minus_real_long'
    """
    return "minus_real_long" if "minus_real_long" in arm else "minus_real"


def judged_by(points: Sequence[Mapping[str, Any]], measure: str) -> list[dict[str, Any]]:
    """The points with another measure and its differences in the place of accuracy.

    Args:
        points: the result of :func:`summarise_points`.
        measure: a key of :data:`understudy.evaluation.class_sizes.MEASURES`.
    """

    def judged(arm: Mapping[str, Any]) -> dict[str, Any]:
        on_val = f"val_{measure}" if f"val_{measure}" in arm else "val_accuracy"
        return {
            **arm,
            **(measured := measured_by(arm, measure)),
            "accuracy": measured,
            **({"val_accuracy": arm[on_val]} if on_val in arm else {}),  # absent for real+val
        }

    return [{**point, "arms": {name: judged(arm) for name, arm in point["arms"].items()}} for point in points]


def study_sentence(
    points: Sequence[Mapping[str, Any]],
    *,
    unit: str,
    ordered: bool,
    candidates: Collection[str],
    measure: str = "accuracy",
) -> str:
    """Summarise the finding of a study in one sentence.

    The arm, and the point if points have no order, are chosen on validation images and judged on test images.

    Args:
        points: the result of :func:`summarise_points`, each with a ``label``; at least one.
        unit: the quantity or thing that a label stands for, such as ``guidance scale``.
        ordered: compare the first point with the last; otherwise, name the best point.
        candidates: names of the arms that use synthetic images and do not learn from validation images.
        measure: a key of :data:`understudy.evaluation.class_sizes.MEASURES`, which chooses and judges.
    """
    points = judged_by(points, measure)
    sentence = _sentence(points, unit=unit, ordered=ordered, candidates=candidates)
    if measure == "accuracy":
        return sentence
    return f"{sentence.removesuffix('.')}, in {MEASURES[measure]}."


def _sentence(
    points: Sequence[Mapping[str, Any]], *, unit: str, ordered: bool, candidates: Collection[str]
) -> str:
    arms = [
        name
        for name in dict.fromkeys(name for point in points for name in point["arms"])
        if name in candidates
    ]
    if not arms:
        return "No arm used synthetic images, so nothing is known of their worth."
    if ordered:
        shown = [point for point in points if any(name in point["arms"] for name in arms)]
        arm = max(
            arms,
            key=lambda name: np.mean(
                [point["arms"][name]["val_accuracy"] for point in shown if name in point["arms"]]
            ),
        )
        shown = [point for point in shown if arm in point["arms"]]
        if len(shown) == 1:
            return f"With {shown[0]['label']} {unit}, {_claim(arm, shown[0])} {_runs(shown)}."
        first, last = shown[0], shown[-1]
        against, then = _against(arm, first), _against(arm, last)
        if against != then:  # two differences to two arms are no trend
            return (
                f"With {first['label']} {unit}, the difference between {arm} and {against} is "
                f"{_points(first, arm)} points; with {last['label']}, that to {then} is {_points(last, arm)} "
                f"points {_runs([first, last])}."
            )
        return (
            f"From {first['label']} to {last['label']} {unit}, the difference between {arm} and "
            f"{against} goes from {_points(first, arm)} to {_points(last, arm)} points "
            f"{_runs([first, last])}."
        )
    choices = [(point, name) for point in points for name in arms if name in point["arms"]]
    best, arm = max(choices, key=lambda choice: choice[0]["arms"][choice[1]]["val_accuracy"])
    if len(points) == 1:
        return f"With the {unit} {best['label']}, {_claim(arm, best)} {_runs([best])}."
    return (
        f"Of {len(points)} {unit}s, {best['label']} did best on validation images: there, "
        f"{_claim(arm, best)} {_runs([best])}."
    )


def summarise_arm(measured: Sequence[Mapping[str, Any]], *, test_images: bool = False) -> dict[str, Any]:
    """Summarise one arm over runs; arguments and result are those of :func:`summarise_points`."""

    def of_all(*names: str) -> list[str]:
        """Names of the figures that every run has; runs of older versions have fewer."""
        return [name for name in names if all(name in run for run in measured)]

    return {
        "accuracy": over_runs(
            [run["accuracy"] for run in measured], lowest=0.0, highest=1.0, test_images=test_images
        ),
        **_differences(measured, test_images),
        **{
            name: over_runs([run[name] for run in measured], lowest=0.0, highest=1.0, test_images=test_images)
            | _differences([run[name] for run in measured], test_images)
            for name in of_all("balanced_accuracy", "macro_f1")
        },
        **{
            name: float(np.mean([run[name] for run in measured]))
            for name in of_all(*(name for name in measured[0] if name.startswith("val_")))
        },
        "steps": max(run["steps"] for run in measured),
    }


def _differences(measured: Sequence[Mapping[str, Any]], test_images: bool) -> dict[str, Any]:
    return {
        field: over_runs([run[field] for run in measured], lowest=-1.0, highest=1.0, test_images=test_images)
        for field in RIVALS
        if all(field in run for run in measured)
    }


def _against(arm: str, point: Mapping[str, Any]) -> str:
    """The baseline of an arm: real images alone, if possible with the same number of steps."""
    if difference_field(point["arms"][arm]) == "minus_real_long":
        return "the real images alone for as many steps (real-long)"
    longer = "real" in point["arms"] and point["arms"][arm]["steps"] != point["arms"]["real"]["steps"]
    return f"the real images alone{' (trained for fewer steps; add the arm real-long)' if longer else ''}"


def _difference(arm: str, point: Mapping[str, Any]) -> tuple[float, float, float]:
    """Mean, low and high of the difference, in points."""
    interval = point["arms"][arm][difference_field(point["arms"][arm])]
    return 100 * interval["mean"], 100 * interval["low"], 100 * interval["high"]


def _claim(arm: str, point: Mapping[str, Any]) -> str:
    mean, low, high = _difference(arm, point)
    if low > 0 and point["runs"] == 1:  # a single run beats nothing: other images may say otherwise
        return f"{arm} gains {mean:.1f} points [{low:.1f}, {high:.1f}] over {_against(arm, point)}"
    if low > 0:
        return f"{arm} beats {_against(arm, point)} by {mean:.1f} points [{low:.1f}, {high:.1f}]"
    if high < 0:
        return f"{arm} is worse than {_against(arm, point)} by {-mean:.1f} points [{-high:.1f}, {-low:.1f}]"
    return (
        f"no difference between {arm} and {_against(arm, point)} is shown, "
        f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]"
    )


def _points(point: Mapping[str, Any], arm: str) -> str:
    mean, low, high = _difference(arm, point)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def _runs(points: Sequence[Mapping[str, Any]]) -> str:
    fewest, most = min(point["runs"] for point in points), max(point["runs"] for point in points)
    number = f"{fewest} run" if fewest == most else f"{fewest} to {most} run"
    return f"({number}{'s' if most > 1 else ''}{' each' if len(points) > 1 else ''})"
