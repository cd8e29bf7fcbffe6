"""Whether an arm was trained for long enough, from its accuracy on validation images along the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.core.listing import listed
from understudy.functional.intervals import student_interval
from understudy.functional.learning_curve import gain_of_second_half
from understudy.training.records import ArmResult

RISE = 0.005
"""Gain of the second half of a training above which its arm still rose."""


def summarise_plateau(result: ArmResult) -> dict[str, Any] | None:
    """What the second half of the last phase added to the accuracy on validation images.

    This is about the training as it was. A training of half the length would end at least where this one
    stood at half of its steps, because its learning rate has fallen by then and that of this one had not. So
    the gain of the second half is at least the gain of the last doubling of the steps. What the next doubling
    would add, only a longer training shows.

    Returns:
        ``gain`` (``mean``, ``low``, ``high``: 95% Student interval over trainings, in [-1, 1]) and
        ``rising``: true if the interval lies above :data:`RISE`, false if no part of it does. None if it
        contains :data:`RISE`, or there is a single training: then the trainings cannot tell. The result is
        None if a training has too few points before and after the middle of its last phase.
    """
    gains = [_gain(history.get("curve", ())) for history in result.histories]
    known = [gain for gain in gains if gain is not None]
    if not known or len(known) < len(gains):
        return None
    gain = student_interval(known)
    return {"gain": gain, "rising": _rose(gain) if len(known) > 1 else None}


def _rose(gain: Mapping[str, float]) -> bool | None:
    return True if gain["low"] > RISE else False if gain["high"] <= RISE else None


def _gain(curve: Sequence[Mapping[str, Any]]) -> float | None:
    if not curve:
        return None
    last = [point for point in curve if point["phase"] == curve[-1]["phase"]]
    before = len(curve) - len(last)
    start = curve[before - 1]["step"] if before else 0
    return gain_of_second_half(
        [point["step"] - start for point in last], [point["val_accuracy"] for point in last]
    )


def still_rising(plateaus: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Name the arms that rose by more than :data:`RISE` in the second half of their training.

    Args:
        plateaus: by arm, the result of :func:`summarise_plateau`.

    Returns:
        Such as ``real (+1.2 points [+0.9, +1.5])``; empty if there is none.
    """
    return _named(plateaus, True)


def cannot_tell(plateaus: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Name the arms whose trainings do not tell whether they rose, as :func:`still_rising` does."""
    return _named(plateaus, None)


def plateau_in_words(plateaus: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Say of every arm what its curve shows, and that this is not about longer trainings.

    Args:
        plateaus: by arm, the result of :func:`summarise_plateau`.

    Returns:
        Some sentences; empty if no curve shows anything.
    """
    if not any(plateaus.values()):
        return ""
    answers = {
        "Yes": still_rising(plateaus),
        "No": _named(plateaus, False),
        "The trainings cannot tell": cannot_tell(plateaus),
        "The curve has too few points": listed([name for name, found in plateaus.items() if not found]),
    }
    question = (
        f"Did accuracy on validation images rise by more than {100 * RISE:g} points in the second half of "
        "the training?"
    )
    learning_rate = ["The falling learning rate can be the reason."] if answers["Yes"] else []
    return " ".join(
        [
            question,
            *(f"{answer}: {names}." for answer, names in answers.items() if names),
            *learning_rate,
            "This does not show what more steps give; longer trainings do.",
        ]
    )


def _named(plateaus: Mapping[str, Mapping[str, Any] | None], rose: bool | None) -> str:
    """Arms in one of the three states, each with its gain in points."""
    return listed(
        [
            f"{name} ({_points(found['gain'])})"
            for name, found in plateaus.items()
            if found and _state(found) is rose
        ]
    )


def _state(found: Mapping[str, Any]) -> bool | None:
    """Whether an arm rose; older records stored whether the mean exceeds :data:`RISE`."""
    return None if found["rising"] is None else _rose(found["gain"])


def _points(gain: Mapping[str, float]) -> str:
    mean, low, high = (100 * gain[end] for end in ("mean", "low", "high"))
    return f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]"
