"""Tables for the terminal: the result of a run, and of further commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from understudy.core.listing import listed
from understudy.report.membership import ATTACKS
from understudy.report.wording import percent, percent_interval, points_interval, real_images_interval


def summary_table(results: Mapping[str, Any]) -> Table:
    """Show accuracy of every arm and its difference to ``real``.

    Args:
        results: content of ``results.json``.

    Returns:
        A table with a row per arm, in the order of ``results``; the arm that the verdict is about stands in
        bold with a star. If the size of the synthetic set was studied, a line per arm below says what the
        largest set is worth.
    """
    best = results["verdict"]["best"]
    # Text, not str: rich would take the brackets for markup.
    note = f"[low, high]: 95% intervals; *: chosen on {results['verdict'].get('chosen_on', 'val')}"
    caption = Text("\n".join([note, *_scale_lines(results.get("scale") or {})]))
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    table.add_column("arm")
    table.add_column(Text("accuracy, %\n[low, high]"), justify="right")
    table.add_column(Text("difference to real, points\n[low, high]"), justify="right")
    long = any("minus_real_long" in arm for arm in results["arms"].values())
    if long:
        table.add_column(Text("to real-long, equal steps\n[low, high]"), justify="right")
    table.add_column("seeds", justify="right")
    for name, arm in results["arms"].items():
        equal_steps = points_interval(arm["minus_real_long"]) if "minus_real_long" in arm else ""
        table.add_row(
            Text(f"{name} *" if name == best else name),
            Text(percent_interval(arm["accuracy"])),
            Text("reference" if name == "real" else points_interval(arm["minus_real"])),
            *([Text(equal_steps)] if long else []),
            str(len(arm["accuracy"]["seeds"])),
            style="bold" if name == best else None,
        )
    return table


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
        accuracies = [Text(percent_interval(arms[arm]["accuracy"])) for arms in columns.values()]
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
