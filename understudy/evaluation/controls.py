"""Controls: the chosen arm against the same arm with images that no adapted generator has drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.evaluation.accuracy import measured_by
from understudy.training.strategies import STRATEGIES

_IMAGES = {
    "retrieved": "images from the set that the generator was pretrained on",
    "unadapted": "images drawn without adaptation",
}


def against_controls(
    arms: Mapping[str, Mapping[str, Any]], best: str, measure: str = "accuracy"
) -> dict[str, dict[str, Any]]:
    """Compare an arm with its controls, the arms ``BEST@STRATEGY`` whose strategy is a control.

    Args:
        arms: the result of :func:`understudy.evaluation.accuracy.summarise`.
        best: an arm without strategies; an arm with strategies has no controls.
        measure: a key of :data:`understudy.evaluation.class_sizes.MEASURES`.

    Returns:
        By control arm, ``minus_control`` (``mean``, ``low``, ``high``: how much better ``best`` is),
        ``beats`` (whether the interval lies above 0) and ``sentence``.
    """
    controls = [name for name in STRATEGIES if STRATEGIES[name].is_control and f"{best}@{name}" in arms]
    return {f"{best}@{name}": _one(arms, best, name, measure) for name in controls}


def in_words(controls: Mapping[str, Mapping[str, Any]]) -> str:
    """Say how an arm did against its controls, and whether that shows a need for the adapted generator.

    Args:
        controls: the result of :func:`against_controls`.
    """
    sentences = [control["sentence"] for control in controls.values()]
    if not all(control["beats"] for control in controls.values()):
        sentences.append("So nothing shows here that the adapted generator is needed.")
    return " ".join(sentences)


def _one(arms: Mapping[str, Mapping[str, Any]], best: str, strategy: str, measure: str) -> dict[str, Any]:
    control = f"{best}@{strategy}"
    found = measured_by(arms[control], measure)
    of_control = found["minus_plain"]
    difference = {"mean": -of_control["mean"], "low": -of_control["high"], "high": -of_control["low"]}
    mean, low, high = (100 * difference[end] for end in ("mean", "low", "high"))
    rival = f"{control} ({_IMAGES[strategy]}, {found['mean']:.1%})"
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
    return {"minus_control": difference, "beats": low > 0, "sentence": sentence}
