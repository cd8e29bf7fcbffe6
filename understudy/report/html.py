"""The page that a run ends with: one file that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from understudy.data import LabelledSet
from understudy.report import figures, gallery, wording
from understudy.report.gap import gap_section
from understudy.report.training import training_section
from understudy.runs import write_text

_MAX_CLASSES_SHOWN = 30
_MAX_PAIRS = 10


def write_report(
    path: Path,
    *,
    results: Mapping[str, Any],
    settings_yaml: str,
    train: LabelledSet,
    synthetic: LabelledSet,
    confusions: Mapping[str, np.ndarray],
    arm_summaries: Mapping[str, str] | None = None,
) -> None:
    """Write ``report.html``; it appears whole or not at all.

    Args:
        path: the file.
        results: content of ``results.json``; sections other than ``data``, ``arms`` and ``verdict`` may be absent or empty.
        settings_yaml: every setting of the run.
        train: real train images.
        synthetic: synthetic images that were kept; the provenance columns ``nearest_id``, ``nearest_distance`` and
            ``flag`` are shown where present.
        confusions: per arm, counts of test images of shape (C, C): rows are true classes, columns predicted ones.
        arm_summaries: one line per arm that says what it trains on.

    Raises:
        InputError: if ``train`` is not a train set or ``synthetic`` not a synthetic one.
    """
    train.require("train", purpose="the report's gallery of real images")
    synthetic.require("synthetic", purpose="the report's gallery of synthetic images")
    results = present(results)
    compared = ["real", _rival(results)]
    page = environment().get_template("report.html")
    text = page.render(
        results=results,
        answer=_answer(results),
        settings_yaml=settings_yaml,
        arm_summaries=arm_summaries or {},
        bars=Markup(figures.accuracy_bars(results["arms"])),  # noqa: S704 - our own markup, names escaped by matplotlib
        differences=_differences(results["arms"]),
        scale=_scale(results.get("scale", {})),
        gap=gap_section(results),
        training=training_section(results, compared),
        longer=any("minus_real_long" in arm for arm in results["arms"].values()),
        equal_steps=len({arm.get("steps") for arm in results["arms"].values()}) == 1,
        curve=_curve(results.get("adaptation", {})),
        matrices=_matrices(confusions, train.class_names, compared),
        confused=confused_pairs(confusions, train.class_names, compared, count=20),
        classes=_class_table(results, train, synthetic),
        rows=gallery.class_rows(train, synthetic, max_classes=_MAX_CLASSES_SHOWN),
        pixelated=gallery.tile_size(train, synthetic) < 64,
        per_class=gallery.PER_CLASS,
        pairs=gallery.closest_pairs(train, synthetic, count=_MAX_PAIRS),
        compared=compared,
    )
    write_text(path, text)


def environment() -> Environment:
    """Jinja with our templates: every value is escaped in ``.html``, and a missing one is an error."""
    loader = PackageLoader("understudy.report")
    jinja = Environment(
        loader=loader,
        autoescape=select_autoescape(enabled_extensions=("html",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for wording_filter in (
        wording.percent,
        wording.points,
        wording.duration,
        wording.percent_interval,
        wording.points_interval,
        wording.real_images,
    ):
        jinja.filters[wording_filter.__name__] = wording_filter
    return jinja


def present(results: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that have something to say."""
    return {name: section for name, section in results.items() if section}


def confused_pairs(
    confusions: Mapping[str, np.ndarray], class_names: tuple[str, ...], arms: list[str], *, count: int
) -> list[dict[str, Any]]:
    """The most frequent mistakes of the compared arms.

    Args:
        confusions: per arm, counts of shape (C, C), rows true.
        class_names: C names.
        arms: the arms to look at; those without a matrix are passed over.
        count: pairs at most.

    Returns:
        Per pair of classes ``true``, ``named`` and ``shares``: by arm, the share of the true class that is named so;
        largest first.
    """
    shares = {}
    for arm in arms:
        if arm in confusions:
            shares[arm] = confusions[arm] / np.maximum(confusions[arm].sum(axis=1, keepdims=True), 1)
            np.fill_diagonal(shares[arm], 0)
    if not shares:
        return []
    worst = np.max(list(shares.values()), axis=0)
    order = np.argsort(-worst, axis=None, kind="stable")[:count]
    pairs = [divmod(int(place), len(class_names)) for place in order if worst.flat[place] > 0]
    return [
        {
            "true": class_names[row],
            "named": class_names[column],
            "shares": {arm: float(table[row, column]) for arm, table in shares.items()},
        }
        for row, column in pairs
    ]


def _answer(results: Mapping[str, Any]) -> str:
    """The verdict in a few words."""
    best = results["verdict"]["best"]
    if results["verdict"]["helps"]:
        return "Synthetic data helps here"
    if best == "real" and len(results["arms"]) == 1:
        return "Synthetic data was not compared"
    if best == "real" or results["arms"][best]["minus_real"]["high"] < 0:
        return "Synthetic data does not help here"
    return "No clear gain from synthetic data"


def _rival(results: Mapping[str, Any]) -> str:
    """The arm to hold against ``real``: the best one, or if that is ``real``, the best of the others on validation images."""
    best = str(results["verdict"]["best"])
    others = [name for name in results["arms"] if name != "real"]
    if best != "real" or not others:
        return best
    return str(max(others, key=lambda name: float(results["arms"][name]["val_accuracy"])))


def _differences(arms: Mapping[str, Any]) -> Markup:
    return Markup(figures.difference_intervals(arms)) if len(arms) > 1 else Markup("")  # noqa: S704 - as above


def _scale(scale: Mapping[str, Any]) -> dict[str, Any]:
    """The figure, and the measured sizes of every arm as rows."""
    if not scale.get("arms"):
        return {}
    parts = ("curve", "minus_real", "worth_real_images")
    return {
        "figure": Markup(figures.scale_curves(scale)),  # noqa: S704 - as above
        "rows": [
            {"arm": name, "number": number, "accuracy": accuracy, "difference": difference, "worth": worth}
            for name, arm in scale["arms"].items()
            for number, (accuracy, difference, worth) in enumerate(zip(*(arm[part] for part in parts), strict=True))
        ],
        "smallest": scale["real"]["curve"][0]["images"],
        "largest": scale["real"]["curve"][-1]["images"],
    }


def _curve(adaptation: Mapping[str, Any]) -> Markup:
    if not adaptation.get("curve"):
        return Markup("")
    return Markup(figures.loss_curve(adaptation["curve"], best_step=adaptation["best_step"]))  # noqa: S704 - as above


def _matrices(confusions: Mapping[str, np.ndarray], class_names: tuple[str, ...], arms: list[str]) -> dict[str, Markup]:
    """A figure per compared arm, none if there are too many classes to read one."""
    if len(class_names) > _MAX_CLASSES_SHOWN:
        return {}
    return {
        arm: Markup(figures.confusion_matrix(confusions[arm], class_names, title=f"Confusion matrix of the arm {arm}"))  # noqa: S704
        for arm in dict.fromkeys(arms)
        if arm in confusions
    }


def _class_table(results: Mapping[str, Any], train: LabelledSet, synthetic: LabelledSet) -> list[dict[str, Any]]:
    """Per class: images, agreement and accuracy of every arm (None without test images)."""
    agreement = results.get("fidelity", {}).get("agreement", {}).get("per_class")
    return [
        {
            "name": name,
            "train": int(train.counts[label]),
            "synthetic": int(synthetic.counts[label]),
            "agreement": agreement[label] if agreement else None,
            "accuracy": {arm: measured["per_class"][label] for arm, measured in results["arms"].items()},
        }
        for label, name in enumerate(train.class_names)
    ]
