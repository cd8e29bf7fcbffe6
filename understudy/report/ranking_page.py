"""A bake-off as a page and as a table for the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from rich import box
from rich.table import Table
from rich.text import Text

from understudy.core.files import write_text
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.class_sizes import MEASURES
from understudy.evaluation.ranking import FLOOR
from understudy.report.card import figure
from understudy.report.figures import ACCENT, MUTED, REAL, rows_figure, to_svg
from understudy.report.gallery import tile_size, tiles_uri
from understudy.report.html import environment
from understudy.report.wording import duration, percent_interval, points_interval

_MOST_TILES = 10
_LARGEST_PIXELATED = 64
_LEFT_OUT = ("--generators", "--per-class", "--repeats", "--out")
"""Options of a bake-off that a whole run does not take, or takes with another value."""


def write_ranking_page(path: Path, *, study: Mapping[str, Any], settings_yaml: str) -> None:
    """Write ``study.html`` of a study that ranks its points; the file appears complete or not at all.

    Args:
        path: the file, in the folder of the study, whose runs hold the images that the page shows.
        study: content of ``study.json``.
        settings_yaml: every setting that the runs share.
    """
    others = _other_arms(study)
    text = (
        environment()
        .get_template("ranking.html")
        .render(
            study=study,
            rows=in_order(study),
            others=others,
            words=MEASURES[study["measure"]],
            interval=interval_note(study),
            figure=Markup(_accuracies(study)) if study["points"] else Markup(""),  # noqa: S704 - our own markup, names escaped by matplotlib
            samples=_samples(study, path.parent),
            memory=memory_field(study),
            whole_run=whole_run_command(study),
            again=more_runs_command(study),
            reports=[quote(f"{row['folder']}/report.html") for row in study["runs"]],
            labels={str(point["point"]): point["label"] for point in [*study["points"], *study["failed"]]},
            figure_of=figure,
            settings_yaml=settings_yaml,
        )
    )
    write_text(path, text)


def ranking_table(study: Mapping[str, Any]) -> Table:
    """Show the ranking in the terminal: a row per generator, the real images alone, and what failed.

    Args:
        study: content of ``study.json``.
    """
    notes = [f"[low, high]: {interval_note(study)}"] if study["points"] else []
    notes += ["Agreement, MMD, time and memory per image: study.html"] if study["points"] else []
    notes += [f"{failed['label']} failed: {failed['reason']}" for failed in study["failed"]]
    table = Table(box=box.SIMPLE_HEAD, caption=Text("\n".join(notes)), caption_justify="left")
    arm = (study["ranking"] or {}).get("arm", "")
    table.add_column("place", no_wrap=True)
    table.add_column("generator", overflow="fold", min_width=14)
    for head in (f"{arm}, %\n[low, high]", "minus real, points\nall at once", "whole run"):
        table.add_column(Text(head), justify="right", no_wrap=True)
    for row in in_order(study):
        if row["label"] == FLOOR:
            table.add_row("", "real alone", Text(percent_interval(row["accuracy"])), "floor")
            continue
        table.add_row(
            place_words(row["place"]),
            Text(row["label"]),
            Text(percent_interval(row["arms"][arm])),
            Text(points_interval(row["minus_real"])),
            "n/a" if row["whole_run_seconds"] is None else duration(row["whole_run_seconds"]),
        )
    for failed in study["failed"]:
        table.add_row("failed", Text(failed["label"]))
    return table


def in_order(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The ranked points and, at the place of its mean, the real images alone."""
    if not study["points"]:
        return []
    floor, arm = study["ranking"]["floor"], study["ranking"]["arm"]
    rows = [dict(point) for point in study["points"]]
    position = sum(row["arms"][arm]["mean"] >= floor["mean"] for row in rows)
    return [*rows[:position], {"label": FLOOR, "accuracy": floor}, *rows[position:]]


def place_words(place: Sequence[int]) -> str:
    """A range of places.

    Example:
        >>> place_words([1, 1]), place_words([1, 3])
        ('1', '1 to 3')
    """
    best, worst = place
    return f"{best}" if best == worst else f"{best} to {worst}"


def memory_field(study: Mapping[str, Any]) -> str:
    """Which memory the page shows: that of the device if it has some, otherwise that of the process."""
    has_own = any(point["device_memory_gb"] is not None for point in study["points"])
    return "device_memory_gb" if has_own else "memory_gb"


def interval_note(study: Mapping[str, Any]) -> str:
    """Explain the brackets."""
    if not study["points"]:
        return ""
    ranking = study["ranking"]
    if ranking["interval"] == "images":
        return (
            f"95% intervals over {ranking['images']:,} validation images and {ranking['trainings']} "
            "trainings of one run; they do not cover another adaptation or other drawn images"
        )
    differ = "which real images they use" if study["repeats_differ_in"] == "subset" else "the seed"
    return f"95% intervals over {study['points'][0]['runs']} runs, which differ in {differ}"


def whole_run_command(study: Mapping[str, Any]) -> str | None:
    """The command of the whole run with the generator that came first; None if it is not known."""
    words = _words(study)
    if not words or not study["points"]:
        return None
    kept = _without(words, _LEFT_OUT)
    return shlex.join(["understudy", "run", *kept[2:], *_generator_words(study["points"][0]["point"], study)])


def more_runs_command(study: Mapping[str, Any]) -> str | None:
    """The command that adds runs of each generator: at least two, up to at least five; None if not known."""
    words, repeats = _words(study), 1 + max(row["repeat"] for row in study["runs"])
    return f"{shlex.join(_without(words, ('--repeats',)))} --repeats {max(5, repeats + 2)}" if words else None


def _words(study: Mapping[str, Any]) -> list[str]:
    words = shlex.split(study["environment"]["command"])
    return words if words[:2] == ["understudy", "bakeoff"] else []


def _without(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """A command without some options and their values."""
    return [
        word
        for before, word in zip(["", *words], words, strict=False)
        if before not in options and word.partition("=")[0] not in options
    ]


def _generator_words(point: str, study: Mapping[str, Any]) -> list[str]:
    """Options of ``understudy run`` that choose a generator."""
    chosen = next(row["generator"] for row in study["points"] if row["point"] == point)
    if chosen["images"]:
        return ["--generator", "folder", "--set", f"generator.images=[{chosen['images'][0]}]"]
    is_plain = chosen["adapt"] == "none" and chosen["name"] != "glyphs"
    return ["--generator", chosen["name"], *(["--set", "adapt.method=none"] if is_plain else [])]


def _other_arms(study: Mapping[str, Any]) -> list[str]:
    """Arms with synthetic images that do not rank."""
    names = dict.fromkeys(name for point in study["points"] for name in point["arms"])
    return [name for name in names if name != study["ranking"]["arm"]]


def _samples(study: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The first image of each class, real and of every generator, side by side."""
    if not study["points"]:
        return []
    runs = {row["point"]: folder / row["folder"] for row in reversed(study["runs"])}
    sets = {"real": LabelledSet.load(runs[study["points"][0]["point"]] / "data" / "train.parquet")}
    for point in study["points"]:
        sets[point["label"]] = LabelledSet.load(runs[point["point"]] / "synthetic" / "curated.parquet")
    tile = tile_size(*sets.values())
    rows = []
    for label, images in sets.items():
        shown = range(min(images.num_classes, _MOST_TILES))
        indices = [int(np.argmax(images.labels == number)) for number in shown if images.counts[number]]
        rows.append(
            {
                "label": label,
                "count": len(indices),
                "uri": tiles_uri(images, indices, tile) if indices else "",
                "pixelated": tile < _LARGEST_PIXELATED,
            }
        )
    return rows


def _accuracies(study: Mapping[str, Any]) -> str:
    """Accuracy of every generator with its interval, beside the real images alone."""
    ranking, others = study["ranking"], _other_arms(study)
    drawn, axes = rows_figure([point["label"] for point in study["points"]])
    floor = ranking["floor"]
    axes.axvspan(100 * floor["low"], 100 * floor["high"], color=REAL, alpha=0.18, linewidth=0)
    axes.axvline(100 * floor["mean"], color=REAL, linewidth=1.5)
    for row, point in enumerate(study["points"]):
        curves = (
            (ranking["arm"], ACCENT, "o", row),
            *((name, MUTED, "D", row + 0.22) for name in others[:1]),
        )
        for name, colour, marker, at in curves:
            if name not in point["arms"]:
                continue
            measured = point["arms"][name]
            axes.plot([100 * measured["low"], 100 * measured["high"]], [at, at], color=colour, linewidth=2.2)
            axes.plot([100 * measured["mean"]], [at], marker, color=colour, markersize=8, markeredgewidth=0)
    axes.margins(x=0.06)
    axes.set_xlabel(f"{MEASURES[study['measure']]} on validation images, %")
    what = f"{MEASURES[study['measure']].capitalize()} of every generator on validation images"
    return to_svg(drawn, title=f"{what} with 95% intervals; the line is that of the real images alone")
