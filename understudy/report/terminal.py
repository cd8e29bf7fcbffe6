"""Tables for the terminal: the result of a run, and of further commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from understudy.core.listing import listed
from understudy.evaluation.accuracy import measured_by
from understudy.evaluation.class_sizes import is_unbalanced
from understudy.report.at_once import holds_at_once
from understudy.report.balance import baseline, measure_of, small_classes
from understudy.report.membership import ATTACKS
from understudy.report.wording import percent, percent_interval, points_interval, real_images_interval

_BESIDE = {
    "accuracy": "accuracy,\n%",
    "balanced_accuracy": "balanced\naccuracy,\n%",
    "macro_f1": "macro\nF1, %",
}


def summary_table(results: Mapping[str, Any]) -> Table:
    """Show accuracy of every arm and its difference to ``real``, in the measure that the verdict is about.

    Args:
        results: content of ``results.json``.

    Returns:
        A table with a row per arm, in the order of ``results``; the arm that the verdict is about stands in
        bold with a star. If classes differ in size, the table also has the other measures, and a last row
        with what always answering the largest class reaches. If the size of the synthetic set was studied, a
        line per arm below says what the largest set is worth.
    """
    best, measure, constant = results["verdict"]["best"], measure_of(results), baseline(results)
    # The columns beside the measure of the verdict; without intervals, so that the table fits 80 characters.
    beside = [name for name in _BESIDE if name != measure] if constant or measure != "accuracy" else []
    has_long = any("minus_real_long" in arm for arm in results["arms"].values())
    table = Table(box=box.SIMPLE_HEAD, caption=Text("\n".join(_notes(results))), caption_justify="left")
    table.add_column("arm", overflow="fold")
    # Text, not str: rich would take the brackets for markup.
    for head in _heads(measure, beside, has_long=has_long):
        table.add_column(Text(head), justify="right", no_wrap=True)
    for name, arm in results["arms"].items():
        measured = measured_by(arm, measure)
        table.add_row(
            Text(f"{name} *" if name == best else name),
            *(percent(arm[other]["mean"]) for other in beside),
            Text(percent_interval(measured)),
            Text("reference" if name == "real" else points_interval(measured["minus_real"])),
            *([Text(_if_any(measured.get("minus_real_long")))] if has_long else []),
            *([] if beside else [str(len(measured["seeds"]))]),
            style="bold" if name == best else None,
        )
    if constant:
        figures = [percent(constant[name]) for name in (*beside, measure)]
        table.add_row(Text(f"always '{constant['class']}'"), *figures)
    return table


def _heads(measure: str, beside: Sequence[str], *, has_long: bool) -> list[str]:
    judged, difference = "accuracy, %\n[low, high]", "difference to real, points\n[low, high]"
    if beside:
        difference = "difference to real,\npoints [low, high]"
    if measure != "accuracy":
        judged = "balanced\naccuracy, %\n[low, high]"
        difference = "difference to real\nin balanced accuracy,\npoints [low, high]"
    return [
        *(_BESIDE[name] for name in beside),
        judged,
        difference,
        *(["to real-long, equal steps\n[low, high]"] if has_long else []),
        *([] if beside else ["seeds"]),
    ]


def _if_any(difference: Mapping[str, float] | None) -> str:
    return "" if difference is None else points_interval(difference)


def _notes(results: Mapping[str, Any]) -> list[str]:
    """The lines below the table: brackets and star, what figures hold for, small classes, larger sets."""
    lines = [f"[low, high]: 95% intervals; *: {results['verdict'].get('why', 'chosen on val')}"]
    if results["verdict"]["best"] != "real":
        lines.append("For these images and this generator; --repeats tries others.")
    if together := holds_at_once(results, "minus_real"):
        lines.append(together)
    small = small_classes(results)
    return [*lines, *([small] if small else []), *_scale_lines(results.get("scale") or {})]


def _scale_lines(scale: Mapping[str, Any]) -> list[str]:
    """Say how many real images the largest synthetic set of every arm is worth."""
    lines = []
    for name, arm in scale.get("arms", {}).items():
        curve = scale["real"]["curve"]
        worth = real_images_interval(arm["worth_real_images"][-1], curve[0]["images"], curve[-1]["images"])
        times = arm["overtakes_real_at"]["times"]
        overtakes = (
            "no size beats all real images clearly"
            if times is None
            else f"first beats all real images at {times:g} times their number"
        )
        lines.append(
            f"{name}, {arm['curve'][-1]['images']:,} synthetic images: worth {worth} real ones; {overtakes}"
        )
        if following := arm.get("next_doubling"):
            lines[-1] += (
                f"; {following['images']:,} would add {points_interval(following['gain'])} points if the "
                "trend continued"
            )
    if scale.get("stopped"):
        lines.append(scale["stopped"]["sentence"])
    return lines


def gap_table(gap: Mapping[str, Any]) -> Table:
    """Show the terms of the gap between real and synthetic images, a row each.

    Args:
        gap: the section ``gap`` of ``results.json``.
    """
    caption = Text("[low, high]: 95% intervals; *: distinct from 0 and from the noise floor")
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    table.add_column("term")
    table.add_column(Text("points\n[low, high]"), justify="right")
    table.add_column("share of the gap", justify="right")
    for name, term in gap["terms"].items():
        share = "" if term["share"] is None else f"{term['share']:.0%}"
        table.add_row(f"{name} *" if term["distinguishable"] else name, Text(points_interval(term)), share)
    return table


def shift_table(shift: Mapping[str, Any], class_names: Sequence[str] = ()) -> Table:
    """Show accuracy of every arm on corrupted images and on other test sets.

    Args:
        shift: the section ``shift`` of ``results.json``.
        class_names: of the run; those that a further test set lacks are named.
    """
    note = "accuracy, % [low, high]: 95% intervals; ECE: distance between confidence and accuracy"
    lacking = {
        name: [label for label in class_names if label not in test["classes"]]
        for name, test in shift["tests"].items()
    }
    lines = [
        f"{name} has no images of {listed(labels)}; arms choose among the other classes there"
        for name, labels in lacking.items()
        if labels
    ]
    has_means = any(is_unbalanced(test.get("per_class", ())) for test in shift["tests"].values())
    has_means = has_means or is_unbalanced(shift.get("per_class", ()))
    note += "; below: balanced accuracy" if has_means else ""
    caption = Text("\n".join([note, *lines]))
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    columns = {"test images": shift["clean"], "corrupted": shift["mean_corruption"]}
    columns |= {name: test["arms"] for name, test in shift["tests"].items()}
    columns = {name: arms for name, arms in columns.items() if arms}
    table.add_column("arm")
    for name in columns:
        table.add_column(Text(name), justify="right")
    table.add_column("ECE", justify="right")
    for arm in shift["clean"]:
        shown = ("accuracy", "balanced_accuracy") if has_means else ("accuracy",)
        accuracies = [
            Text("\n".join(percent_interval(arms[arm][name]) for name in shown)) for arms in columns.values()
        ]
        table.add_row(Text(arm), *accuracies, f"{shift['calibration'][arm]['ece']['mean']:.3f}")
    return table


def membership_table(membership: Mapping[str, Any]) -> Table:
    """Show what each attack finds at each false-positive rate, a row per arm.

    Args:
        membership: the section ``membership`` of ``results.json``.
    """
    note = "training images found, % [low, high]: 95% intervals; guessing finds the rate itself"
    caption = Text(
        "\n".join([note, *(f"not audited: {reason}" for reason in membership.get("skipped", {}).values())])
    )
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    attacks = membership["attacks"]
    arms = list(next(iter(attacks.values())))
    table.add_column("arm")
    for name, measured in attacks.items():
        for point in measured[arms[0]]["tpr"]:
            table.add_column(Text(f"{ATTACKS[name]}\nat {100 * point['fpr']:g}%"), justify="right")
    table.add_column("test accuracy, %", justify="right")
    for arm in arms:
        found = [
            Text(percent_interval(point["tpr"]))
            for measured in attacks.values()
            for point in measured[arm]["tpr"]
        ]
        table.add_row(Text(arm), *found, percent(membership["arms"][arm]["test_accuracy"]["mean"]))
    return table
