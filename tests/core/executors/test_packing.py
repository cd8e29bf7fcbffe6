"""Jobs as bytes, for processes that see the folder of the run elsewhere."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tiny_jobs import Copy, Note

from understudy.core.executors.packing import contents, pack, put, unpack
from understudy.training.data import TrainingData

_NAME = st.text("abc-0", min_size=1, max_size=3)


@given(st.lists(_NAME, min_size=1, max_size=3), st.lists(_NAME, max_size=2))
def test_paths_below_the_root_move_with_it(below, elsewhere):
    root, outside = Path("/runs/one"), Path("/data", *elsewhere)
    (job,) = unpack(pack([Copy(root.joinpath(*below), source=outside)], root), Path("/scratch"))
    assert job.path == Path("/scratch").joinpath(*below)
    assert job.source == outside


def test_a_relative_root_is_that_of_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (job,) = unpack(pack([Note(Path("run/arms/file"))], Path("run")), Path("elsewhere"))
    assert job.path == tmp_path / "elsewhere" / "arms" / "file"


def test_what_jobs_share_stays_shared(train):
    data = TrainingData(train=train, synthetic=None)
    first, second = unpack(pack([data, data], Path("run")), Path("run"))
    assert first is second
    assert np.array_equal(first.train.labels, train.labels)


def test_files_arrive_in_the_order_in_which_they_were_written(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for name in ("b/weights", "a/record", "loose"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(name.encode())
    (here / "a" / ".record.tmp").write_bytes(b"half a file")
    found = contents([here / "a", here / "b", here / "loose", here / "missing"], here)
    assert set(found) == {"a/record", "b/weights", "loose"}
    assert list(found) == sorted(found, key=lambda name: (here / name).stat().st_mtime_ns)
    put(found, there)
    assert {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()} == set(found)
    assert (there / "a" / "record").read_bytes() == b"a/record"
