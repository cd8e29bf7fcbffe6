"""Whether an arm was trained for long enough, from its accuracy on validation images along the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.core.listing import listed
from understudy.functional.intervals import student_interval
from understudy.functional.learning_curve import gain_of_second_half
from understudy.training.records import ArmResult

RISE = 0.005
"""Gain of the second half of a training above which its arm may still rise."""


def summarise_plateau(result: ArmResult) -> dict[str, Any] | None:
    """What the second half of the last phase added to the accuracy on validation images.

    A training of half the length would end at least where this one stood at half of its steps, because its
    learning rate has fallen by then and that of this one had not. So the gain of the second half is at least
    the gain of the last doubling of the steps: if it is small, the arm is at its plateau. If it is large, the
    falling learning rate can be the reason, and only a longer training shows whether the arm still rises.

    Returns:
        ``gain`` (``mean``, ``low``, ``high``: 95% Student interval over trainings, in [-1, 1]) and ``rising``
        (whether the mean exceeds :data:`RISE`); None if a training has too few points before and after the
        middle of its last phase.
    """
    gains = [_gain(history.get("curve", ())) for history in result.histories]
    known = [gain for gain in gains if gain is not None]
    if not known or len(known) < len(gains):
        return None
    gain = student_interval(known)
    return {"gain": gain, "rising": gain["mean"] > RISE}


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
    """Name the arms that may still rise, each with the gain of its second half in points.

    Args:
        plateaus: by arm, the result of :func:`summarise_plateau`.

    Returns:
        Such as ``real (+1.2 points), mixed (+0.8 points)``; empty if there is none.
    """
    rising = {name: found["gain"]["mean"] for name, found in plateaus.items() if found and found["rising"]}
    return listed([f"{name} ({100 * gain:+.1f} points)" for name, gain in rising.items()])
