"""The report's panel on distribution shift: corrupted images, other test sets, and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from understudy.evaluation.shift_tests import left_out_sentence
from understudy.report.checks import shared_by_tests
from understudy.report.figures import (
    ACCENT,
    INK,
    MUTED,
    REAL,
    WRONG,
    band,
    label_axes,
    new_figure,
    styles,
    to_svg,
)

_MAX_CURVES = 5  # as many as there are colours
_PANEL = (250, 190)  # CSS pixels; panels stand side by side, or below each other on a phone
_SYMBOLS = {"o": "●", "s": "■", "^": "▲", "D": "◆"}
_VARIABLES = {ACCENT: "accent", WRONG: "wrong", INK: "ink", MUTED: "muted", REAL: "real"}


def shift_section(results: Mapping[str, Any], compared: Sequence[str]) -> dict[str, Any]:
    """Values for ``shift.html``.

    Args:
        results: content of ``results.json``.
        compared: names of the arms that the report is about; they are among those drawn.

    Returns:
        ``arms`` (all that were tested), ``panels`` (by corruption, SVG, of at most five arms), ``legend``
        (``arm``, ``symbol`` and ``colour`` of each of these), ``rows`` (a corruption and severity each) and
        ``copies`` and ``left_out`` (sentences on other test sets: changed copies, images of classes that
        the run lacks); empty if shift was not measured.
    """
    shift = results.get("shift")
    if not shift:
        return {}
    corruptions = shift.get("corruptions", {})
    arms = list(shift.get("clean", {}) or next(iter(corruptions.values()), {}))
    chosen = [name for name in dict.fromkeys(["real", *compared, *arms]) if name in arms][:_MAX_CURVES]
    shown = [name for name in arms if name in chosen]
    curves = {name: {arm: points[arm] for arm in shown} for name, points in corruptions.items()}
    drawn = (point for of_arm in curves.values() for points in of_arm.values() for point in points)
    low = 100 * min((point["accuracy"]["low"] for point in drawn), default=0.0)
    legend = [
        {"arm": arm, "symbol": _SYMBOLS[marker], "colour": _VARIABLES[colour]}
        for arm, (colour, marker) in styles(shown).items()
    ]
    clean = {name: shift["clean"][name]["accuracy"] for name in shown if name in shift.get("clean", {})}
    return {
        "arms": arms,
        "legend": legend,
        "copies": shared_by_tests(results),
        "left_out": [
            sentence
            for name, measured in shift.get("tests", {}).items()
            if (sentence := left_out_sentence(name, measured.get("left_out", {})))  # not in older files
        ],
        "panels": {
            name: Markup(corruption_panel(name, of_arm, clean=clean, low=low))  # noqa: S704 - our own markup
            for name, of_arm in curves.items()
        },
        "rows": [
            {
                "corruption": name,
                "number": number,
                "severity": point["severity"],
                "arms": {arm: points[number] for arm, points in of_arm.items()},
            }
            for name, of_arm in corruptions.items()
            for number, point in enumerate(next(iter(of_arm.values())))
        ],
    }


def corruption_panel(
    name: str,
    arms: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    clean: Mapping[str, Mapping[str, float]],
    low: float,
) -> str:
    """Draw accuracy over the severity of a corruption, with 95% intervals; severity 0 is the original.

    Args:
        name: of the corruption.
        arms: by arm, the points of ``results["shift"]["corruptions"][name]``.
        clean: by arm, accuracy on the test images as they are; may be empty.
        low: lower end of the axis in percent, the same for all panels.

    Returns:
        SVG markup.
    """
    figure, axes = new_figure(*_PANEL)
    for arm, (colour, marker) in styles(arms).items():
        points = [(point["severity"], point["accuracy"]) for point in arms[arm]]
        points = [(0, clean[arm]), *points] if arm in clean else points
        band(axes, points, (colour, marker), ends=False, linewidth=2, markersize=5)
    axes.set_ylim(max(0.0, low - 3), 100)
    axes.set_xticks(
        sorted(
            ({0} if clean else set()) | {point["severity"] for points in arms.values() for point in points}
        )
    )
    label_axes(axes, "severity", "accuracy, %")
    return to_svg(figure, title=f"Accuracy over the severity of the corruption {name}, with 95% intervals")
