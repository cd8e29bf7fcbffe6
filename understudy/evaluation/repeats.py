"""Summaries of several runs: means with intervals over runs, and the sentence of a study."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from understudy.functional.intervals import student_interval


def summarise_points(
    rows: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Summarise every arm at every point of a study.

    Args:
        rows: one per run: ``point``, and by arm name in ``arms`` its ``accuracy``, ``minus_real`` (each
            ``mean``, ``low``, ``high``), ``val_accuracy``, ``steps``, and for arms that were trained for
            longer than ``real`` perhaps ``minus_real_long``.
        points: ``point`` and further fields of each, in the order in which they shall come; those without a
            run are left out.

    Returns:
        Per point its fields, the number of ``runs``, and by arm name in ``arms`` ``accuracy`` and
        ``minus_real`` as :func:`over_runs` gives them, likewise ``minus_real_long`` where every run has it,
        the mean ``val_accuracy``, and ``steps``.
    """
    summaries = []
    for point in points:
        own = [row for row in rows if row["point"] == point["point"]]
        if own:
            names = dict.fromkeys(name for row in own for name in row["arms"])
            arms = {
                name: _summarise([row["arms"][name] for row in own if name in row["arms"]]) for name in names
            }
            summaries.append({**point, "runs": len(own), "arms": arms})
    return summaries


def over_runs(measured: Sequence[Mapping[str, float]], *, lowest: float, highest: float) -> dict[str, Any]:
    """Average a figure over runs, with its 95% interval.

    Args:
        measured: what each run says of it: ``mean``, ``low``, ``high``.
        lowest: value that it cannot go below; the interval ends there.
        highest: the same above.

    Returns:
        ``mean``, ``low``, ``high``; ``runs``, the mean of each run; ``interval``: ``runs`` (Student, over the
        runs) with two runs or more, or ``bootstrap``, the single run's own.

    Example:
        >>> over_runs([{"mean": 0.5, "low": 0.4, "high": 0.6}], lowest=0, highest=1)["low"]
        0.4
        >>> runs = [{"mean": mean, "low": 0, "high": 1} for mean in (0.5, 1.0)]
        >>> over_runs(runs, lowest=0, highest=1)["high"]
        1.0
    """
    means = [float(own["mean"]) for own in measured]
    if len(means) == 1:
        return {
            **{end: float(measured[0][end]) for end in ("mean", "low", "high")},
            "runs": means,
            "interval": "bootstrap",
        }
    ends = student_interval(means)
    clipped = {"mean": ends["mean"], "low": max(lowest, ends["low"]), "high": min(highest, ends["high"])}
    return {name: float(value) for name, value in clipped.items()} | {"runs": means, "interval": "runs"}


def difference_field(arm: Mapping[str, Any]) -> str:
    """Name the field with the difference that a study reports.

    An arm that trains for longer than ``real`` is compared with ``real-long``, as in a single run.

    Args:
        arm: an arm of :func:`summarise_points`.

    Returns:
        ``minus_real_long``, to the arm ``real-long``, where there is that field; otherwise ``minus_real``.

    Example:
        >>> difference_field({"minus_real": {"mean": 0.1}})
        'minus_real'
        >>> difference_field({"minus_real": {"mean": 0.1}, "minus_real_long": {"mean": 0}})
        'minus_real_long'
    """
    return "minus_real_long" if "minus_real_long" in arm else "minus_real"


def study_sentence(
    points: Sequence[Mapping[str, Any]], *, unit: str, ordered: bool, uses_synthetic: Collection[str]
) -> str:
    """Say in one sentence what a study found.

    The arm, and where points are not ordered also the point, are chosen by validation accuracy and judged by
    test accuracy.

    Args:
        points: what :func:`summarise_points` gave, each with a ``label``; at least one.
        unit: what a label counts or names, such as ``guidance scale``.
        ordered: whether the way from the first point to the last is of interest, or else the best of them.
        uses_synthetic: names of the arms that see synthetic images.
    """
    arms = [
        name
        for name in dict.fromkeys(name for point in points for name in point["arms"])
        if name in uses_synthetic
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
        return (
            f"From {first['label']} to {last['label']} {unit}, the difference between {arm} and "
            f"{_against(arm, first)} goes from {_points(first, arm)} to {_points(last, arm)} points "
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


def _summarise(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "accuracy": over_runs([own["accuracy"] for own in measured], lowest=0.0, highest=1.0),
        "minus_real": over_runs([own["minus_real"] for own in measured], lowest=-1.0, highest=1.0),
        **(
            {
                "minus_real_long": over_runs(
                    [own["minus_real_long"] for own in measured], lowest=-1.0, highest=1.0
                )
            }
            if all("minus_real_long" in own for own in measured)
            else {}
        ),
        "val_accuracy": float(np.mean([own["val_accuracy"] for own in measured])),
        "steps": max(own["steps"] for own in measured),
    }


def _against(arm: str, point: Mapping[str, Any]) -> str:
    """Say what an arm is compared with: real images alone, if need be for as many steps."""
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
    if low > 0:
        return f"{arm} beats {_against(arm, point)} by {mean:.1f} points [{low:.1f}, {high:.1f}]"
    if high < 0:
        return f"{arm} is worse than {_against(arm, point)} by {-mean:.1f} points [{-high:.1f}, {-low:.1f}]"
    return (
        f"no difference between {arm} and {_against(arm, point)} is shown, {mean:+.1f} points [{low:+.1f}, "
        f"{high:+.1f}]"
    )


def _points(point: Mapping[str, Any], arm: str) -> str:
    mean, low, high = _difference(arm, point)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def _runs(points: Sequence[Mapping[str, Any]]) -> str:
    fewest, most = min(point["runs"] for point in points), max(point["runs"] for point in points)
    number = f"{fewest} run" if fewest == most else f"{fewest} to {most} run"
    return f"({number}{'s' if most > 1 else ''}{' each' if len(points) > 1 else ''})"
