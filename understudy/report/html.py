"""The page that a run ends with: a single file that needs no network, and is complete without scripts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from understudy.core.files import write_text
from understudy.core.listing import listed
from understudy.report import wording
from understudy.report.accuracy import accuracy_panel, rival
from understudy.report.again import again_panel
from understudy.report.checks import checks
from understudy.report.classes import class_table
from understudy.report.extremes import extreme_classes
from understudy.report.fidelity import fidelity_section
from understudy.report.gap import gap_section
from understudy.report.images import images_panel
from understudy.report.making import loss_figure
from understudy.report.membership import membership_section
from understudy.report.memorisation import memorisation_section
from understudy.report.mistakes import mistakes_panel
from understudy.report.next_steps import NOTHING, next_steps
from understudy.report.report_data import Form, ReportData
from understudy.report.scale import scale_section
from understudy.report.shareable import without_names
from understudy.report.shift import shift_section
from understudy.report.training import training_section


def write_report(path: Path, data: ReportData, *, form: Form = "whole") -> None:
    """Write ``report.html``; the file appears complete or not at all.

    Args:
        path: of the page.
        data: what it shows.
        form: ``whole``; ``short``, without the browser of all images and the sections that explain how the
            figures came about, for a page of less than a tenth of the size; or ``shareable``, with no real
            image, no names of files and no paths, and without advice and the section about running it again.
    """
    results = present(without_names(data.results) if form == "shareable" else data.results)
    pictured, is_short = data.pictured(form), form == "short"
    compared = ["real", rival(results)]
    jinja = environment()
    script = jinja.get_template("report.js").render(has_browser=form == "whole")
    text = jinja.get_template("report.html").render(
        results=results,
        form=form,
        extremes=extreme_classes(
            results, pictured, class_names=data.train.class_names, arm=compared[1], is_short=is_short
        ),
        steps=next_steps(results),
        nothing=NOTHING,
        checks=checks(results, settings=data.settings, sets=data.sets),
        **accuracy_panel(results, data.arm_summaries),
        training=training_section(results, compared),
        scale=scale_section(results.get("scale", {})),
        gap=gap_section(results),
        classes=class_table(results, data.train, data.synthetic),
        agreement=results.get("fidelity", {}).get("agreement"),
        **mistakes_panel(data.confusions, data.train.class_names, compared),
        fidelity=fidelity_section(results),
        shift=shift_section(results, compared),
        memorisation=memorisation_section(results),
        membership=membership_section(results),
        **images_panel(
            data.train,
            data.synthetic,
            test=data.test,
            predictions=data.predictions,
            results=results,
            pictured=pictured,
            form=form,
        ),
        curve=loss_figure(results.get("adaptation", {})),
        **again_panel(results, data.settings),
        script=Markup(script),  # noqa: S704 - our own
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    if is_short:  # it is read by people alone: figures keep what sorting a table needs
        text = re.sub(r' data-arm="[^"]*" data-field="[^"]*"', "", text)
        text = re.sub(r'( data-value="-?\d+\.\d{4})\d+', r"\1", text)
    write_text(path, text)


def is_whole(page: Path) -> bool:
    """Whether a page is there to its last tag."""
    return page.is_file() and page.read_bytes().rstrip().endswith(b"</html>")


@cache
def environment() -> Environment:
    """Return the Jinja environment with our templates; they are compiled once in a process.

    In ``.html`` every value is escaped, and a missing value is an error.
    """
    loader = PackageLoader("understudy.report")
    jinja = Environment(
        loader=loader,
        autoescape=select_autoescape(enabled_extensions=("html",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Arms and classes keep their order.
    jinja.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    for wording_filter in (
        wording.percent,
        wording.points,
        wording.duration,
        wording.percent_interval,
        wording.points_interval,
        wording.real_images,
        wording.lead_and_rest,
        listed,
    ):
        jinja.filters[wording_filter.__name__] = wording_filter
    return jinja


def present(results: Mapping[str, Any]) -> dict[str, Any]:
    """Drop empty sections."""
    return {name: section for name, section in results.items() if section}
