"""What other machines must have besides the run folder."""

import pytest

from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.needed_files import needed_by_jobs, needed_by_runs
from understudy.settings import build


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A current folder that also has one with the name of a registered generator."""
    monkeypatch.chdir(tmp_path)
    for name in ("pipeline", "mini", "words.safetensors", "network", "adapter", "tests", "run"):
        (tmp_path / name).mkdir()
    return tmp_path


def settings(name, **generator):
    return build(
        {
            "data": {"source": "digits"},
            "generator": {"name": name, "adapters": ["words.safetensors", "run"], **generator},
            "compare": {"backbone": "network", "pretrained": False},
            "adapt": {"adapter": "adapter"},
            "shift": {"measure": True, "tests": {"other": "tests"}},
        }
    )


def names(paths, place):
    assert all(path.is_absolute() for path in paths)
    return [path.relative_to(place).as_posix() for path in paths]


def test_what_exists_here_and_lies_outside_of_the_run(place):
    given = settings("pipeline", image_encoder="openai/clip-vit-large-patch14")
    jobs = ["network", "pipeline", "words.safetensors"]
    assert names(needed_by_jobs(given, place / "run"), place) == jobs
    assert names(Run(RunFolder(place / "run", given), "cpu").terms.needs, place) == jobs


def test_whole_runs_load_more(place):
    points = [settings("pipeline"), settings("owner/model")]
    found = needed_by_runs(points, place / "run")
    assert names(found, place) == ["adapter", "network", "pipeline", "tests", "words.safetensors"]


def test_registered_names_are_no_folders(place):
    assert names(needed_by_jobs(settings("mini", adapters=[]), place / "run"), place) == ["network"]
