"""The report's panel on accuracy: the verdict in a few words, and what every arm reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from understudy.evaluation.accuracy import CLASS_BALANCED, deciding_differences, measured_by
from understudy.evaluation.choice import chosen_by, error_on_val
from understudy.evaluation.class_sizes import MEASURES
from understudy.report.at_once import holds_at_once
from understudy.report.balance import baseline, measure_of
from understudy.report.figures import (
    ACCENT,
    INK,
    REAL,
    differences_figure,
    has_short_names,
    rows_figure,
    to_svg,
)
from understudy.report.wording import lead_and_rest, percent


def accuracy_panel(results: Mapping[str, Any], arm_summaries: Mapping[str, str]) -> dict[str, Any]:
    """Values for the opening of the page and ``accuracy.html``.

    Args:
        results: content of ``results.json``.
        arm_summaries: per arm, one line that says what it trains on.

    Returns:
        ``answer``, ``headline`` (see :func:`headline`), ``arm_summaries``, ``measure`` (a key of an arm) and
        ``measure_words``, ``chosen_by`` (the field with the figure on validation images), ``baseline`` (what
        always answering the largest class reaches, if classes differ in size), ``bars`` and ``differences``
        (SVG; ``differences`` empty with one arm), ``at_once`` (which differences hold for all rows at once),
        ``longer`` (whether some arm is compared with ``real-long``), ``worth_of_val`` and
        ``worth_of_balance`` (see :func:`worth_of`), ``equal_steps`` (whether all arms train for as many
        steps).
    """
    arms, measure = results["arms"], measure_of(results)
    measured = {name: measured_by(arm, measure) for name, arm in arms.items()}
    words = MEASURES[measure]
    return {
        "answer": answer(results),
        "headline": headline(results),
        "arm_summaries": arm_summaries,
        "measure": measure,
        "measure_words": words,
        "chosen_by": chosen_by(arms, measure),
        "baseline": baseline(results),
        "bars": Markup(accuracy_bars(measured, words)),  # noqa: S704 - our own markup, names escaped by matplotlib
        "differences": Markup(difference_intervals(measured, words)) if len(arms) > 1 else Markup(""),  # noqa: S704 - as above
        "at_once": holds_at_once(results, "minus_real"),
        "longer": any("minus_real_long" in arm for arm in arms.values()),
        "worth_of_val": worth_of(results, "real+val"),
        "worth_of_balance": worth_of(results, CLASS_BALANCED),
        "equal_steps": len({arm.get("steps") for arm in arms.values()}) == 1,
    }


def answer(results: Mapping[str, Any]) -> str:
    """Return the verdict in a few words."""
    best = results["verdict"]["best"]
    if results["verdict"]["helps"]:
        return "Synthetic data helps here"
    if best == "real" and len(results["arms"]) == 1:
        return "Synthetic data was not compared"
    if best == "real" or deciding(results)["real"]["high"] < 0:
        return "Synthetic data does not help here"
    return "No clear gain from synthetic data"


def headline(results: Mapping[str, Any]) -> tuple[str, str]:
    """The sentences of the verdict that stand at the top in large letters, and the others.

    The first sentence is about ``real`` alone. It stands by itself unless it tells of a gain, and the verdict
    of none.
    """
    verdict = results["verdict"]
    is_half = not verdict["helps"] and verdict["best"] != "real" and deciding(results)["real"]["low"] > 0
    return (verdict["sentence"], "") if is_half else lead_and_rest(verdict["sentence"])


def arm_to_take(results: Mapping[str, Any]) -> str:
    """The arm whose classifier to use: that of the verdict if it helps, else one of real images alone.

    Of these, it learns from the validation images if one does, and sees every class equally often if that is
    surely better on validation images, by more than one standard error.
    """
    verdict, arms = results["verdict"], results["arms"]
    if verdict["helps"]:
        return str(verdict.get("against_val", verdict["best"]))
    on_val = chosen_by(arms, measure_of(results))
    names = ["real"]
    if CLASS_BALANCED in arms:
        balanced = arms[CLASS_BALANCED]
        error = error_on_val(balanced, on_val, num_val=results["data"]["val"])
        is_better = balanced[on_val] - arms["real"][on_val] > error
        names = [CLASS_BALANCED, "real"] if is_better else names
    return next((f"{name}+val" for name in names if f"{name}+val" in arms), names[0])


def why_real_alone(results: Mapping[str, Any]) -> str:
    """Why :func:`arm_to_take` is an arm of real images alone; empty if it is not, or has no rival."""
    verdict = results["verdict"]
    best = verdict["best"]
    if verdict["helps"] or best == "real":
        return ""
    rivals = [name for name, minus in deciding(results).items() if minus["low"] <= 0]
    named = "real" if "real" in rivals or not rivals else " and ".join(rivals)
    return f"the arm of the verdict, {best}, is not surely better than {named}"


def worth_of(results: Mapping[str, Any], rival: str) -> str:
    """Compare what a further way to use real images gives with what synthetic images give.

    Args:
        results: content of ``results.json``.
        rival: ``real+val`` or ``real+class-balanced``.

    Returns:
        ``as much as`` or ``more than``; empty if the arm of the verdict does not beat the real train images
        alone, or also beats the rival, or was not compared with it.
    """
    differences = deciding(results)
    difference = differences.get(rival)
    if difference is None or difference["low"] > 0 or differences["real"]["low"] <= 0:
        return ""
    return "more than" if difference["high"] < 0 else "as much as"


def deciding(results: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """The differences that decide the verdict of a run, by rival of real images alone.

    Args:
        results: content of ``results.json``.

    Returns:
        As :func:`understudy.evaluation.accuracy.deciding_differences`.
    """
    verdict, chosen = results["verdict"], _chosen(results)
    arm = verdict.get("against_val", verdict["best"])  # earlier versions did not name it
    is_other = arm != verdict["best"]
    partner = measured_by(results["arms"][arm], measure_of(results)) if is_other else chosen
    return deciding_differences(chosen, partner)


def _chosen(results: Mapping[str, Any]) -> Mapping[str, Any]:
    """The figures of the arm that the verdict is about."""
    verdict = results["verdict"]
    judged: Mapping[str, Any] | None = verdict.get("judged")
    return judged or measured_by(results["arms"][verdict["best"]], measure_of(results))


def rival(results: Mapping[str, Any]) -> str:
    """Return the arm to compare with ``real``: the best one or, if that is ``real``, the best other one.

    "Best" is decided on validation images.
    """
    best = str(results["verdict"]["best"])
    arms = results["arms"]
    others = [name for name in arms if name != "real" and "val_accuracy" in arms[name]]
    if best != "real" or not others:
        return best
    field = chosen_by(arms, measure_of(results))
    return str(max(others, key=lambda name: float(arms[name][field])))


def accuracy_bars(measured: Mapping[str, Mapping[str, Any]], words: str) -> str:
    """Bars of accuracy on test images, in percent from 0 to 100, with 95% intervals.

    Args:
        measured: ``mean``, ``low`` and ``high`` of every arm, fractions.
        words: the measure, such as ``balanced accuracy``.

    Returns:
        SVG markup.
    """
    figure, axes = rows_figure(list(measured))
    height = 0.56 if has_short_names(measured) else 0.36
    for row, (name, arm) in enumerate(measured.items()):
        accuracy = {key: 100 * arm[key] for key in ("mean", "low", "high")}
        axes.barh(
            row,
            accuracy["mean"],
            height=height,
            color=REAL if name == "real" else ACCENT,
            alpha=0.6,
            linewidth=0,
        )
        axes.plot(
            [accuracy["low"], accuracy["high"]],
            [row, row],
            "-|",
            color=INK,
            linewidth=2,
            markersize=9,
            markeredgewidth=2,
        )
        axes.text(
            104,
            row,
            percent(arm["mean"]),
            va="center",
            ha="left",
            color=INK,
            fontsize=13,
            clip_on=False,
        )
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"{words} on real test images, %")
    return to_svg(figure, title=f"{words.capitalize()} of every arm with 95% intervals")


def difference_intervals(measured: Mapping[str, Mapping[str, Any]], words: str) -> str:
    """Differences to ``real`` in percentage points with 95% intervals, and a line at zero.

    Args:
        measured: ``minus_real`` of every arm; at least one other than ``real``.
        words: the measure.

    Returns:
        SVG markup.
    """
    return differences_figure(
        {name: arm["minus_real"] for name, arm in measured.items() if name != "real"},
        axis=f"difference in {words} to real data alone, points",
        title=f"Difference of every arm to real data alone in {words}, with 95% intervals",
    )
