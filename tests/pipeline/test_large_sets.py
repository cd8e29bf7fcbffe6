"""A run whose sets do not fit into a file or into memory ends like one whose sets do."""

import pytest
from tiny_job import results_of, tiny_settings, tree, write_pets

from understudy.core.host_memory import ImageMemory
from understudy.data import inspect_all, parquet_images, spool
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.run import run
from understudy.settings import build

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_pipeline_folder):
    pets = write_pets(tmp_path_factory.mktemp("source") / "pets")
    settings = tiny_settings(pets, tiny_pipeline_folder)
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(settings, out)
    return settings, out


def test_a_run_of_large_sets_ends_like_one_of_small_sets(whole, tmp_path, monkeypatch):
    settings, plain = whole
    monkeypatch.setattr(parquet_images, "SHARD_BYTES", 2000)
    monkeypatch.setattr(parquet_images, "_GROUP", (3, 2000))
    monkeypatch.setattr(spool, "_ROOM", 100)
    monkeypatch.setattr(inspect_all, "FEW", 2)
    out = tmp_path / "run"
    run(build(settings.model_dump(), {"data": {"memory": 1e-9}}), out)
    ImageMemory().use()
    folders = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.parquet") if path.is_dir())
    assert "data/train.parquet" in folders and "synthetic/curated.parquet" in folders
    assert not any(name.startswith("synthetic/images") for name in folders), "parts of a plan are files"
    here, there = results_of(out), results_of(plain)
    for name in ("adaptation", "curation", "fidelity", "memorisation", "verdict"):
        assert here[name] == there[name]
    for arm in here["arms"]:
        assert here["arms"][arm]["accuracy"] == there["arms"][arm]["accuracy"]
        assert tree(out / "arms" / f"{arm}-classifier") == tree(plain / "arms" / f"{arm}-classifier")
    for name in ("data/train.parquet", "synthetic/curated.parquet"):
        assert list(LabelledSet.load(out / name).files) == list(LabelledSet.load(plain / name).files)
    run(settings, out)  # nothing is left to do, and nothing is missing
