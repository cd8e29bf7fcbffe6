"""Figures as inline SVG whose colours are CSS variables, so that they follow the page into dark mode and print.

Text stays text, in the font of the page. Only matplotlib's object interface is used: no global figure, no display.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from understudy.report.wording import percent, points

# Stand-ins that matplotlib writes out unchanged and that to_svg turns into variables of the style sheet.
INK, MUTED, LINE, ACCENT, REAL, WRONG = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", REAL: "real", WRONG: "wrong"}
WIDTH = 460  # CSS pixels; one unit of the SVG is one CSS pixel at full size
_ROW, _TALL_ROW = 40, 58
_BESIDE = 18  # characters of a name that fit beside a bar; longer ones stand above it
_LONGEST = 56  # characters that fit across a figure
CURVES = [(ACCENT, "o"), (WRONG, "s"), (INK, "^"), (MUTED, "D")]  # colour and marker of each arm in turn


def accuracy_bars(arms: Mapping[str, Mapping[str, Any]]) -> str:
    """Bars of accuracy on test images, in percent from 0 to 100, with 95% intervals.

    Args:
        arms: ``results["arms"]``.

    Returns:
        SVG markup.
    """
    figure, axes = rows_figure(list(arms))
    height = 0.56 if _fit_beside(arms) else 0.36
    for row, (name, arm) in enumerate(arms.items()):
        accuracy = {key: 100 * arm["accuracy"][key] for key in ("mean", "low", "high")}
        axes.barh(row, accuracy["mean"], height=height, color=REAL if name == "real" else ACCENT, alpha=0.6, linewidth=0)
        axes.plot([accuracy["low"], accuracy["high"]], [row, row], "-|", color=INK, linewidth=2, markersize=9, markeredgewidth=2)
        axes.text(104, row, percent(arm["accuracy"]["mean"]), va="center", ha="left", color=INK, fontsize=13, clip_on=False)
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
    others = {name: arm["minus_real"] for name, arm in arms.items() if name != "real"}
    figure, axes = rows_figure(list(others))
    axes.axvline(0, color=REAL, linewidth=1.5)
    for row, interval in enumerate(others.values()):
        axes.plot([100 * interval["low"], 100 * interval["high"]], [row, row], color=ACCENT, linewidth=2.4, solid_capstyle="butt")
        axes.plot([100 * interval["mean"]], [row], "o", color=ACCENT, markersize=8, markeredgewidth=0)
        text = points(interval["mean"]).replace("-", "\N{MINUS SIGN}")
        axes.text(1.04, row, text, transform=axes.get_yaxis_transform(), va="center", ha="left", color=INK, fontsize=13)
    axes.margins(x=0.08)
    axes.set_xlabel("difference to real data alone, percentage points")
    return to_svg(figure, title="Difference of every arm to real data alone with 95% intervals")


def loss_curve(curve: Sequence[tuple[int, float]], *, best_step: int) -> str:
    """Denoising loss on held-out real images over adaptation steps; the step that was kept is marked.

    Args:
        curve: pairs of step and loss.
        best_step: the step whose weights were kept.

    Returns:
        SVG markup.
    """
    figure, axes = new_figure(WIDTH, 240)
    steps, losses = [point[0] for point in curve], [point[1] for point in curve]
    axes.plot(steps, losses, "-o", color=ACCENT, linewidth=2, markersize=4, markeredgewidth=0)
    for step, loss in zip(steps, losses, strict=True):
        if step == best_step:
            axes.plot([step], [loss], "o", color=INK, markersize=8, markeredgewidth=0)
            axes.annotate(
                "kept",
                (step, loss),
                xytext=(0, 9),
                textcoords="offset points",
                ha="right" if step == max(steps) else "center",
                color=INK,
                fontsize=12,
            )
    axes.margins(y=0.18)
    axes.grid(axis="y", color=LINE, linewidth=1)
    axes.set_xlabel("adaptation step")
    axes.set_ylabel("validation loss")
    return to_svg(figure, title="Validation loss over adaptation steps")


def scale_curves(scale: Mapping[str, Any]) -> str:
    """Accuracy on test images over the number of synthetic images, in percent, with 95% intervals as bands.

    Each arm has its logarithmic fit as a thin line where there is one; a band across is ``real`` on all real images.

    Args:
        scale: ``results["scale"]``, with at least one arm.

    Returns:
        SVG markup.
    """
    figure, axes = new_figure(WIDTH, 300)
    reference = scale["real"]["curve"][-1]
    axes.axhspan(100 * reference["low"], 100 * reference["high"], color=REAL, alpha=0.25, linewidth=0)
    axes.axhline(100 * reference["mean"], color=REAL, linewidth=2, label=f"real, all {reference['images']:,} images")
    for number, (name, arm) in enumerate(scale["arms"].items()):
        colour, marker = CURVES[number % len(CURVES)]
        images = [point["images"] for point in arm["curve"]]
        mean, low, high = ([100 * point[end] for point in arm["curve"]] for end in ("mean", "low", "high"))
        axes.fill_between(images, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.vlines(images, low, high, color=colour, alpha=0.6, linewidth=1.2)
        axes.plot(images, mean, "-", marker=marker, color=colour, linewidth=2.2, markersize=6, markeredgewidth=0, label=name)
        if arm["log_fit"] is not None:
            intercept, slope = (arm["log_fit"][part]["mean"] for part in ("intercept", "per_doubling"))
            fit = [100 * (intercept + slope * math.log2(size / reference["images"])) for size in images]
            axes.plot(images, fit, "--", color=colour, linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks(scale["images"], [f"{size:,}" for size in scale["images"]])
    axes.set_xticks([], minor=True)
    axes.margins(x=0.06, y=0.1)
    axes.grid(axis="y", color=LINE, linewidth=1)
    axes.set_axisbelow(True)
    axes.set_xlabel("synthetic images")
    axes.set_ylabel("accuracy, %")
    legend_above(axes)
    return to_svg(figure, title="Accuracy over the number of synthetic images with 95% intervals")


def convergence(curves: Mapping[str, Sequence[Mapping[str, Any]]], quantity: str) -> str:
    """Training loss, or accuracy on validation images in percent, over the steps of a training; intervals as bands.

    Args:
        curves: by arm, points of ``results["convergence"]``; at most four arms.
        quantity: ``loss`` or ``val_accuracy``.

    Returns:
        SVG markup.
    """
    figure, axes = new_figure(WIDTH, 280)
    unit = 100 if quantity == "val_accuracy" else 1
    for (name, points_of_arm), (colour, marker) in zip(curves.items(), styles(curves).values(), strict=True):
        steps = [point["step"] for point in points_of_arm]
        mean, low, high = ([unit * point[quantity][end] for point in points_of_arm] for end in ("mean", "low", "high"))
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(steps, mean, "-", marker=marker, color=colour, linewidth=2, markersize=4, markeredgewidth=0, label=name)
    # Intervals of few seeds are wide where curves begin; they must not hide where curves end.
    means = [unit * point[quantity]["mean"] for points_of_arm in curves.values() for point in points_of_arm]
    margin = 0.12 * (max(means) - min(means)) or 1
    axes.set_ylim(min(means) - margin, min(max(means) + margin, 100.5) if unit == 100 else max(means) + margin)
    axes.grid(axis="y", color=LINE, linewidth=1)
    axes.set_axisbelow(True)
    axes.set_xlabel("step")
    axes.set_ylabel("validation accuracy, %" if unit == 100 else "training loss")
    legend_above(axes)
    return to_svg(figure, title="Accuracy on validation images along the training" if unit == 100 else "Loss along the training")


def confusion_matrix(matrix: np.ndarray, class_names: Sequence[str], *, title: str) -> str:
    """Shares of each true class (rows) that were named as each class (columns), in percent.

    Args:
        matrix: counts of shape (C, C), rows true; a row of zeros stays empty.
        class_names: C names.
        title: text alternative.

    Returns:
        SVG markup; each mistake is a group with ``data-cell`` (row and column) and ``data-share`` (its words), for the page's script.
    """
    num = len(class_names)
    cell = 34 if num <= 12 else 26
    names = [shorten(name, 14) for name in class_names]
    figure, axes = new_figure(cell * num + 30 + 7 * max(map(len, names)), cell * num + 40 + 7 * max(map(len, names)))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    for row, column in zip(*np.nonzero(shares), strict=True):
        share = float(shares[row, column])
        colour = ACCENT if row == column else WRONG
        # Mistakes are rare and must be seen, so their colour grows with the root of the share.
        strength = 0.75 * share if row == column else min(1.0, 0.12 + share**0.5)
        patch = axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, alpha=strength, linewidth=0))
        label = f"{100 * share:.0f}" if share >= 0.005 else "<1"
        if row != column:
            patch.set_gid(f"mistake {row},{column} {label}")
        axes.text(column, row, label, ha="center", va="center", color=INK, fontsize=11 if cell > 30 else 9)
    axes.set_xlim(-0.5, num - 0.5)
    axes.set_ylim(num - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_xticks(np.arange(num), names, rotation=90 if max(map(len, names)) > 2 else 0, parse_math=False)
    axes.set_yticks(np.arange(num), names, parse_math=False)
    axes.set_xticks(np.arange(num + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(num + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=LINE, linewidth=1)
    axes.tick_params(which="both", length=0, labelsize=12 if cell > 30 else 10)
    axes.set_xlabel("named as")
    axes.set_ylabel("truly")
    return to_svg(figure, title=title)


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure measured in CSS pixels with quiet axes."""
    figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(colors=MUTED, labelsize=12, length=0)
    axes.xaxis.label.set(color=MUTED, fontsize=12)
    axes.yaxis.label.set(color=MUTED, fontsize=12)
    return figure, axes


def styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each arm: ``real`` has its own, the others take turns."""
    others = [name for name in names if name != "real"]
    turns = dict(zip(others, itertools.cycle(CURVES), strict=False))
    return {name: turns.get(name, (REAL, "D")) for name in names}


def rows_figure(names: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure with one row per name, the first on top; names stand beside the rows, or if one is long, above them."""
    beside = _fit_beside(names)
    figure, axes = new_figure(WIDTH, 60 + (_ROW if beside else _TALL_ROW) * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5 if beside else -0.62)
    if beside:
        axes.set_yticks(range(len(names)), names, color=INK, fontsize=13, parse_math=False)
    else:
        axes.set_yticks([])
        for row, name in enumerate(names):
            axes.text(
                0, row - 0.26, shorten(name, _LONGEST), transform=axes.get_yaxis_transform(), va="bottom", color=INK, fontsize=13,
                parse_math=False,
            )  # fmt: skip
    axes.grid(axis="x", color=LINE, linewidth=1)
    axes.set_axisbelow(True)
    return figure, axes


def legend_above(axes: Axes) -> None:
    """Above the axes, in two columns, or in one if a name is long; names are text and not formulas."""
    handles, labels = axes.get_legend_handles_labels()
    labels = [shorten(label, _LONGEST - 8) for label in labels]
    columns = 2 if max(map(len, labels)) <= _BESIDE + 10 else 1
    legend = axes.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=12, labelcolor=INK,
        borderaxespad=0.2,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def _fit_beside(names: Iterable[str]) -> bool:
    return all(len(name) <= _BESIDE for name in names)


def shorten(text: str, length: int) -> str:
    """Text on one line of at most ``length`` characters."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def to_svg(figure: Figure, *, title: str) -> str:
    """Inline SVG: no prologue, metadata, style sheet or ids of groups, all of which would reach beyond the figure."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}), warnings.catch_warnings():
        # The browser has fonts for scripts that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    markup = buffer.getvalue()
    markup = markup[markup.index("<svg") :]
    markup = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", markup, flags=re.DOTALL)
    markup = re.sub(r'<g id="mistake (\S+) (\S+)"', r'<g data-cell="\1" data-share="\2"', markup)
    markup = re.sub(r'<g id="[^"]*"', "<g", markup)
    width, height = 72 * figure.get_size_inches()
    opening = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img" aria-label="{_attribute(title)}">'
    markup = re.sub(r"<svg.*?>", lambda _: opening, markup, count=1, flags=re.DOTALL).replace("xlink:href", "href")
    return re.sub(": (#0[1-6]0[1-6]0[1-6])", lambda found: f": var(--{_VARIABLES[found[1]]})", markup)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
