"""Stage report: gather every record into results.json, and write the page and the dataset card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.core.errors import InputError
from understudy.core.files import read_arrays, write_json, write_text
from understudy.core.listing import listed
from understudy.pipeline.context import Run
from understudy.pipeline.folder import finished_results
from understudy.pipeline.results import gather_results
from understudy.report.card import dataset_card
from understudy.report.html import is_whole, write_report
from understudy.report.report_data import ReportData
from understudy.training.arms import find_arm
from understudy.training.records import ArmFolder, seeds_of

_CURATED = "synthetic/curated.parquet"


def report(run: Run, stages: Sequence[str]) -> None:
    """Write results, page and card from the records of the stages, given in their order."""
    lost, results = lost_files(run), gather_results(run.folder, stages)
    with run.folder.stage("report") as record:
        record["added"] = added_settings(run, stages)
        data = report_data(run, results)
        write_json(run.path / "results.json", results)  # last: a damaged file stops earlier
        write_report(run.path / "report.html", data)
        write_text(run.path / "README.md", run_card(run, results, data_files=_data_files(run)))
        record["card_bytes"] = (run.path / "README.md").stat().st_size
    if lost:
        run.observer.say(f"report: {listed(lost)} of this run was missing or cut short, and is made again")
    run.observer.say(f"report: {run.path / 'report.html'}")


def report_data(run: Run, results: Mapping[str, Any]) -> ReportData:
    """What the page of a run shows, with the content of its ``results.json``."""
    arms = {name: find_arm(name, run.settings.compare) for name in results["arms"]}
    return ReportData(
        results=results,
        settings=run.settings,
        train=run.train,
        synthetic=run.curated,
        val=run.val,
        test=run.test,
        confusions=read_arrays(run.path / "arms" / "confusions.npz"),
        arm_summaries={name: f"{arm.summary}: {arm.describe()}" for name, arm in arms.items()},
        predictions=_predictions(run, list(arms)),
    )


def _data_files(run: Run) -> str:
    """Where readers of the card find the curated images; a large set is a folder of files."""
    return f"{_CURATED}/*.parquet" if (run.path / _CURATED).is_dir() else _CURATED


def lost_files(run: Run) -> list[str]:
    """Files of an earlier report that are missing or were cut short.

    A card that its users have changed is not lost, even if it is shorter now.
    """
    try:
        record = run.folder.record("report")
    except InputError:  # made again as a whole
        record = None
    if record is None:
        return []
    lost = [] if is_whole(run.path / "report.html") else ["report.html"]
    try:
        results = finished_results(run.folder)
    except InputError:
        return ["results.json", *lost]
    return lost + ["README.md"] * _has_lost_card(run, results, record.get("card_bytes"))


def _has_lost_card(run: Run, results: dict[str, Any], num_bytes: int | None) -> bool:
    """Whether the card is missing or the beginning of what was written, which had so many bytes."""
    path = run.path / "README.md"
    text = path.read_bytes() if path.is_file() else b""
    if num_bytes is None:  # of an earlier version
        return not text.endswith(b"\n")
    is_shorter = len(text) < num_bytes
    return is_shorter and run_card(run, results, data_files=_data_files(run)).encode().startswith(text)


def added_settings(run: Run, stages: Sequence[str]) -> dict[str, Any]:
    """The reported settings that may change in a finished run: those of added stages, and the licences."""
    records = {name: run.folder.record(name) or {} for name in stages if name != "report"}
    found = {name: record["settings"] for name, record in records.items() if "settings" in record}
    return found | {"licences": [run.settings.data.licence, run.settings.generator.licence]}


def run_card(run: Run, results: dict[str, Any], *, data_files: str | None) -> str:
    """The dataset card of the curated images."""
    counts = dict(zip(run.curated.class_names, run.curated.counts.tolist(), strict=True))
    return dataset_card(results, settings=run.settings, class_counts=counts, data_files=data_files)


def _predictions(run: Run, arms: Sequence[str]) -> dict[str, Any]:
    """By arm, the class that each training predicts for each test image, for arms that have records."""
    seeds = seeds_of(run.settings.seed, run.settings.compare.num_seeds)
    folders = {name: ArmFolder(run.path / "arms", name) for name in arms}
    return {
        name: folder.result(seeds, run.test).predicted
        for name, folder in folders.items()
        if folder.has_records(len(seeds))
    }
