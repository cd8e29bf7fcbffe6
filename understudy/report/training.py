"""The report's panel on training: convergence, tuning, published baselines, and features after each phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from understudy.evaluation.plateau import plateau_in_words
from understudy.report.figures import WIDTH, band, label_axes, legend_above, new_figure, styles, to_svg

_MAX_CURVES = 4  # more bands over each other cannot be told apart
_THEN = ("synthetic", "mixed", "bridged")  # after those that the verdict is about, in this order


def training_section(results: Mapping[str, Any], compared: Sequence[str]) -> dict[str, Any]:
    """Values for ``training.html``.

    Args:
        results: content of ``results.json``.
        compared: names of the arms that the report is about, the one of the verdict last; their curves are
            shown first, and that of ``real-long`` where the last one is held against it.

    Returns:
        ``figures`` (pairs of caption and SVG), ``plateau`` (which arms still rose, in words; empty where no
        curve says so), ``which`` (arms they show, in words, empty where that is all of them),
        ``num_trials``, ``features`` (a row per network); empty if there is none of these.
    """
    if not any(name in results for name in ("convergence", "tuning", "transferability", "published")):
        return {}
    convergence = results.get("convergence", {})
    yardstick = ["real-long"] if "minus_real_long" in results["arms"].get(compared[-1], {}) else []
    measured = [
        name
        for name in dict.fromkeys([*reversed(compared), *yardstick, *_THEN, *convergence])
        if convergence.get(name)
    ]
    chosen = measured[:_MAX_CURVES]
    shown = {name: curve for name, curve in convergence.items() if name in chosen}
    trials = [len(arm["trials"]) for arm in results.get("tuning", {}).values()]
    return {
        "figures": _figures(shown) if shown else [],
        "plateau": plateau_in_words(results.get("plateau", {})),
        "which": _which(list(shown), num_arms=len(measured)),
        "num_trials": trials[0] if trials else 0,
        "features": _features(results.get("transferability", {})),
    }


def convergence(curves: Mapping[str, Sequence[Mapping[str, Any]]], quantity: str) -> str:
    """Draw training loss, or validation accuracy in percent, over the training steps.

    Bands are 95% intervals, as far as values are possible; all of them lie within the figure.

    Args:
        curves: by arm, points of ``results["convergence"]``; at most four arms.
        quantity: ``loss`` or ``val_accuracy``.

    Returns:
        SVG markup.
    """
    figure, axes = new_figure(WIDTH, 280)
    unit, name_of_axis = (
        (100, "validation accuracy, %") if quantity == "val_accuracy" else (1, "training loss")
    )
    shown = {
        name: [(point["step"], _possible(point[quantity], is_share=unit == 100)) for point in points_of_arm]
        for name, points_of_arm in curves.items()
    }
    for (name, along), style in zip(shown.items(), styles(curves).values(), strict=True):
        band(axes, along, style, label=name, unit=unit, ends=False, linewidth=2, markersize=4)
    ends = [unit * interval[end] for along in shown.values() for _, interval in along for end in interval]
    margin = 0.04 * (max(ends) - min(ends)) or 1
    axes.set_ylim(min(ends) - margin, max(ends) + margin)  # a band that ends at 100% ends inside the figure
    label_axes(axes, "step", name_of_axis)
    legend_above(axes)
    titles = {100: "Accuracy on validation images along the training", 1: "Loss along the training"}
    return to_svg(figure, title=titles[unit])


def _possible(interval: Mapping[str, float], *, is_share: bool) -> dict[str, float]:
    """An interval cut to possible values: Student intervals of few seeds can exceed 100% or fall below 0."""
    most = 1.0 if is_share else max(interval.values())
    return {end: min(most, max(0.0, interval[end])) for end in ("mean", "low", "high")}


def _which(shown: Sequence[str], *, num_arms: int) -> str:
    """Say which arms are shown, if there are more than a figure can hold."""
    if len(shown) == num_arms:
        return ""
    return (
        f"Shown are {', '.join(shown)}, {len(shown)} of {num_arms} arms, because more curves would be hard "
        "to tell apart: those that the verdict is about, then the usual ones. The curves of all arms are in "
        "results.json."
    )


def _figures(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple[str, Markup]]:
    captions = {
        "val_accuracy": "Accuracy on validation images during training, with 95% intervals over seeds.",
        "loss": "Training loss, averaged since the previous point. A jump marks a new phase, "
        "with other images and a new head.",
    }
    return [(caption, Markup(convergence(curves, quantity))) for quantity, caption in captions.items()]  # noqa: S704


def _features(transferability: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    if transferability.get("source"):
        rows.append({"name": "as pretrained, with its own classes", **transferability["source"]})
    for arm, phases in transferability.get("arms", {}).items():
        for number, figures_of_phase in enumerate(phases, start=1):
            means = {
                name: None if value is None else value["mean"] for name, value in figures_of_phase.items()
            }
            rows.append({"name": f"{arm}, after phase {number}", **means})
    return rows
