"""Controls: does the chosen arm need an adapted generator, or synthetic images at all?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.evaluation.accuracy import CLASS_BALANCED, measured_by
from understudy.training.strategies import STRATEGIES

_IMAGES = {
    "retrieved": "images from the set that the generator was pretrained on",
    "unadapted": "images drawn without adaptation",
    CLASS_BALANCED: "real images alone, every class equally often",
}


def against_controls(
    arms: Mapping[str, Mapping[str, Any]], best: str, measure: str = "accuracy"
) -> dict[str, dict[str, Any]]:
    """Compare an arm with its controls: ``BEST@STRATEGY`` whose strategy is a control, and real images alone.

    Args:
        arms: the result of :func:`understudy.evaluation.accuracy.summarise`.
        best: an arm that uses synthetic images, or ``real`` if none was compared. An arm with strategies has
            no controls ``BEST@STRATEGY``.
        measure: a key of :data:`understudy.evaluation.class_sizes.MEASURES`.

    Returns:
        By control arm, ``minus_control`` (``mean``, ``low``, ``high``: how much better ``best`` is),
        ``beats`` (whether the interval lies above 0) and ``sentence``.
    """
    names = [f"{best}@{name}" for name in STRATEGIES if STRATEGIES[name].is_control]
    differences = {
        name: _reversed(measured_by(arms[name], measure)["minus_plain"]) for name in names if name in arms
    }
    to_balanced = measured_by(arms[best], measure).get("minus_class_balanced")
    if to_balanced is not None:
        differences[CLASS_BALANCED] = to_balanced
    return {
        name: _one(best, name, measured_by(arms[name], measure)["mean"], difference)
        for name, difference in differences.items()
    }


def in_words(controls: Mapping[str, Mapping[str, Any]]) -> str:
    """Say how an arm did against its controls, and what they leave without proof.

    Args:
        controls: the result of :func:`against_controls`.
    """
    sentences = [control["sentence"] for control in controls.values()]
    unbeaten = [name for name, control in controls.items() if not control["beats"]]
    if CLASS_BALANCED in unbeaten:
        sentences.append("So nothing shows here that synthetic images are needed.")
    elif unbeaten:
        sentences.append("So nothing shows here that the adapted generator is needed.")
    return " ".join(sentences)


def _reversed(difference: Mapping[str, float]) -> dict[str, float]:
    return {"mean": -difference["mean"], "low": -difference["high"], "high": -difference["low"]}


def _one(best: str, control: str, accuracy: float, difference: Mapping[str, float]) -> dict[str, Any]:
    mean, low, high = (100 * difference[end] for end in ("mean", "low", "high"))
    rival = f"{control} ({_IMAGES[control.removeprefix(f'{best}@')]}, {accuracy:.1%})"
    if low > 0:
        sentence = f"{best} beats its control {rival} by {mean:.1f} points [{low:.1f}, {high:.1f}]."
    elif high < 0:
        sentence = (
            f"{best} is worse than its control {rival} by {-mean:.1f} points [{-high:.1f}, {-low:.1f}]."
        )
    else:
        sentence = (
            f"Against its control {rival}, {best} shows no difference, {mean:+.1f} points "
            f"[{low:+.1f}, {high:+.1f}]."
        )
    return {"minus_control": dict(difference), "beats": low > 0, "sentence": sentence}
