"""Decoded images in memory and in files: the same pixels, whichever it is."""

import gc
from weakref import WeakKeyDictionary

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core import host_memory
from understudy.core.host_memory import ImageMemory, free_host_bytes, image_memory
from understudy.data import decoded_images
from understudy.data.decoded_images import DecodedImages, decoded
from understudy.data.labelled_set import LabelledSet
from understudy.data.spool import Spool

SIZE = 4


@pytest.fixture(autouse=True)
def _default_memory(monkeypatch):
    # Sets that other tests of this process keep would fill the room.
    monkeypatch.setattr(decoded_images, "_KEPT", WeakKeyDictionary())
    yield
    ImageMemory().use()


def pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8)


def spooled(images):
    spool = Spool()
    for image in images:
        spool.append(image.tobytes())
    return spool


def labelled(count, seed=0):
    return LabelledSet.from_images(pixels(count, seed), [0] * count, class_names=("a",), split="train")


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_parts_are_read_as_one_array(parts, data):
    arrays = [pixels(count, seed) for seed, (count, _) in enumerate(parts)]
    plain = np.concatenate(arrays)
    sets = [
        DecodedImages([spooled(images) if in_file else images], SIZE)
        for images, (_, in_file) in zip(arrays, parts, strict=True)
    ]
    joined = DecodedImages.joined(sets)
    numbers = st.lists(st.integers(0, len(plain) - 1), max_size=8) if len(plain) else st.just([])
    kept, some = (np.array(data.draw(numbers), dtype=np.int64) for _ in range(2))
    assert (joined[:] == plain).all() and len(joined) == len(plain)
    assert (joined[some] == plain[some]).all()
    chosen = joined.select(kept)
    assert (chosen[:] == plain[kept]).all() and chosen.num_bytes == plain[kept].nbytes
    assert (DecodedImages.joined([chosen, joined])[:] == np.concatenate([plain[kept], plain])).all()
    assert joined.in_memory == sum(
        images.nbytes for images, (_, in_file) in zip(arrays, parts, strict=True) if not in_file
    )


def test_images_go_to_a_file_when_memory_is_used_up():
    ImageMemory(gigabytes=1.5 * pixels(10).nbytes / 1e9).use()
    first, second = labelled(10), labelled(10, seed=1)
    assert decoded(first, SIZE).in_memory == pixels(10).nbytes
    assert decoded(second, SIZE).in_memory == 0
    assert (decoded(second, SIZE)[:] == pixels(10, 1)).all()
    assert decoded(first, SIZE) is decoded(first, SIZE)
    del first
    gc.collect()
    assert decoded(labelled(10), SIZE).in_memory  # a set that is gone makes room


def test_memory_is_shared_by_processes():
    ImageMemory(gigabytes=3, processes=4).use()
    assert image_memory().num_bytes == 750_000_000
    ImageMemory().use()
    assert 0 < image_memory().num_bytes <= free_host_bytes()


@pytest.mark.parametrize(
    ("limit", "used", "free"),
    [("max", "1", None), ("2000000", "500000", 1_500_100), ("1", "200", 0), ("many", "0", None)],
)
def test_the_limit_of_a_container_counts(limit, used, free, tmp_path, monkeypatch):
    for group in ("", "batch", "batch/job"):
        (tmp_path / group).mkdir(exist_ok=True)
    (tmp_path / "own").write_text("1:cpu:/other\n0::/batch/job\n")
    monkeypatch.setattr(host_memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(host_memory, "_OWN_GROUPS", tmp_path / "own")
    assert free_host_bytes() > 2_000_000
    for group, most in (("batch/job", "max"), ("batch", limit)):
        (tmp_path / group / "memory.max").write_text(f"{most}\n")
        (tmp_path / group / "memory.current").write_text(f"{used}\n")
        (tmp_path / group / "memory.stat").write_text("anon 1\ninactive_file 100\n")
    assert free_host_bytes() == free if free is not None else free_host_bytes() > 2_000_000
