"""Many images are inspected in several processes, and what is known is not looked at again."""

import os
import signal
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.data import inspect_all as many
from understudy.data.inspection import Inspected, inspect
from understudy.data.known_images import KnownImages
from understudy.data.labelled_set import encode
from understudy.data.levels import Levels
from understudy.data.sources.source import Item

LIMIT = 10_000


def items(count, *, with_bad=True):
    rng = np.random.default_rng(0)
    good = [
        Item(path=f"{n}", data=encode(rng.integers(0, 256, (3, 9, 9), dtype=np.uint8))) for n in range(count)
    ]
    if not with_bad:
        return good
    bad = [
        Item(path="text", data=b"no image"),
        Item(path="empty"),
        Item(path="told", problem="a pipe"),
        Item(path="large", data=encode(np.zeros((3, 101, 101), dtype=np.uint8))),
    ]
    return [*good[: count // 2], *bad, *good[count // 2 :]]


def comparable(found):
    if isinstance(found, str):
        return found
    assert found.fingerprint is not None
    pixels, bits, thumbnail, picture = found.fingerprint
    return found.levels, pixels, bits, thumbnail.tobytes(), picture.tobytes(), found.pixels, found.has_pages


def plain(given):
    return [(item, comparable(item.problem or inspect(item.data, LIMIT))) for item in given]


def found_of(given):
    return [(item, comparable(found)) for item, found in many.inspect_all(iter(given), LIMIT)]


@pytest.fixture
def at_once(monkeypatch, tmp_path):
    """Parts of four images after the first three."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(many, "FEW", 3)
    monkeypatch.setattr(many, "_AT_ONCE", (4, 10_000))


@pytest.mark.parametrize("processes", [1, 2])
def test_the_order_and_the_findings_are_those_of_one_after_the_other(processes, at_once, monkeypatch):
    monkeypatch.setattr(many, "num_threads", lambda: processes)
    given = items(23)
    assert found_of(given) == plain(given)
    assert found_of(given) == plain(given)  # from what is known


@given(st.integers(0, 12))
def test_any_number_of_images_is_inspected_once(count):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "FEW", 3)
        patch.setattr(many, "_AT_ONCE", (4, 10_000))
        patch.setattr(many.KnownImages, "open", lambda: KnownImages(None))
        given = items(count, with_bad=False)
        assert [item.path for item, _ in many.inspect_all(iter(given), LIMIT)] == [
            item.path for item in given
        ]


def test_what_is_known_is_not_looked_at_again(at_once, monkeypatch):
    given = items(12, with_bad=False)
    first = found_of(given)
    looked_at = []
    monkeypatch.setattr(many, "inspect", lambda data, limit: looked_at.append(data) or inspect(data, limit))
    assert found_of(given) == first
    assert looked_at == [item.data for item in given[:3]]


def test_a_stricter_limit_holds_for_known_images_too(at_once):
    given = [*items(6, with_bad=False), items(8)[7]]
    assert given[-1].path == "large"
    assert isinstance(list(many.inspect_all(iter(given), 100_000))[-1][1], Inspected)
    told = list(many.inspect_all(iter(given), LIMIT))[-1][1]
    assert told == "101 x 101 pixels, more than the 10,000 of data.max_pixels"


def test_images_of_a_killed_process_are_inspected_here(at_once, monkeypatch):
    here = os.getpid()

    def inspect_or_die(images, max_pixels):
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return [inspect(data, max_pixels) for data in images]

    monkeypatch.setattr(many, "num_threads", lambda: 2)
    monkeypatch.setattr(many, "_inspect", inspect_or_die)
    given = items(20)
    assert found_of(given) == plain(given)


levels = st.builds(
    Levels,
    st.sampled_from(["8 bits", "16 bits", "16-bit colours"]),
    st.floats(0, 300),
    st.floats(0, 70_000),
    st.none() | st.floats(0, 70_000),
)


@given(levels, st.integers(0, 2**64 - 1), st.integers(1, 2**40), st.booleans())
def test_records_keep_everything(levels, bits, pixels, has_pages):
    rng = np.random.default_rng(bits % 1000)
    thumbnail, picture = rng.integers(0, 256, 256, np.uint8), rng.integers(0, 256, (32, 32), np.uint8)
    found = Inspected(levels, ("0f" * 32, bits, thumbnail, picture), pixels, has_pages)
    with TemporaryDirectory() as folder:
        known = KnownImages(Path(folder) / "known.sqlite")
        known.add({b"x": found})
        (again,) = known.find([b"x"])
        known.close()
    assert again is not None and comparable(again) == comparable(found)


@pytest.mark.parametrize("damage", ["no folder", "other content", "locked"])
def test_without_its_file_nothing_is_known_and_nothing_fails(damage, tmp_path):
    path = tmp_path / "known.sqlite"
    if damage == "no folder":
        path = tmp_path / "file" / "known.sqlite"
        (tmp_path / "file").write_text("")
    elif damage == "other content":
        path.write_bytes(b"no data base" * 1000)
    else:
        KnownImages(path).close()
        other = sqlite3.connect(path)
        other.execute("BEGIN EXCLUSIVE")
    known = KnownImages(path, patience=0.01)
    known.add({b"x": Inspected(Levels("8 bits", 0, 1), None, 1, False)})
    (item,) = items(1, with_bad=False)
    known.add({item.data: inspect(item.data, LIMIT)})
    assert known.find([item.data]) == [None]
    known.close()
