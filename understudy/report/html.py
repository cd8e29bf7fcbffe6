"""The page that a run ends with: one file that needs no network, and no script to be read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from understudy.core.files import write_text
from understudy.data.labelled_set import LabelledSet
from understudy.report import figures, gallery, wording
from understudy.report.browser import browser
from understudy.report.checks import checks
from understudy.report.classes import MAX_CLASSES_SHOWN, class_table, confused_pairs, matrices
from understudy.report.fidelity import fidelity_section
from understudy.report.gap import gap_section
from understudy.report.privacy import membership_section, memorisation_section
from understudy.report.shift import shift_section
from understudy.report.training import training_section

# What the page says that a further command measures, and what lies beside it.
_ADDED_BY = {
    "gap": ("understudy gap DIR", "takes the gap between synthetic and real images apart."),
    "shift": ("understudy evaluate DIR", "tests every arm on corrupted and on other images."),
    "membership": ("understudy audit DIR", "measures what an attacker learns about who was in."),
}
_FILES = (
    ("results.json", "every figure of this page"),
    ("README.md", "dataset card of the synthetic images"),
    ("settings.yaml", "every setting, resolved"),
    ("stages/", "record of each finished stage"),
    ("data/", "the real images, by split"),
    ("adapter/", "what adaptation learned, unless the generator was used as it is"),
    ("synthetic/", "plan, drawn images, what was kept and why; curated.parquet is the set"),
    ("arms/", "predictions of every training, and the best classifier of each arm"),
)


def write_report(
    path: Path,
    *,
    results: Mapping[str, Any],
    settings_yaml: str,
    train: LabelledSet,
    synthetic: LabelledSet,
    confusions: Mapping[str, np.ndarray],
    arm_summaries: Mapping[str, str] | None = None,
    val: LabelledSet | None = None,
    test: LabelledSet | None = None,
    named: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write ``report.html``; it appears whole or not at all.

    Args:
        path: the file.
        results: content of ``results.json``; sections other than ``data``, ``arms`` and ``verdict`` may be absent or empty.
        settings_yaml: every setting of the run.
        train: real train images.
        synthetic: synthetic images that were kept; what the provenance columns ``score``, ``flag``, ``nearest_id``, ``nearest_distance``
            and ``source_id`` say is shown where present.
        confusions: per arm, counts of test images of shape (C, C): rows are true classes, columns predicted ones.
        arm_summaries: one line per arm that says what it trains on.
        val: real validation images, which are looked through for repetitions.
        test: real test images, so that the mistakes behind an accuracy can be looked at.
        named: per arm, the class that each of its S trainings takes each test image for, int of shape (S, len(test)); needs ``test``.

    Raises:
        InputError: if ``train`` is not a train set, ``synthetic`` not a synthetic one or ``val`` or ``test`` not such a set.
        ValueError: if ``named`` does not fit ``test``.
    """
    train.require("train", purpose="the report's gallery of real images")
    synthetic.require("synthetic", purpose="the report's gallery of synthetic images")
    if val is not None:
        val.require("val", purpose="the report's search for repeated images")
    if test is not None:
        test.require("test", purpose="the report's gallery of mistakes")
    named = named or {}
    if any(test is None or classes.ndim != 2 or classes.shape[1] != len(test) for classes in named.values()):
        shapes = {arm: classes.shape for arm, classes in named.items()}
        raise ValueError(f"named needs a class for each training and test image, got {shapes}")
    results = present(results)
    compared = ["real", _rival(results)]
    jinja = environment()
    script = jinja.get_template("report.js").render()
    text = jinja.get_template("report.html").render(
        results=results,
        answer=_answer(results),
        settings_yaml=settings_yaml,
        arm_summaries=arm_summaries or {},
        checks=checks(results, settings_yaml=settings_yaml, sets=[part for part in (train, synthetic, val, test) if part is not None]),
        bars=Markup(figures.accuracy_bars(results["arms"])),  # noqa: S704 - our own markup, names escaped by matplotlib
        differences=_differences(results["arms"]),
        scale=_scale(results.get("scale", {})),
        gap=gap_section(results),
        training=training_section(results, compared),
        longer=any("minus_real_long" in arm for arm in results["arms"].values()),
        equal_steps=len({arm.get("steps") for arm in results["arms"].values()}) == 1,
        curve=_curve(results.get("adaptation", {})),
        matrices=matrices(confusions, train.class_names, compared),
        confused=confused_pairs(confusions, train.class_names, compared, count=20),
        classes=class_table(results, train, synthetic),
        agreement=results.get("fidelity", {}).get("agreement"),
        fidelity=fidelity_section(results),
        shift=shift_section(results, compared),
        memorisation=memorisation_section(results),
        membership=membership_section(results),
        rows=gallery.class_rows(train, synthetic, max_classes=MAX_CLASSES_SHOWN),
        pixelated=gallery.tile_size(train, synthetic) < 64,
        per_class=gallery.PER_CLASS,
        pairs=gallery.closest_pairs(train, synthetic, results.get("memorisation", {}).get("closest", [])),
        browser=browser(train, synthetic, test=test, named=named),
        linked_arms=list(named),
        compared=compared,
        missing=[words for section, words in _ADDED_BY.items() if section not in results],
        files=_FILES,
        seed=yaml.safe_load(settings_yaml)["seed"],
        script=Markup(script),  # noqa: S704 - our own
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
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
    jinja.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}  # arms and classes keep their order
    for wording_filter in (
        wording.percent,
        wording.points,
        wording.duration,
        wording.percent_interval,
        wording.points_interval,
        wording.real_images,
        wording.listed,
    ):
        jinja.filters[wording_filter.__name__] = wording_filter
    return jinja


def present(results: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that have something to say."""
    return {name: section for name, section in results.items() if section}


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
    marginal = [
        {"arm": name, "number": number, **step}
        for name, arm in scale["arms"].items()
        for number, step in enumerate(arm.get("marginal", []))
    ]
    return {
        "figure": Markup(figures.scale_curves(scale)),  # noqa: S704 - as above
        "rows": [
            {"arm": name, "number": number, "accuracy": accuracy, "difference": difference, "worth": worth}
            for name, arm in scale["arms"].items()
            for number, (accuracy, difference, worth) in enumerate(zip(*(arm[part] for part in parts), strict=True))
        ],
        "marginal": marginal,
        "stopped": scale.get("stopped"),
        "smallest": scale["real"]["curve"][0]["images"],
        "largest": scale["real"]["curve"][-1]["images"],
    }


def _curve(adaptation: Mapping[str, Any]) -> Markup:
    if not adaptation.get("curve"):
        return Markup("")
    return Markup(figures.loss_curve(adaptation["curve"], best_step=adaptation["best_step"]))  # noqa: S704 - as above
