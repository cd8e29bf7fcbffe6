"""The report's panel on the gap between synthetic and real images: figures, tables, and what to try next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from understudy.report.at_once import holds_at_once
from understudy.report.figures import (
    ACCENT,
    INK,
    LINE,
    MUTED,
    REAL,
    WIDTH,
    WRONG,
    band,
    label_axes,
    legend_above,
    new_figure,
    to_svg,
)
from understudy.report.wording import percent, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What each set of images is, and each term, in words that need no definition.
SETS = {
    "real": "real images",
    "reconstructed": "real images, redrawn",
    "plain": "synthetic, plain",
    "filtered": "synthetic, filtered",
    "fresh": "synthetic, always fresh",
    "filtered+fresh": "synthetic, filtered and fresh",
    "diverse": "synthetic, more varied",
    "matched": "synthetic, matched to the real ones",
}
TERMS = {
    "total": ("Total", "from plain synthetic to real images"),
    "appearance": ("Appearance", "how images look: lost when the generator redraws the real images"),
    "content": ("Content", "what images show: lost by the best synthetic images against redrawn real ones"),
    "remaining": (
        "Appearance and content",
        "lost by the best synthetic images against real ones; not separated",
    ),
    "recovered": ("Better sampling", "gained by the best synthetic images over the plain ones"),
    "quality": ("Quality", "gained by filtering alone"),
    "quantity": ("Quantity", "gained by fresh images alone"),
    "diversity": ("Diversity", "gained by more varied images alone"),
    "matched": ("Matching", "gained by taking the nearest synthetic image of each real one"),
}
_FLOORS = {
    "independent real sample": "two independent samples of real images differ",
    "halves": "two halves of the real images differ",
    "seeds": "trainings with different seeds differ",
}
_ROW = 52
_BAR = 15  # half the height of a bar in CSS pixels
_COLOURS = {"recovered": ACCENT, "content": WRONG, "appearance": REAL, "remaining": WRONG}


def gap_section(results: Mapping[str, Any]) -> dict[str, Any]:
    """Values for ``gap.html``.

    Args:
        results: content of ``results.json``.

    Returns:
        ``bar`` and ``sweep`` (SVG; ``sweep`` empty without redrawn images), ``leads_back`` (whether ``bar``
        has outlines), ``terms`` and ``sets`` (rows with their words), ``paths`` (both orders, each with at
        least one step), ``floor`` and ``best`` in words, ``classes``, ``side_measures`` (rows), ``advice``
        and ``tried_on`` (its columns), ``at_once`` (which gains hold for all rows at once); empty if the gap
        was not measured.
    """
    if not results.get("gap"):
        return {}
    gap = results["gap"]
    parts = _parts(gap["terms"])
    rows = [
        "total",
        *parts,
        *(name for name in TERMS if name in gap["terms"] and name not in ("total", "remaining", *parts)),
    ]
    return {
        "bar": Markup(gap_bar(gap)),  # noqa: S704 - our own markup
        "sweep": Markup(sweep_curve(gap)) if gap["sweep"] else Markup(""),  # noqa: S704 - as above
        "leads_back": any(_leads_back(gap["terms"], name) for name in parts),
        "terms": [
            {"key": name, "name": TERMS[name][0], "meaning": TERMS[name][1], **gap["terms"][name]}
            for name in rows
        ],
        "sets": [{"key": role, "name": SETS[role], **arm} for role, arm in gap["arms"].items()],
        "paths": [path for path in (gap["path"], gap["reverse_path"]) if path],
        "floor": _FLOORS[gap["noise_floor"]["measured_by"]],
        "best": SETS[gap["best"]],
        "classes": gap["per_class"],
        "side_measures": _side_measures(gap, results["arms"]),
        "advice": advice_rows(gap.get("advice", []), gap["largest"]),
        "at_once": holds_at_once(results, "minus_plain"),
        "tried_on": list(dict.fromkeys(arm for row in gap.get("advice", []) for arm in row["gains"])),
    }


def advice_rows(strategies: Sequence[Mapping[str, Any]], largest: str | None) -> list[dict[str, Any]]:
    """Sort strategies: first those that address the largest term, then those that were tried.

    Otherwise they keep their order.

    Args:
        strategies: rows with ``name``, ``summary``, ``addresses`` (names of terms) and ``gains`` (by plain
            arm that was also trained with the strategy, ``mean``, ``low`` and ``high``).
        largest: name of the largest term, None if none can be told from 0.

    Returns:
        The rows, with ``first``, whether the strategy addresses the largest term, and ``addresses`` in words.
    """
    rows = [
        {
            **row,
            "first": largest in row["addresses"],
            "addresses": ", ".join(TERMS[term][0].lower() for term in row["addresses"]),
        }
        for row in strategies
    ]
    return sorted(rows, key=lambda row: (not row["first"], not row["gains"]))


def gap_bar(gap: Mapping[str, Any]) -> str:
    """Draw the way from plain synthetic to real images as a bar of segments.

    Below the bar, each segment appears again with its name and points. A segment that leads back is an
    outline: redrawn images can be better than real ones.

    Args:
        gap: ``results["gap"]``.

    Returns:
        SVG markup.
    """
    terms, start = gap["terms"], 100 * gap["arms"]["plain"]["accuracy"]["mean"]
    parts = _parts(terms)
    figure, axes = new_figure(WIDTH, 84 + _ROW * (1 + len(parts)))
    end = start + 100 * terms["total"]["mean"]
    places, place = {}, start
    for name in parts:
        places[name] = (place, place + 100 * terms[name]["mean"])
        place = places[name][1]
    height = _BAR / _ROW
    for row, (name, (left, right)) in enumerate(places.items(), start=1):
        for at in (0, row):
            back = _leads_back(terms, name)
            style = (
                {"facecolor": "none", "edgecolor": _COLOURS[name], "linewidth": 2}
                if back
                else {"facecolor": _COLOURS[name]}
            )
            axes.barh(at, right - left, left=left, height=height, zorder=3 if back else 2, **style)
        axes.plot(
            [right, right], [0, row + 1 if row < len(parts) else row], color=LINE, linewidth=1, zorder=1
        )
        _over(
            axes,
            row,
            _label(name, gap),
            f"{points(terms[name]['mean'])} points".replace("-", "\N{MINUS SIGN}"),
        )
    names = [f"synthetic {percent(start / 100)}%", f"real {percent(end / 100)}%"]
    _over(axes, 0, *(names if start <= end else reversed(names)), bold=True)
    ends = [value for segment in places.values() for value in segment]
    margin = 0.02 * (max(ends) - min(ends)) or 1
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    axes.set_ylim(len(parts) + 0.45, -0.75)
    axes.set_yticks([])
    axes.set_xlabel("accuracy on real test images after training on them alone, %")
    return to_svg(figure, title="The gap between synthetic and real images and its terms")


def sweep_curve(gap: Mapping[str, Any]) -> str:
    """Draw accuracy over the noise that real images got before they were redrawn, with 95% intervals.

    The GAN-test is drawn as well where it was measured.

    Args:
        gap: ``results["gap"]``, with at least one redrawn set.

    Returns:
        SVG markup.
    """
    figure, axes = new_figure(WIDTH, 84 + 4 * _ROW)
    sweep = gap["sweep"]
    for role, colour, style in (("real", REAL, "-"), ("plain", INK, ":")):
        level = 100 * gap["arms"][role]["accuracy"]["mean"]
        axes.axhline(level, color=colour, linewidth=1.6, linestyle=style, label=SETS[role])
    curves = (
        ("accuracy", "redrawn, used for training", ACCENT, "o"),
        ("gan_test", "redrawn, recognised", WRONG, "s"),
    )
    for key, label, colour, marker in curves:
        measured = [(point["strength"], point[key]) for point in sweep if key in point]
        if measured:
            band(axes, measured, (colour, marker), label=label)
    axes.set_xlim(0, 1)
    axes.margins(y=0.1)
    label_axes(axes, "noise added before redrawing: 0 is none, 1 leaves nothing of the image", "%")
    legend_above(axes)
    return to_svg(figure, title="Accuracy after training on redrawn real images over the noise added to them")


def _parts(terms: Mapping[str, Any]) -> tuple[str, ...]:
    """Terms whose sum is the total, from synthetic to real.

    ``recovered`` is left out if no sampling was better than the plain one.
    """
    others = ("content", "appearance") if "appearance" in terms else ("remaining",)
    return (*(("recovered",) if terms["recovered"]["mean"] else ()), *others)


def _leads_back(terms: Mapping[str, Any], name: str) -> bool:
    """Whether a term has the opposite sign of the total."""
    return bool(terms[name]["mean"] * terms["total"]["mean"] < 0)


def _label(name: str, gap: Mapping[str, Any]) -> str:
    words = {
        "recovered": f"Better sampling: {SETS[gap['best']].removeprefix('synthetic, ')}",
        "content": "Content: what synthetic images lack",
        "appearance": "Appearance: how the generator draws",
        "remaining": "Content and appearance, not separated",
    }
    return words[name]


def _over(axes: Axes, row: int, left: str, right: str, *, bold: bool = False) -> None:
    """Write words above a row, at both ends of the axes."""
    for x, text, align in ((0, left, "left"), (1, right, "right")):
        axes.text(
            x,
            row - _BAR / _ROW / 2 - 0.06,
            text,
            transform=axes.get_yaxis_transform(),
            ha=align,
            va="bottom",
            color=INK if bold or align == "right" else MUTED,
            fontsize=13,
            fontweight="bold" if bold else "normal",
        )


def _side_measures(gap: Mapping[str, Any], compared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row per set, with the accuracy of the arm that learned from it; None where not measured."""
    rows, redrawn = [], {f"redrawn {point['strength']:g}": point for point in gap["sweep"]}
    arms = {**compared, **gap["arms"], **redrawn}
    for label, measured in gap.get("side_measures", {}).items():
        task = measured.get("task", {})
        rows.append(
            {
                "key": label,
                "name": f"real, {label}" if label in redrawn else SETS.get(label, label),
                "accuracy": arms[label]["accuracy"] if label in arms else None,
                "gan_test": measured.get("gan_test"),
                **{
                    name: task.get(name)
                    for name in ("coverage", "density", "diversity", "vendi", "vendi_real")
                },
                **{
                    kind: measured.get(kind, {}).get("separability", {}).get("accuracy")
                    for kind in ("raw", "task")
                },
            }
        )
    return rows
