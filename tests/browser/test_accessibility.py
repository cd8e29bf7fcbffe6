"""axe-core finds nothing to complain about on any page, wide or narrow, dark or light."""

import shutil
from pathlib import Path

import pytest
from chromium import LOOKS, needs_chromium, run_in, violations
from ranking_sample import make_bakeoff
from ranking_sample import write as write_bakeoff
from report_sample import make_sample
from study_sample import make_study, write

from understudy.commands.compare_runs import compare_runs
from understudy.pipeline.folder import RunFolder
from understudy.report.compared import write_comparison

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_chromium]


def of_a_run(folder: Path, finished: Path) -> Path:
    return finished / "report.html"


def of_many_classes(folder: Path, finished: Path) -> Path:
    make_sample(num_classes=12).write(folder / "report.html")
    return folder / "report.html"


def of_a_study(folder: Path, finished: Path) -> Path:
    write(make_study("volume", repeats=2), folder / "study.html")
    return folder / "study.html"


def of_a_bakeoff(folder: Path, finished: Path) -> Path:
    write_bakeoff(make_bakeoff(), folder)
    return folder / "study.html"


def of_two_runs(folder: Path, finished: Path) -> Path:
    other = shutil.copytree(finished, folder / "other")
    write_comparison(folder / "compare.html", compare_runs(RunFolder.find(finished), RunFolder.find(other)))
    return folder / "compare.html"


def test_the_looks_differ(tmp_path):
    page = of_a_study(tmp_path, tmp_path)
    asked = "[innerWidth < 600, matchMedia('(prefers-color-scheme: dark)').matches]"
    assert [run_in(page, asked, *options) for options in LOOKS.values()] == [[False, False], [True, True]]


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("make", [of_a_run, of_many_classes, of_a_study, of_a_bakeoff, of_two_runs])
def test_no_rule_is_broken(make, look, tmp_path, finished):
    assert violations(make(tmp_path, finished[0]), *LOOKS[look]) == []


def test_a_broken_rule_is_found(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        '<!doctype html><meta http-equiv="Content-Security-Policy" content=""><img src="data:,">',
        encoding="utf-8",
    )
    assert {"image-alt", "document-title", "html-has-lang"} <= {rule for rule, *_ in violations(page)}
