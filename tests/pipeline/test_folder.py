"""A run folder: made, found, refused, and a record for every finished stage."""

from pathlib import Path

import pytest

from understudy.core.errors import InputError
from understudy.pipeline.folder import RunFolder
from understudy.settings import build

SETTINGS = build({"data": {"source": "digits"}})


def test_a_new_folder_is_made_and_found(tmp_path):
    RunFolder.open(tmp_path / "run", SETTINGS)
    assert RunFolder.find(tmp_path / "run").settings == SETTINGS


def test_checking_writes_nothing(tmp_path):
    assert not RunFolder.check(tmp_path / "run", SETTINGS)
    assert not (tmp_path / "run").exists()


def test_other_settings_are_named_and_refused(tmp_path):
    RunFolder.open(tmp_path, SETTINGS)
    with pytest.raises(InputError, match=r"draw.times: 1.0 in the folder, 4.0 now"):
        RunFolder.open(tmp_path, build({"data": {"source": "digits"}, "draw": {"times": 4}}))
    assert RunFolder.find(tmp_path).settings == SETTINGS


def test_resume_never_and_always(tmp_path):
    with pytest.raises(InputError, match="holds no run to continue"):
        RunFolder.open(tmp_path / "run", SETTINGS, resume="always")
    RunFolder.open(tmp_path / "run", SETTINGS)
    RunFolder.open(tmp_path / "run", SETTINGS, resume="always")
    with pytest.raises(InputError, match="already holds a run"):
        RunFolder.open(tmp_path / "run", SETTINGS, resume="never")


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match="is not an empty folder and holds no run"):
        RunFolder.open(tmp_path, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_finding_nothing_says_how_to_start(tmp_path):
    with pytest.raises(InputError, match="start one with 'understudy run DATA"):
        RunFolder.find(tmp_path)


def test_a_stage_is_recorded_only_when_it_ends_well(tmp_path):
    folder = RunFolder.open(tmp_path, SETTINGS)
    with pytest.raises(RuntimeError), folder.stage("draw") as record:
        record["images"] = 3
        raise RuntimeError
    assert folder.record("draw") is None
    with folder.stage("draw") as record:
        record["images"] = 4
    assert folder.record("draw")["images"] == 4
    assert folder.record("draw")["seconds"] >= 0


def test_settings_that_were_cut_short_are_refused_at_every_line(tmp_path):
    settings = build({"data": {"source": "digits"}})
    RunFolder.open(tmp_path / "run", settings)
    file = tmp_path / "run" / "settings.yaml"
    lines = file.read_text().splitlines(keepends=True)
    assert RunFolder.find(tmp_path / "run").settings == settings
    for number in range(len(lines)):
        file.write_text("".join(lines[:number]))
        with pytest.raises(InputError, match=r"settings\.yaml"):
            RunFolder.find(tmp_path / "run")
    file.write_text("".join(lines[1:-1]))  # as older versions wrote it
    assert RunFolder.find(tmp_path / "run").settings == settings


def test_a_run_below_the_root_of_the_disk_is_in_no_study():
    assert not RunFolder(Path("/output"), SETTINGS).is_in_study
