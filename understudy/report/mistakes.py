"""The report's panel on mistakes: which classes are mistaken for which, as matrices and as a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from understudy.report.figures import ACCENT, INK, LINE, WRONG, new_figure, shorten, to_svg

MAX_CLASSES_SHOWN = 30
_MOST_PAIRS = 20


def mistakes_panel(
    confusions: Mapping[str, np.ndarray], class_names: tuple[str, ...], arms: list[str]
) -> dict[str, Any]:
    """Values for ``mistakes.html``: ``matrices`` and ``confused``, see the functions of this module.

    Args:
        confusions: per arm, counts of shape (C, C), rows true.
        class_names: C names.
        arms: the arms to show; arms without counts are skipped.
    """
    return {
        "matrices": matrices(confusions, class_names, arms),
        "confused": confused_pairs(confusions, class_names, arms, count=_MOST_PAIRS),
    }


def matrices(
    confusions: Mapping[str, np.ndarray], class_names: Sequence[str], arms: Sequence[str]
) -> dict[str, Markup]:
    """Draw a confusion matrix for each compared arm; none if there are too many classes to read one.

    Args:
        confusions: per arm, counts of shape (C, C), rows true.
        class_names: C names.
        arms: the arms to look at; those without a matrix are passed over.
    """
    if len(class_names) > MAX_CLASSES_SHOWN:
        return {}
    figures = {
        arm: confusion_matrix(confusions[arm], class_names, title=f"Confusion matrix of the arm {arm}")
        for arm in dict.fromkeys(arms)
        if arm in confusions
    }
    return {arm: Markup(svg) for arm, svg in figures.items()}  # noqa: S704 - our own markup


def confused_pairs(
    confusions: Mapping[str, np.ndarray], class_names: tuple[str, ...], arms: list[str], *, count: int
) -> list[dict[str, Any]]:
    """List the most frequent mistakes of the compared arms.

    Args:
        confusions: per arm, counts of shape (C, C), rows true.
        class_names: C names.
        arms: the arms to look at; those without a matrix are passed over.
        count: pairs at most.

    Returns:
        Per pair of classes ``true``, ``named``, ``labels`` (the two as numbers) and ``shares``: by arm, the
        share of the true class that is named so; largest first.
    """
    shares = {}
    for arm in arms:
        if arm in confusions:
            shares[arm] = confusions[arm] / np.maximum(confusions[arm].sum(axis=1, keepdims=True), 1)
            np.fill_diagonal(shares[arm], 0)
    if not shares:
        return []
    worst = np.max(list(shares.values()), axis=0)
    order = np.argsort(-worst, axis=None, kind="stable")[:count]
    pairs = [divmod(int(place), len(class_names)) for place in order if worst.flat[place] > 0]
    return [
        {
            "true": class_names[row],
            "named": class_names[column],
            "labels": (row, column),
            "shares": {arm: float(table[row, column]) for arm, table in shares.items()},
        }
        for row, column in pairs
    ]


def confusion_matrix(matrix: np.ndarray, class_names: Sequence[str], *, title: str) -> str:
    """Draw the shares of each true class (rows) that were predicted as each class (columns), in percent.

    Args:
        matrix: counts of shape (C, C), rows true; a row of zeros stays empty.
        class_names: C names.
        title: text alternative.

    Returns:
        SVG markup; each mistake is a group with ``data-cell`` (row and column) and ``data-share`` (its
        words), for the page's script.
    """
    from matplotlib.patches import Rectangle  # heavy: only when a figure is drawn

    num = len(class_names)
    cell = 34 if num <= 12 else 26
    names = [shorten(name, 14) for name in class_names]
    figure, axes = new_figure(
        cell * num + 30 + 7 * max(map(len, names)), cell * num + 40 + 7 * max(map(len, names))
    )
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    for row, column in zip(*np.nonzero(shares), strict=True):
        share = float(shares[row, column])
        colour = ACCENT if row == column else WRONG
        # Mistakes are rare and must be seen, so their colour grows with the root of the share.
        strength = 0.75 * share if row == column else min(1.0, 0.12 + share**0.5)
        patch = axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, alpha=strength, linewidth=0)
        )
        label = f"{100 * share:.0f}" if share >= 0.005 else "<1"
        if row != column:
            patch.set_gid(f"mistake {row},{column} {label}")
        text = axes.text(
            column, row, label, ha="center", va="center", color=INK, fontsize=11 if cell > 30 else 9
        )
        for inside in (patch, text):
            inside.set_in_layout(False)  # measuring each cell takes long, and moves nothing
    axes.set_xlim(-0.5, num - 0.5)
    axes.set_ylim(num - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_xticks(np.arange(num), names, rotation=90 if max(map(len, names)) > 2 else 0, parse_math=False)
    axes.set_yticks(np.arange(num), names, parse_math=False)
    axes.set_xticks(np.arange(num + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(num + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=LINE, linewidth=1)
    axes.tick_params(which="both", length=0, labelsize=12 if cell > 30 else 10)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return to_svg(figure, title=title)
