"""Training curves and features of an arm, averaged over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.functional.intervals import student_interval
from understudy.training.records import ArmResult


def summarise_curves(result: ArmResult) -> list[dict[str, Any]]:
    """Average training loss and validation accuracy along the training, with 95% intervals over seeds.

    Returns:
        A point per measurement, with ``step``, ``phase``, ``loss`` and ``val_accuracy``; the last two have
        ``mean``, ``low`` and ``high``.
    """
    curves = [history["curve"] for history in result.histories]
    return [
        {"step": points[0]["step"], "phase": points[0]["phase"]}
        | {name: student_interval([point[name] for point in points]) for name in ("loss", "val_accuracy")}
        for points in zip(*curves, strict=True)
    ]


def summarise_phases(results: Sequence[ArmResult]) -> dict[str, list[dict[str, Any]]]:
    """Average the feature measures after each phase but the last, with 95% Student intervals over seeds.

    Returns:
        For each arm with several phases, an entry per phase but the last: ``mean``, ``low`` and ``high`` of
        each measure, or None if no seed has it.
    """
    summary = {}
    for result in results:
        phases = list(zip(*(history["phases"] for history in result.histories), strict=True))
        if phases:
            summary[result.arm] = [
                {name: _interval([figures[name] for figures in phase]) for name in phase[0]}
                for phase in phases
            ]
    return summary


def _interval(values: Sequence[float | None]) -> Mapping[str, float] | None:
    known = [value for value in values if value is not None]
    return student_interval(known) if known else None
