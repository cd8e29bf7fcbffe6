"""Tools to draw figures as inline SVG.

Colours are CSS variables, so figures follow the page into dark mode and print. Text stays text, in the font
of the page. Only matplotlib's object interface is used, which needs neither a global figure nor a display; it
is imported when the first figure is drawn.
"""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from understudy.report.wording import points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-ins that matplotlib writes out unchanged and that to_svg turns into variables of the style sheet.
INK, MUTED, LINE, ACCENT, REAL, WRONG = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", REAL: "real", WRONG: "wrong"}
WIDTH = 460  # CSS pixels; one unit of the SVG is one CSS pixel at full size
_ROW, _TALL_ROW = 40, 58
_BESIDE = 18  # characters of a name that fit beside a bar; longer ones stand above it
_LONGEST = 56  # characters that fit across a figure
CURVES = [(ACCENT, "o"), (WRONG, "s"), (INK, "^"), (MUTED, "D")]  # colour and marker of each arm in turn


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure, measured in CSS pixels, without frame and ticks."""
    from matplotlib.figure import Figure  # heavy: only when a figure is drawn

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
    """Return colour and marker of each arm: ``real`` has its own, the others take turns."""
    others = [name for name in names if name != "real"]
    turns = dict(zip(others, itertools.cycle(CURVES), strict=False))
    return {name: turns.get(name, (REAL, "D")) for name in names}


def rows_figure(names: Sequence[str]) -> tuple[Figure, Axes]:
    """Return a figure with one row per name, the first on top.

    Names stand beside the rows or, if one is long, above them.
    """
    beside = has_short_names(names)
    figure, axes = new_figure(WIDTH, 60 + (_ROW if beside else _TALL_ROW) * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5 if beside else -0.62)
    if beside:
        axes.set_yticks(range(len(names)), names, color=INK, fontsize=13, parse_math=False)
    else:
        axes.set_yticks([])
        for row, name in enumerate(names):
            axes.text(
                0,
                row - 0.26,
                shorten(name, _LONGEST),
                transform=axes.get_yaxis_transform(),
                va="bottom",
                color=INK,
                fontsize=13,
                parse_math=False,
            )
    axes.grid(axis="x", color=LINE, linewidth=1)
    axes.set_axisbelow(True)
    return figure, axes


def differences_figure(differences: Mapping[str, Mapping[str, float]], *, axis: str, title: str) -> str:
    """Differences in percentage points with 95% intervals, one row each, and a line at zero.

    Args:
        differences: by name, ``mean``, ``low`` and ``high`` as fractions.
        axis: label of the axis.
        title: text alternative.

    Returns:
        SVG markup.
    """
    figure, axes = rows_figure(list(differences))
    axes.axvline(0, color=REAL, linewidth=1.5)
    for row, interval in enumerate(differences.values()):
        ends = [100 * interval["low"], 100 * interval["high"]]
        axes.plot(ends, [row, row], color=ACCENT, linewidth=2.4, solid_capstyle="butt")
        axes.plot([100 * interval["mean"]], [row], "o", color=ACCENT, markersize=8, markeredgewidth=0)
        text = points(interval["mean"]).replace("-", "\N{MINUS SIGN}")
        beside = axes.get_yaxis_transform()
        axes.text(1.04, row, text, transform=beside, va="center", ha="left", color=INK, fontsize=13)
    axes.margins(x=0.08)
    axes.set_xlabel(axis)
    return to_svg(figure, title=title)


def band(
    axes: Axes,
    points_of_curve: Sequence[tuple[float, Mapping[str, float]]],
    style: tuple[str, str],
    *,
    label: str | None = None,
    unit: float = 100,
    ends: bool = True,
    **line: Any,
) -> None:
    """Draw a curve whose 95% intervals are a band.

    Args:
        axes: to draw on.
        points_of_curve: pairs of place and interval (``mean``, ``low``, ``high``).
        style: colour and marker.
        label: name in the legend.
        unit: factor on the intervals; 100 turns fractions into percent.
        ends: whether each interval also gets a vertical line.
        line: further options of the line.
    """
    colour, marker = style
    places = [place for place, _ in points_of_curve]
    mean, low, high = (
        [unit * measured[end] for _, measured in points_of_curve] for end in ("mean", "low", "high")
    )
    axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    if ends:
        axes.vlines(places, low, high, color=colour, alpha=0.6, linewidth=1.2)
    options = {"linewidth": 2.2, "markersize": 6, "markeredgewidth": 0} | line
    axes.plot(places, mean, "-", marker=marker, color=colour, label=label, **options)


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Name both axes, and draw thin horizontal lines behind the data."""
    axes.grid(axis="y", color=LINE, linewidth=1)
    axes.set_axisbelow(True)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def legend_above(axes: Axes) -> None:
    """Put the legend above the axes, in two columns, or in one if a name is long.

    Names are shown as text, never as formulas.
    """
    handles, labels = axes.get_legend_handles_labels()
    labels = [shorten(label, _LONGEST - 8) for label in labels]
    columns = 2 if max(map(len, labels)) <= _BESIDE + 10 else 1
    legend = axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        frameon=False,
        fontsize=12,
        labelcolor=INK,
        borderaxespad=0.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def has_short_names(names: Iterable[str]) -> bool:
    """Whether every name fits beside its row; otherwise names stand above the rows."""
    return all(len(name) <= _BESIDE for name in names)


def shorten(text: str, length: int) -> str:
    """Shorten text to one line of at most ``length`` characters."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def to_svg(figure: Figure, *, title: str) -> str:
    """Return a figure as inline SVG, without anything that would reach beyond the figure.

    That is: no prologue, metadata, style sheet or ids of groups.
    """
    # heavy: only when a figure is drawn
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}), warnings.catch_warnings():
        # The browser has fonts for scripts that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        FigureCanvasSVG(figure)  # whose fonts the layout measures
        layout = figure.get_layout_engine()
        if layout is not None:  # savefig would draw the figure once more to have it laid out
            layout.execute(figure)
            figure.set_layout_engine(None)
        figure.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    markup = buffer.getvalue()
    markup = markup[markup.index("<svg") :]
    markup = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", markup, flags=re.DOTALL)
    markup = re.sub(r'<g id="mistake (\S+) (\S+)"', r'<g data-cell="\1" data-share="\2"', markup)
    markup = re.sub(r'<g id="[^"]*"', "<g", markup)
    markup = _compact(markup)
    width, height = 72 * figure.get_size_inches()
    opening = (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img" '
        f'aria-label="{_attribute(title)}">'
    )
    markup = re.sub(r"<svg.*?>", lambda _: opening, markup, count=1, flags=re.DOTALL).replace(
        "xlink:href", "href"
    )
    return re.sub(": (#0[1-6]0[1-6]0[1-6])", lambda found: f": var(--{_VARIABLES[found[1]]})", markup)


def _compact(markup: str) -> str:
    """About half the length, looking the same: hundredths of a pixel, and the font of the page."""

    def shorter(tag: re.Match[str]) -> str:
        text = re.sub(r" font-family: [^;\"]*;?| transform=\"rotate\(-0 [^\"]*\"", "", tag[0])
        text = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)
        return re.sub(r"\s+", " ", text)

    markup = re.sub(r"<[^>]*>", shorter, markup)
    return re.sub(r"<g/>", "", re.sub(r">\s+<", "><", markup))


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
