"""The report's panel on accuracy: the verdict in a few words, and what every arm reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from understudy.report.figures import (
    ACCENT,
    INK,
    REAL,
    differences_figure,
    has_short_names,
    rows_figure,
    to_svg,
)
from understudy.report.wording import percent


def accuracy_panel(results: Mapping[str, Any], arm_summaries: Mapping[str, str]) -> dict[str, Any]:
    """Values for the opening of the page and ``accuracy.html``.

    Args:
        results: content of ``results.json``.
        arm_summaries: per arm, one line that says what it trains on.

    Returns:
        ``answer``, ``arm_summaries``, ``bars`` and ``differences`` (SVG; ``differences`` empty with one arm),
        ``longer`` (whether some arm is compared with ``real-long``), ``equal_steps`` (whether all arms train
        for as many steps).
    """
    arms = results["arms"]
    return {
        "answer": answer(results),
        "arm_summaries": arm_summaries,
        "bars": Markup(accuracy_bars(arms)),  # noqa: S704 - our own markup, names escaped by matplotlib
        "differences": Markup(difference_intervals(arms)) if len(arms) > 1 else Markup(""),  # noqa: S704 - as above
        "longer": any("minus_real_long" in arm for arm in arms.values()),
        "equal_steps": len({arm.get("steps") for arm in arms.values()}) == 1,
    }


def answer(results: Mapping[str, Any]) -> str:
    """Return the verdict in a few words."""
    best = results["verdict"]["best"]
    if results["verdict"]["helps"]:
        return "Synthetic data helps here"
    if best == "real" and len(results["arms"]) == 1:
        return "Synthetic data was not compared"
    if best == "real" or results["arms"][best]["minus_real"]["high"] < 0:
        return "Synthetic data does not help here"
    return "No clear gain from synthetic data"


def rival(results: Mapping[str, Any]) -> str:
    """Return the arm to compare with ``real``: the best one or, if that is ``real``, the best other one.

    "Best" is decided on validation images.
    """
    best = str(results["verdict"]["best"])
    others = [name for name in results["arms"] if name != "real"]
    if best != "real" or not others:
        return best
    return str(max(others, key=lambda name: float(results["arms"][name]["val_accuracy"])))


def accuracy_bars(arms: Mapping[str, Mapping[str, Any]]) -> str:
    """Bars of accuracy on test images, in percent from 0 to 100, with 95% intervals.

    Args:
        arms: ``results["arms"]``.

    Returns:
        SVG markup.
    """
    figure, axes = rows_figure(list(arms))
    height = 0.56 if has_short_names(arms) else 0.36
    for row, (name, arm) in enumerate(arms.items()):
        accuracy = {key: 100 * arm["accuracy"][key] for key in ("mean", "low", "high")}
        axes.barh(
            row,
            accuracy["mean"],
            height=height,
            color=REAL if name == "real" else ACCENT,
            alpha=0.6,
            linewidth=0,
        )
        axes.plot(
            [accuracy["low"], accuracy["high"]],
            [row, row],
            "-|",
            color=INK,
            linewidth=2,
            markersize=9,
            markeredgewidth=2,
        )
        axes.text(
            104,
            row,
            percent(arm["accuracy"]["mean"]),
            va="center",
            ha="left",
            color=INK,
            fontsize=13,
            clip_on=False,
        )
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy on real test images, %")
    return to_svg(figure, title="Accuracy of every arm with 95% intervals")


def difference_intervals(arms: Mapping[str, Mapping[str, Any]]) -> str:
    """Differences to ``real`` in percentage points with 95% intervals, and a line at zero.

    Args:
        arms: ``results["arms"]``; at least one other than ``real``.

    Returns:
        SVG markup.
    """
    return differences_figure(
        {name: arm["minus_real"] for name, arm in arms.items() if name != "real"},
        axis="difference to real data alone, percentage points",
        title="Difference of every arm to real data alone with 95% intervals",
    )
