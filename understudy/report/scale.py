"""The report's panel on the size of the synthetic set: a curve per arm, and the measured sizes as rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from understudy.report.figures import CURVES, REAL, WIDTH, band, label_axes, legend_above, new_figure, to_svg


def scale_section(scale: Mapping[str, Any]) -> dict[str, Any]:
    """Values for ``scale.html``.

    Args:
        scale: the section ``scale`` of ``results.json``, or an empty mapping.

    Returns:
        ``figure`` (SVG), ``rows`` (one per arm and size), ``marginal`` (one per step to the next size),
        ``stopped``, and the ``smallest`` and ``largest`` number of real images; empty if no size was
        measured.
    """
    if not scale.get("arms"):
        return {}
    parts = ("curve", "minus_real", "worth_real_images")
    marginal = [
        {"arm": name, "number": number, **step}
        for name, arm in scale["arms"].items()
        for number, step in enumerate(arm.get("marginal", []))
    ]
    return {
        "figure": Markup(scale_curves(scale)),  # noqa: S704 - our own markup, names escaped by matplotlib
        "rows": [
            {"arm": name, "number": number, "accuracy": accuracy, "difference": difference, "worth": worth}
            for name, arm in scale["arms"].items()
            for number, (accuracy, difference, worth) in enumerate(
                zip(*(arm[part] for part in parts), strict=True)
            )
        ],
        "marginal": marginal,
        "stopped": scale.get("stopped"),
        "smallest": scale["real"]["curve"][0]["images"],
        "largest": scale["real"]["curve"][-1]["images"],
    }


def scale_curves(scale: Mapping[str, Any]) -> str:
    """Accuracy on test images over the number of synthetic images, in percent, with 95% intervals as bands.

    Each arm has its logarithmic fit as a thin line where there is one; a band across is ``real`` on all real
    images.

    Args:
        scale: ``results["scale"]``, with at least one arm.

    Returns:
        SVG markup.
    """
    figure, axes = new_figure(WIDTH, 300)
    reference = scale["real"]["curve"][-1]
    axes.axhspan(100 * reference["low"], 100 * reference["high"], color=REAL, alpha=0.25, linewidth=0)
    axes.axhline(
        100 * reference["mean"], color=REAL, linewidth=2, label=f"real, all {reference['images']:,} images"
    )
    for number, (name, arm) in enumerate(scale["arms"].items()):
        colour, marker = CURVES[number % len(CURVES)]
        band(axes, [(point["images"], point) for point in arm["curve"]], (colour, marker), label=name)
        if arm["log_fit"] is not None:
            intercept, slope = (arm["log_fit"][part]["mean"] for part in ("intercept", "per_doubling"))
            images = [point["images"] for point in arm["curve"]]
            fit = [100 * (intercept + slope * math.log2(size / reference["images"])) for size in images]
            axes.plot(images, fit, "--", color=colour, linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks(scale["images"], [f"{size:,}" for size in scale["images"]])
    axes.set_xticks([], minor=True)
    axes.margins(x=0.06, y=0.1)
    label_axes(axes, "synthetic images", "accuracy, %")
    legend_above(axes)
    return to_svg(figure, title="Accuracy over the number of synthetic images with 95% intervals")
