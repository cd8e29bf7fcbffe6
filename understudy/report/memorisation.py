"""The report's panel on memorisation: how close synthetic images come to real ones, and which are copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from understudy.report.figures import ACCENT, INK, REAL, rows_figure, to_svg

# What a distance is from and to; held-out images, which nothing was made from, are the scale of the others.
DISTANCES = {
    "synthetic_to_train": "synthetic to nearest train image",
    "held_out_to_train": "new real to nearest train image",
    "synthetic_to_source": "synthetic to its source image",
}


def memorisation_section(results: Mapping[str, Any]) -> dict[str, Any]:
    """Values for ``memorisation.html``.

    Args:
        results: content of ``results.json``.

    Returns:
        ``firewall``, ``images`` (measured, by kind; None if not recorded) and ``spaces`` (each with ``name``,
        ``figure`` and ``rows``); empty if there is neither.
    """
    measured = results.get("memorisation", {})
    if not (measured.get("firewall") or measured.get("spaces")):
        return {}
    spaces = [
        {
            "name": name,
            "unit": space["unit"],
            "closer": space["closer_than_held_out"],
            "figure": Markup(distance_figure(name, space)),  # noqa: S704 - our own markup
            "rows": [
                {"key": key, "name": words, **space[key]}
                for key, words in DISTANCES.items()
                if space.get(key)
            ],
        }
        for name, space in measured.get("spaces", {}).items()
    ]
    return {"firewall": measured.get("firewall"), "images": measured.get("images"), "spaces": spaces}


def distance_figure(name: str, space: Mapping[str, Any]) -> str:
    """Draw distances to real images: bars from the 5th percentile to the median, ticks at the smallest.

    Args:
        name: ``pixel`` or ``feature``.
        space: ``results["memorisation"]["spaces"][name]``.

    Returns:
        SVG markup.
    """
    kept = {key: words for key, words in DISTANCES.items() if space.get(key)}
    figure, axes = rows_figure(list(kept.values()))
    axes.axvline(space["held_out_to_train"]["median"], color=REAL, linewidth=1.5)
    for row, key in enumerate(kept):
        measured, colour = space[key], REAL if key == "held_out_to_train" else ACCENT
        axes.barh(
            row,
            measured["median"] - measured["p05"],
            left=measured["p05"],
            height=0.3,
            color=colour,
            alpha=0.6,
            linewidth=0,
        )
        axes.plot([measured["median"]], [row], "o", color=colour, markersize=8, markeredgewidth=0)
        axes.plot([measured["min"], measured["min"]], [row - 0.16, row + 0.16], color=INK, linewidth=2)
    axes.set_xlim(left=0)
    axes.set_xlabel("distance")
    return to_svg(figure, title=f"Distances to real images in {name} space: least, 5th percentile and median")
