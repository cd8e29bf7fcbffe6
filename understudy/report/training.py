"""The report's panel on training: convergence, tuning, published baselines, and features after each phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

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
        ``figures`` (pairs of caption and SVG), ``which`` (arms they show, in words, empty where that is all
        of them), ``num_trials``, ``features`` (a row per network); empty if there is none of these.
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
        "which": _which(list(shown), num_arms=len(measured)),
        "num_trials": trials[0] if trials else 0,
        "features": _features(results.get("transferability", {})),
    }


def convergence(curves: Mapping[str, Sequence[Mapping[str, Any]]], quantity: str) -> str:
    """Draw training loss, or validation accuracy in percent, over the training steps.

    Bands are 95% intervals.

    Bands are 95% intervals.

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
    for (name, points_of_arm), style in zip(curves.items(), styles(curves).values(), strict=True):
        along = [(point["step"], point[quantity]) for point in points_of_arm]
        band(axes, along, style, label=name, unit=unit, ends=False, linewidth=2, markersize=4)
    # Intervals of few seeds are wide where curves begin; they must not hide where curves end.
    means = [unit * point[quantity]["mean"] for points_of_arm in curves.values() for point in points_of_arm]
    margin = 0.12 * (max(means) - min(means)) or 1
    highest = max(means) + margin
    axes.set_ylim(min(means) - margin, min(highest, 100.5) if unit == 100 else highest)
    label_axes(axes, "step", name_of_axis)
    legend_above(axes)
    titles = {100: "Accuracy on validation images along the training", 1: "Loss along the training"}
    return to_svg(figure, title=titles[unit])


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
