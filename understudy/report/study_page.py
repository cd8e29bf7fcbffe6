"""A study as a page and as a table for the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from understudy.core.files import write_text
from understudy.evaluation.accuracy import RIVALS, measured_by
from understudy.evaluation.class_sizes import MEASURES
from understudy.evaluation.repeats import difference_field, judged_by
from understudy.report.figures import (
    CURVES,
    LINE,
    REAL,
    WIDTH,
    band,
    legend_above,
    new_figure,
    shorten,
    to_svg,
)
from understudy.report.html import environment
from understudy.report.ranking_page import ranking_table
from understudy.report.wording import percent, percent_interval, points_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST_ROOM = 0.1
"""Room above and below the means for bands, as a share: wider ones are cut, so that the means stay apart."""
_FURTHER = ("minus_real_val", "minus_class_balanced")
"""Differences to further arms of real images alone, which stand in columns of their own."""
_ARM_DISTANCE = 0.13  # of the distance of two names: how far the arms stand apart


def write_study_page(path: Path, *, study: Mapping[str, Any], settings_yaml: str) -> None:
    """Write ``study.html``; the file appears complete or not at all.

    Args:
        path: the file, in the folder of the study.
        study: content of ``study.json``, with at least one point.
        settings_yaml: every setting that the runs share.
    """
    arms = arm_names(study)
    measure = study.get("measure", "accuracy")
    judged = {**study, "points": judged_by(study["points"], measure)}
    others = [name for name in arms if name != "real"]
    page = environment().get_template("study.html")
    text = page.render(
        study=study,
        arms=arms,
        others=others,
        accuracy_figure=Markup(point_curves(judged, "accuracy")),  # noqa: S704 - our own markup, names escaped by matplotlib
        difference_figure=Markup(point_curves(judged, "difference")) if others else Markup(""),  # noqa: S704 - as above
        is_cut={
            field: is_cut(judged, field)
            for field in ("accuracy", "difference")
            if others or field == "accuracy"
        },
        difference_field=difference_field,
        measure=measure,
        words=MEASURES[measure],
        place="" if measure == "accuracy" else f"{measure}.",
        is_repeated="verdict" in study,
        further={field: RIVALS[field] for field in further_fields(study)},
        longer=longer_arms(study),
        interval=interval_note(study),
        commands=commands(study),
        reports=[quote(f"{row['folder']}/report.html") for row in study["runs"]],
        labels={str(point["point"]): point["label"] for point in study["points"]},
        settings_yaml=settings_yaml,
    )
    write_text(path, text)


def study_table(study: Mapping[str, Any]) -> Table | Group:
    """Show accuracy and difference of every arm at every point.

    The difference is to ``real``, or to ``real-long`` for arms that train for longer.

    Args:
        study: content of ``study.json``.

    Returns:
        A table with a row per point and arm; of repeats, a row per arm, and a second table if arms were
        compared with further ones of real images alone; of a bake-off, a row per generator.
    """
    if "ranking" in study:
        return ranking_table(study)
    if "verdict" in study:
        return Group(_table_of_repeats(study), *_table_of_further_rivals(study))
    table = _empty_table([f"[low, high]: {interval_note(study)}"])
    table.add_column(Text(study["unit"]))
    table.add_column("arm")
    table.add_column(Text("accuracy, %\n[low, high]"), justify="right")
    measure = study.get("measure", "accuracy")
    if measure != "accuracy":
        table.add_column(Text(f"{MEASURES[measure]}, %\n[low, high]"), justify="right")
    longer = longer_arms(study)
    table.add_column(Text(f"difference{'' if longer else ' to real'}, points\n[low, high]"), justify="right")
    if longer:
        table.add_column("to")
    table.add_column("runs", justify="right")
    for point in study["points"]:
        for number, (name, arm) in enumerate(point["arms"].items()):
            judged = measured_by(arm, measure)
            table.add_row(
                Text("" if number else point["label"]),
                Text(name),
                Text(percent_interval(arm["accuracy"])),
                *([Text(percent_interval(judged))] if measure != "accuracy" else []),
                Text("reference" if name == "real" else points_interval(judged[difference_field(judged)])),
                *([RIVALS[difference_field(arm)] if name != "real" else ""] if longer else []),
                str(len(arm["accuracy"]["runs"])),
                end_section=number == len(point["arms"]) - 1,
            )
    return table


def _table_of_further_rivals(study: Mapping[str, Any]) -> list[Table]:
    """A row per arm that was compared with further arms of real images alone; no table without such arms."""
    (point,), measure, fields = study["points"], study["measure"], further_fields(study)
    if not fields:
        return []
    table = _empty_table([])
    table.add_column("arm", overflow="fold")
    for field in fields:
        head = f"difference to {RIVALS[field]},\npoints [low, high]"
        table.add_column(Text(head), justify="right", no_wrap=True)
    for name, arm in point["arms"].items():
        found = measured_by(arm, measure)
        if any(field in found for field in fields):
            against = [points_interval(found[field]) if field in found else "" for field in fields]
            table.add_row(Text(name), *map(Text, against))
    return [table]


def further_fields(study: Mapping[str, Any]) -> list[str]:
    """The differences to further arms of real images alone that some arm of a study has."""
    measure = study.get("measure", "accuracy")
    arms = [measured_by(arm, measure) for point in study["points"] for arm in point["arms"].values()]
    return [field for field in _FURTHER if any(field in arm for arm in arms)]


def _table_of_repeats(study: Mapping[str, Any]) -> Table:
    """A row per arm over all runs; the arms of the verdict have a star."""
    (point,), measure, judged = study["points"], study["measure"], study["verdict"]["arms"]
    notes = [f"[low, high]: {interval_note(study)}", "*: chosen on validation images of other runs"]
    if has_spread := point["runs"] > 1:
        notes.append("spread: standard deviation of the difference to real between runs, in points; in")
        notes.append("parentheses the standard error that the interval of a run by itself stands for")
    table = _empty_table(notes)
    table.add_column("arm", overflow="fold")
    heads = [f"{MEASURES[measure]}, %\n[low, high]", "difference to real, points\n[low, high]"]
    for head in [*heads, *(["spread"] if has_spread else [])]:
        table.add_column(Text(head), justify="right", no_wrap=True)
    for name, arm in point["arms"].items():
        found = measured_by(arm, measure)
        of_real = found[field := difference_field(found)]
        spread = "" if name == "real" or "spread" not in of_real else spread_words(of_real["spread"])
        to_long = " to real-long" if field == "minus_real_long" else ""
        table.add_row(
            Text(f"{name} *" if name in judged else name),
            Text(percent_interval(found)),
            Text("reference" if name == "real" else f"{points_interval(of_real)}{to_long}"),
            *([Text(spread)] if has_spread else []),
        )
    return table


def spread_words(spread: Mapping[str, float]) -> str:
    """The spread between runs, and in parentheses that within a run, in points.

    Example:
        >>> spread_words({"between": 0.013, "within": 0.006})
        '1.3 (0.6)'
    """
    return f"{percent(spread['between'])} ({percent(spread['within'])})"


def _empty_table(notes: Sequence[str]) -> Table:
    return Table(box=box.SIMPLE_HEAD, caption=Text("\n".join(notes)), caption_justify="left")


def longer_arms(study: Mapping[str, Any]) -> list[str]:
    """Arms compared with ``real-long`` at some point, because they train for longer than ``real``."""
    found = (
        name
        for point in study["points"]
        for name, arm in point["arms"].items()
        if difference_field(arm) == "minus_real_long"
    )
    return list(dict.fromkeys(found))


def yardstick(study: Mapping[str, Any], name: str) -> str:
    """Name the arms that an arm is compared with over the points of a study, for a legend."""
    fields = {difference_field(point["arms"][name]) for point in study["points"] if name in point["arms"]}
    return ", to real-long" if len(fields) == 1 else ", to real or real-long, see the table"


def arm_names(study: Mapping[str, Any]) -> list[str]:
    """All arms of a study, in the order in which they are compared."""
    return list(dict.fromkeys(name for point in study["points"] for name in point["arms"]))


def interval_note(study: Mapping[str, Any]) -> str:
    """Explain the brackets.

    Args:
        study: content of ``study.json``.
    """
    kinds = {arm["accuracy"]["interval"] for point in study["points"] for arm in point["arms"].values()}
    kind = (
        "intervals over runs and test images" if "runs and images" in kinds else "Student intervals over runs"
    )
    over_runs = f"95% {kind}; runs differ in {_differ(study)}, differences are paired by run"
    over_images = "95% intervals over test images and trainings of one run"
    if "images" not in kinds:
        return over_runs
    if kinds == {"images"}:
        return over_images
    return f"{over_runs}; where there is only one run, or all runs agree, {over_images}"


def commands(study: Mapping[str, Any]) -> list[str]:
    """Commands, or calls, that add points and repeats to a study; only repeats, if there is nothing else."""
    points = [str(point["point"]) for point in study["points"]]
    repeats = 1 + max(row["repeat"] for row in study["runs"])
    words = shlex.split(study["environment"]["command"])
    has_points = "verdict" not in study
    if words[:2] not in (["understudy", "study"], ["understudy", "run"]):
        call = f"run_study({study['kind']!r}, settings, out, "
        same = f"points=[{', '.join(map(repr, points))}], " if has_points else ""
        more = [f"{call}points=[...], repeats={repeats})"] if has_points else []
        return [*more, f"{call}{same}repeats={repeats + 2})"]
    kept = shlex.join(
        word
        for before, word in zip(["", *words], words, strict=False)
        if before not in ("--points", "--repeats") and not word.startswith(("--points", "--repeats"))
    )
    if not has_points:
        return [f"{kept} --repeats {repeats + 2}"]
    return [
        f"{kept} --points MORE --repeats {repeats}",
        f"{kept} --points {shlex.quote(','.join(points))} --repeats {repeats + 2}",
    ]


def point_curves(study: Mapping[str, Any], field: str) -> str:
    """Draw accuracy, or the difference to real data alone, over the points of a study.

    Numbers get curves with 95% intervals as bands; names get points with 95% intervals as lines.

    Args:
        study: content of ``study.json``.
        field: ``accuracy``, or ``difference``, which is the one that the study's sentence uses.

    Returns:
        SVG markup.
    """
    figure, axes = new_figure(WIDTH, 320)
    arms = [name for name in arm_names(study) if field == "accuracy" or name != "real"]
    colours = dict(zip([name for name in arms if name != "real"], _cycle(len(arms)), strict=False)) | {
        "real": (REAL, "_")
    }
    if field == "difference":
        axes.axhline(0, color=REAL, linewidth=1.5)
    longer = longer_arms(study) if field == "difference" else []
    for number, name in enumerate(arms):
        label = f"{name}{yardstick(study, name)}" if name in longer else name
        shown = [
            (place, _measured(point["arms"][name], field))
            for place, point in enumerate(study["points"])
            if name in point["arms"]
        ]
        colour, marker = colours[name]
        if study["axis"] == "names":
            shift = _ARM_DISTANCE * (number - (len(arms) - 1) / 2)
            _draw_names(
                axes, [(place + shift, measured) for place, measured in shown], colour, marker, label=label
            )
        else:
            at = [(study["points"][place]["point"], measured) for place, measured in shown]
            band(axes, at, (colour, marker), label=label)
    _lay_out(axes, study)
    low, high, _ = _limits(study, field)
    axes.set_ylim(low, high)
    words = MEASURES[study.get("measure", "accuracy")]
    axes.set_ylabel(f"{words}, %" if field == "accuracy" else "difference to real data alone, points")
    legend_above(axes)
    what = (
        f"{words.capitalize()} of every arm"
        if field == "accuracy"
        else "Difference of every arm to real data alone"
    )
    return to_svg(figure, title=f"{what} over the points of the study with 95% intervals")


def is_cut(study: Mapping[str, Any], field: str) -> bool:
    """Whether some interval extends beyond the figure."""
    return _limits(study, field)[2]


def _measured(arm: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """Return the accuracy or the difference of an arm: ``mean``, ``low``, ``high``."""
    measured: Mapping[str, Any] = arm[difference_field(arm) if field == "difference" else field]
    return measured


def _differ(study: Mapping[str, Any]) -> str:
    return "which real images they use" if study["repeats_differ_in"] == "subset" else "the seed"


def _cycle(count: int) -> list[tuple[str, str]]:
    return [CURVES[number % len(CURVES)] for number in range(count)]


def _limits(study: Mapping[str, Any], field: str) -> tuple[float, float, bool]:
    """Return the lowest and highest value shown, in percent, and whether some interval is cut."""
    shown = [
        arm
        for point in study["points"]
        for name, arm in point["arms"].items()
        if field == "accuracy" or name != "real"
    ]
    measured = [_measured(arm, field) for arm in shown]
    zero = [0.0] if field == "difference" else []
    means = [one["mean"] for one in measured] + zero
    lowest, highest = (end(one[name] for one in measured) for end, name in ((min, "low"), (max, "high")))
    room = max(_LEAST_ROOM, max(means) - min(means))
    low, high = max(lowest, min(means) - room), min(highest, max(means) + room)
    low, high = min([low, *zero]), max([high, *zero])
    margin = 0.06 * max(high - low, 0.01)
    return 100 * (low - margin), 100 * (high + margin), lowest < low - margin or highest > high + margin


def _draw_names(
    axes: Axes, at: Sequence[tuple[float, Mapping[str, float]]], colour: str, marker: str, *, label: str
) -> None:
    places = [place for place, _ in at]
    mean, low, high = ([100 * measured[end] for _, measured in at] for end in ("mean", "low", "high"))
    axes.vlines(places, low, high, color=colour, linewidth=2)
    edge = 2.5 if marker == "_" else 0
    axes.plot(
        places,
        mean,
        marker=marker,
        linestyle="none",
        color=colour,
        markersize=8,
        markeredgewidth=edge,
        label=label,
    )


def _lay_out(axes: Axes, study: Mapping[str, Any]) -> None:
    labels = [point["label"] for point in study["points"]]
    if study["axis"] == "names":
        axes.set_xticks(range(len(labels)), [shorten(label, 16) for label in labels], parse_math=False)
        axes.set_xlim(-0.6, len(labels) - 0.4)
    else:
        if study["axis"] == "log":
            axes.set_xscale("log")
        axes.set_xticks([point["point"] for point in study["points"]], labels)
        axes.set_xticks([], minor=True)
        axes.margins(x=0.06)
    axes.grid(axis="y", color=LINE, linewidth=1)
    axes.set_axisbelow(True)
    axes.set_xlabel(study["unit"])
