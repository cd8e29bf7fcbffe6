"""Which differences in a table of arms hold for all of its rows at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.core.listing import listed
from understudy.evaluation.accuracy import measured_by
from understudy.report.balance import measure_of


def holds_at_once(results: Mapping[str, Any], difference: str) -> str:
    """Return a sentence that names the arms whose difference holds for all rows of the table at once.

    Args:
        results: content of ``results.json``.
        difference: ``minus_real`` or ``minus_plain``.

    Returns:
        The sentence; empty if no difference holds even alone, if there is only one, and for results of
        versions without simultaneous intervals.
    """
    if "at_once" not in results:
        return ""
    measure = measure_of(results)
    rows = results["at_once"].get(measure, {}).get(difference, {})
    alone = [name for name in rows if _excludes_zero(measured_by(results["arms"][name], measure)[difference])]
    if not alone:
        return ""
    holding = [name for name in alone if _excludes_zero(rows[name])]
    verb = "exclude" if len(holding) > 1 else "excludes"
    which = f": {listed(holding)}" if holding else ""
    return (
        f"With intervals that hold for all rows at once, {len(holding) or 'none'} of {len(rows)} differences "
        f"{verb} 0{which}."
    )


def _excludes_zero(interval: Mapping[str, float]) -> bool:
    return interval["low"] > 0 or interval["high"] < 0
