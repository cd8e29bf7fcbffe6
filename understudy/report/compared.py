"""Two runs side by side, for the terminal and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich import box
from rich.table import Table
from rich.text import Text

from understudy.core.files import check_replaceable, write_text
from understudy.report.card import figure, figure_interval
from understudy.report.figures import differences_figure
from understudy.report.html import environment
from understudy.report.wording import duration, percent, percent_interval, points_interval


def compared_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """Show a comparison of two runs in the terminal.

    Args:
        comparison: what it returned.

    Returns:
        Tables of the settings and versions that differ, the images, the arms, and everything else that was
        measured.
    """
    caption = Text(f"[low, high]: 95% intervals; differences: {comparison['pairing'] or 'none'}")
    settings = _table("setting", title="differs")
    for name, values in [*comparison["settings"].items(), *comparison["environment"].items()]:
        settings.add_row(Text(name), *(Text(str(value)) for value in values))
    if not settings.row_count:
        settings.add_row("nothing", "", "")
    data = _table("real images", title="data")
    data.add_column("in both", justify="right")
    for split, counts in comparison["data"].items():
        data.add_row(split, *(f"{counts[name]:,}" for name in ("a", "b", "both")))
    arms = _table(Text("accuracy, %\n[low, high]"), title="arms", caption=caption)
    arms.add_column(Text("B minus A, points\n[low, high]"), justify="right")
    for name, arm in comparison["arms"].items():
        difference = "" if arm["difference"] is None else points_interval(arm["difference"])
        arms.add_row(
            Text(name),
            *(Text("n/a" if arm[run] is None else percent_interval(arm[run])) for run in ("a", "b")),
            Text(difference),
        )
    tables = [settings, data, arms]
    for section, rows in groupby(comparison["rows"], key=lambda row: str(row["section"])):
        tables.append(table := _table(section, title=None))
        for row in rows:
            table.add_row(Text(row["name"]), *(Text(said(row["kind"], row[run])) for run in ("a", "b")))
    return tables


def check_page(path: Path) -> None:
    """Check that the page of a comparison can be written to ``path``.

    Raises:
        InputError: if the path is a folder, or a file that is no such page.
    """
    check_replaceable(path, mark=b"<title>understudy: ", suffix=".html")


def write_comparison(path: Path, comparison: Mapping[str, Any]) -> None:
    """Write the page of a comparison; the file appears complete or not at all.

    Args:
        path: the file; a page that is there is replaced.
        comparison: as for :func:`compared_tables`.

    Raises:
        InputError: as :func:`check_page`.
    """
    check_page(path)
    jinja = environment()
    jinja.filters["said"] = lambda row, run: said(row["kind"], row[run])
    differences = {
        name: arm["difference"] for name, arm in comparison["arms"].items() if arm["difference"] is not None
    }
    sections = {
        section: list(rows)
        for section, rows in groupby(comparison["rows"], key=lambda row: str(row["section"]))
    }
    page = jinja.get_template("compare_runs.html")
    chart = _chart(differences) if differences else None
    write_text(
        path,
        page.render(comparison=comparison, sections=sections, chart=chart),
    )


def said(kind: str, value: Any) -> str:
    """Format a number or an interval.

    Example:
        >>> interval = {"mean": 0.5, "low": 0.25, "high": 0.625}
        >>> said("share", 0.5), said("share", interval), said("seconds", 75), said("number", None)
        ('50.0%', '50.0 [25.0, 62.5]%', '1 min 15 s', 'n/a')
    """
    if value is None:
        return "n/a"
    if isinstance(value, Mapping):
        return f"{percent_interval(value)}%" if kind == "share" else figure_interval(value)
    words = {
        "share": lambda: f"{percent(value)}%",
        "seconds": lambda: duration(value),
        "count": lambda: f"{value:,}",
    }
    return words.get(kind, lambda: figure(value))()


def _table(first: str | Text, *, title: str | None, caption: Text | None = None) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", caption=caption, caption_justify="left"
    )
    table.add_column(first)
    table.add_column("A", justify="right")
    table.add_column("B", justify="right")
    return table


def _chart(differences: Mapping[str, Mapping[str, float]]) -> Markup:
    svg = differences_figure(
        differences,
        axis="accuracy of B minus accuracy of A, percentage points",
        title="Difference of B to A for every arm with 95% intervals",
    )
    return Markup(svg)  # noqa: S704 - our own markup, names escaped by matplotlib
