"""Stage report: gather every record into results.json, and write the page and the dataset card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from understudy.core.files import read_arrays, write_json, write_text
from understudy.pipeline.context import Run
from understudy.pipeline.results import gather_results
from understudy.report.card import dataset_card
from understudy.report.html import ReportData, write_report
from understudy.training.arms import find_arm
from understudy.training.records import ArmFolder, seeds_of


def report(run: Run, stages: Sequence[str]) -> None:
    """Write results, page and card from the records of the stages, given in their order."""
    results = gather_results(run.folder, stages)
    arms = {name: find_arm(name, run.settings.compare) for name in results["arms"]}
    with run.folder.stage("report") as record:
        record["added"] = added_settings(run, stages)
        data = ReportData(
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
        write_json(run.path / "results.json", results)  # last: a damaged file stops earlier
        write_report(run.path / "report.html", data)
        write_text(run.path / "README.md", run_card(run, results, data_files="synthetic/curated.parquet"))
    run.observer.say(f"report: {run.path / 'report.html'}")


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
