"""The last stage: the page and the card, and writing them again."""

import pytest
from tiny_job import results_of, tiny_settings

from understudy.commands.export import export_dataset as export_run
from understudy.core.errors import InputError
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run, write_report_again

pytestmark = pytest.mark.usefixtures("plain_report")


def test_report_and_card_are_written(finished):
    out, _ = finished
    sentence = results_of(out)["verdict"]["sentence"]
    assert sentence.split(":")[0] in (out / "report.html").read_text()
    card = (out / "README.md").read_text()
    assert card.startswith("---\n")
    assert "synthetic/curated.parquet" in card


def test_the_report_can_be_written_again(finished, real_report):
    out, _ = finished
    results, page = results_of(out), (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    assert write_report_again(RunFolder.find(out)) == results == results_of(out)
    assert abs((out / "report.html").stat().st_size - len(page)) < 100


def test_unfinished_runs_are_neither_reported_nor_exported(pets, tiny_pipeline_folder, tmp_path):
    records = run(tiny_settings(pets, tiny_pipeline_folder), tmp_path / "run", until="load")
    assert set(records) == {"load"}
    folder = RunFolder.find(tmp_path / "run")
    with pytest.raises(InputError, match="is not finished: go on with 'understudy run"):
        write_report_again(folder)
    with pytest.raises(InputError, match="has no curated images yet: go on with 'understudy run"):
        export_run(folder, tmp_path / "to", form="folder")
    assert not (tmp_path / "to").exists()
