"""Advice for the case that a filter rejects every image of a class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from understudy.core.listing import shortened
from understudy.curation.curate import Decisions
from understudy.curation.scores import SCORES
from understudy.curation.settings import CurateSettings


def explain_rejection(
    decisions: Decisions,
    quota: np.ndarray,
    *,
    class_names: Sequence[str],
    settings: CurateSettings,
    rounds: int,
) -> str | None:
    """Say which classes have no image left, how close their images came to passing, and what to change.

    Args:
        decisions: about all drawn images.
        quota: wanted images per class, int (num_classes,).
        class_names: names by label.
        settings: score, threshold, treatment of copies.
        rounds: number of rounds drawn, including the first.

    Returns:
        Several lines, or None if every class with a quota has an image.
    """
    kept = np.bincount(decisions.labels[decisions.kept], minlength=len(quota))
    empty = np.flatnonzero((kept == 0) & (quota > 0)).tolist()
    if not empty:
        return None
    refills = f"{rounds - 1} refill{'' if rounds == 2 else 's'}"
    summary = (
        f"after {refills}, {len(empty)} of {np.count_nonzero(quota)} classes have no image, and "
        f"{kept.sum()} of the {quota.sum()} wanted images were kept:"
    )
    lines = [f"  {class_names[label]!r}: {_account(decisions, label)}" for label in empty]
    return "\n".join([summary, *shortened(lines), *_advice(decisions, empty, settings)])


def _account(decisions: Decisions, label: int) -> str:
    reasons = Counter(
        reason for reason, found in zip(decisions.reasons, decisions.labels, strict=True) if found == label
    )
    if not reasons:
        return "none drawn"
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    scores = (
        f"; best score {_best(decisions, label):.3g}, threshold {decisions.threshold:.3g}"
        if reasons["low score"]
        else ""
    )
    return f"{reasons.total()} drawn ({counts}){scores}"


def _advice(decisions: Decisions, empty: Sequence[int], settings: CurateSettings) -> list[str]:
    reasons = {
        reason for reason, label in zip(decisions.reasons, decisions.labels, strict=True) if label in empty
    }
    advice = []
    if "low score" in reasons:
        ways = [
            f"choose another curate.score ({', '.join(name for name in SCORES if name != settings.score)})"
        ]
        if reached := [best for label in empty if (best := _best(decisions, label)) > 0]:
            if (
                settings.threshold or SCORES[settings.score].threshold
            ) == "validation" and settings.validation_pass < 1:
                ways.insert(0, f"raise curate.validation_pass above {settings.validation_pass:g}")
            ways.insert(0, f"set curate.threshold to at most {math.floor(min(reached) * 1000) / 1000:g}")
        advice.append(
            "the generator may not have learned these classes: adapt it for longer, or take another one; to "
            f"keep such images all the same, {', or '.join(ways)}, in a new run, which takes over what was "
            "adapted with adapt.adapter=RUN/adapter"
        )
    if "copy" in reasons:
        others = (
            ", or draw others in their place with curate.firewall=redraw"
            if settings.firewall == "drop"
            else ""
        )
        advice.append(f"keep copies with curate.firewall=flag{others}")
    if "constant" in reasons:
        advice.append(
            "look at what the generator draws with 'understudy preview': images of one colour are never kept"
        )
    return advice


def _best(decisions: Decisions, label: int) -> float:
    """The highest score among the images of a class that scored too low; 0 if there is none."""
    low = np.array(decisions.reasons) == "low score"
    return float(np.nan_to_num(decisions.scores[low & (decisions.labels == label)], nan=0.0).max(initial=0.0))
