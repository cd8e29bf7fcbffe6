"""Every kind of page that the package writes, for tests in a browser."""

import dataclasses
import shutil
from pathlib import Path

from ranking_sample import make_bakeoff
from ranking_sample import write as write_bakeoff
from report_sample import make_sample, make_whole, unbalanced
from study_sample import make_study, write

from understudy.commands.compare_runs import compare_runs
from understudy.pipeline.folder import RunFolder
from understudy.report.compared import write_comparison


def of_a_run(folder: Path, finished: Path) -> Path:
    return finished / "report.html"


def of_many_classes(folder: Path, finished: Path) -> Path:
    make_sample(num_classes=12).write(folder / "report.html")
    return folder / "report.html"


def of_everything(folder: Path, finished: Path) -> Path:
    """Every section there is, and a test set that needs every measure of accuracy."""
    whole = make_whole()
    dataclasses.replace(whole, results=unbalanced(whole.results)).write(folder / "report.html")
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


PAGES = [of_a_run, of_many_classes, of_everything, of_a_study, of_a_bakeoff, of_two_runs]
"""Each makes its page in an empty folder, from a finished run."""
