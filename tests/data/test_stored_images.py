"""Encoded images in memory, in spools and in Parquet files, selected and joined."""

import errno
import gc
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.errors import FullDiskError
from understudy.data import spool as spools
from understudy.data.labelled_set import LabelledSet
from understudy.data.spool import Spool
from understudy.data.stored_images import StoredImages

contents = st.lists(st.binary(max_size=20), max_size=12)


@given(contents, st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_a_spool_returns_what_was_appended_in_any_order(images, room):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spools, "_ROOM", room)
        spool = Spool()
    for number, data in enumerate(images):
        spool.append(data)
        assert spool[number] == data  # reading in between moves the place in the file
    assert [spool[number] for number in reversed(range(len(images)))] == images[::-1]
    assert (len(spool), spool.num_bytes) == (len(images), sum(map(len, images)))


@given(contents, contents, st.data())
@settings(max_examples=60, deadline=None)
def test_selections_of_joined_images_are_those_of_lists(first, second, data):
    parts = [StoredImages.of(first), StoredImages.of(second).select(np.arange(len(second))[::-1])]
    joined, plain = StoredImages.joined(parts), [*first, *second[::-1]]
    assert list(joined) == plain and len(joined) == len(plain)
    some = data.draw(st.lists(st.integers(0, len(plain) - 1), max_size=8) if plain else st.just([]))
    chosen = joined.select(np.array(some, dtype=np.int64))
    assert list(chosen) == [plain[index] for index in some]
    assert list(pickle.loads(pickle.dumps(chosen))) == list(chosen)  # noqa: S301 - made here


def test_bytes_of_a_selection_are_about_those_of_its_images():
    images = StoredImages.joined([StoredImages.of([b"x" * 10] * 3), StoredImages.of([b"x" * 1000] * 2)])
    assert images.num_bytes == 2030
    assert images.select(np.array([0, 4])).num_bytes == 1010


def test_images_beyond_the_room_lie_in_a_file_that_disappears_with_them(tmp_path, monkeypatch):
    monkeypatch.setattr(spools, "_ROOM", 100)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    images = StoredImages.of([bytes(range(50))] * 10)
    assert not list(tmp_path.iterdir())
    assert images[7] == bytes(range(50))
    del images
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_process_that_is_killed_leaves_no_file(tmp_path):
    code = (
        "import os, signal; from understudy.data import spool; spool._ROOM = 10; s = spool.Spool();"
        "[s.append(bytes(100)) for _ in range(9)]; os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], env={"TMPDIR": str(tmp_path), "PYTHONPATH": str(root)})
    assert not list(tmp_path.iterdir())


def test_images_in_files_are_pickled_as_names_of_files(tmp_path):
    LabelledSet.from_images(
        [bytes([n]) * 5000 for n in range(40)], [0] * 40, class_names=("a",), split="train"
    ).save(tmp_path / "x.parquet")
    data = LabelledSet.load(tmp_path / "x.parquet").select([39, 0, 7])
    packed = pickle.dumps(data)
    assert len(packed) < 5000
    assert list(pickle.loads(packed).files) == list(data.files)  # noqa: S301 - made here


def test_a_full_disk_is_told_with_the_folder(monkeypatch):
    class Full:
        def seek(self, place):
            pass

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(spools, "_ROOM", 10)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **options: Full())
    spool = Spool()
    spool.append(b"x" * 10)
    with pytest.raises(FullDiskError, match=r"no space is left in .*: make room, or set .* TMPDIR"):
        spool.append(b"x")
