"""The last stage: the page and the card, and writing them again."""

import json
import shutil

import pytest
from tiny_job import Listener, results_of, times, tiny_settings

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


@pytest.mark.parametrize(
    ("name", "keep"),
    [
        ("report.html", None),
        ("report.html", 0),
        ("report.html", 0.5),
        ("results.json", None),
        ("results.json", 0.5),
        ("README.md", None),
        ("README.md", 0),
        ("README.md", 0.5),
        ("README.md", "line"),
    ],
)
@pytest.mark.parametrize("is_earlier", [False, True], ids=["now", "earlier version"])
def test_what_is_derived_is_made_again(is_earlier, name, keep, finished, tmp_path):
    """Missing or cut short; only a card that an earlier version wrote may be cut between lines unnoticed."""
    out = shutil.copytree(finished[0], tmp_path / "run")
    if is_earlier:
        record = json.loads((out / "stages" / "report.json").read_text())
        del record["card_bytes"]
        (out / "stages" / "report.json").write_text(json.dumps(record))
    whole = (out / name).read_bytes()
    if keep is None:
        (out / name).unlink()
    elif keep == "line":
        (out / name).write_bytes(b"".join(whole.splitlines(keepends=True)[:9]))
    else:
        (out / name).write_bytes(whole[: int(keep * len(whole))].rstrip(b"\n"))  # inside a line
    listener = Listener()
    run(RunFolder.find(out).settings, out, observer=listener)
    is_noticed = f"report: {name} of this run was missing or cut short, and is made again" in listener.lines
    assert is_noticed == (not is_earlier or keep != "line")
    found = (out / name).read_bytes()
    assert is_noticed == (b"</html>" in found if name == "report.html" else abs(len(found) - len(whole)) < 99)


def test_what_is_whole_or_changed_by_its_user_stays(finished, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "run")
    for text in ((out / "README.md").read_text(), "My own card.\n", "My own card"):
        (out / "README.md").write_text(text)
        before, listener = times(out), Listener()
        run(RunFolder.find(out).settings, out, observer=listener)
        assert listener.lines[-1] == "report: finished earlier, kept"
        assert times(out) == before
