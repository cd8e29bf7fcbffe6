from __future__ import annotations

import io
import itertools
import time
from dataclasses import replace

import imagehash
import numpy as np
import pyarrow as pa
import pytest
from data_pictures import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.data.leaks import Fingerprints, check_leaks, copies, fingerprint, near_duplicates
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def as_set(images: list[Image.Image | bytes], split: str) -> LabelledSet:
    paths = [f"{split}/{index}.png" for index in range(len(images))]
    return LabelledSet.from_images(
        images,
        [0] * len(images),
        class_names=("a",),
        split=split,
        ids=paths,
        provenance={"source_path": paths},
    )


@pytest.fixture(scope="module")
def digits() -> LabelledSet:
    return load_splits(DataSettings(source="digits", shots=20), seed=0).train


def test_fingerprint_agrees_with_imagehash() -> None:
    for seed in range(20):
        image = picture(seed, (50, 40))
        assert f"{fingerprint(image)[1]:016x}" == str(imagehash.phash(image))


@pytest.mark.parametrize("kind", ["exact", "jpeg", "brighter"])
def test_planted_copies_are_found(kind: str, digits: LabelledSet) -> None:
    originals = [digits.image(index) for index in range(3)] + [picture(index, (64, 48)) for index in range(3)]
    change = {
        "exact": lambda image: image,
        "jpeg": jpeg,
        "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.05),
    }[kind]
    others: list[Image.Image | bytes] = [digits.image(index) for index in range(100, 120)]
    pairs = near_duplicates(
        as_set([*originals], "train"), as_set([*others, *map(change, originals)], "test"), max_distance=4
    )
    assert [(a, b) for a, b, _ in pairs] == [
        (f"train/{index}.png", f"test/{20 + index}.png") for index in range(6)
    ]
    assert all((distance == -1) == (kind == "exact") for *_, distance in pairs)


def test_different_digits_are_no_copies(digits: LabelledSet) -> None:
    pairs = near_duplicates(digits, digits, max_distance=2)
    assert pairs == [(name, name, -1) for name in digits.ids]


def test_blocks_do_not_change_the_pairs(monkeypatch: pytest.MonkeyPatch, digits: LabelledSet) -> None:
    prints = Fingerprints.of_set(digits)
    whole = near_duplicates(prints, prints, max_distance=14)
    monkeypatch.setattr("understudy.functional.hamming._PAIRS_AT_ONCE", 1000)
    monkeypatch.setattr("understudy.data.leaks._THUMBNAILS_AT_ONCE", 7)
    assert near_duplicates(prints, prints, max_distance=14) == whole


def test_uniform_images_of_other_levels_are_no_copies() -> None:
    black, white = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "white")
    assert near_duplicates(as_set([black], "train"), as_set([white], "test"), max_distance=64) == []


def test_exact_only() -> None:
    a, b = as_set([picture(0), picture(1)], "train"), as_set([jpeg(picture(0)), picture(1)], "test")
    assert near_duplicates(a, b, max_distance=-1) == [("train/1.png", "test/1.png", -1)]
    assert near_duplicates(a, b.select([]), max_distance=2) == []


def test_copies_are_grouped_through_others() -> None:
    prints = Fingerprints.of_set(as_set([picture(0), picture(1), jpeg(picture(0)), picture(0)], "train"))
    first, other, compressed, same = copies(prints, max_distance=2)
    assert first == compressed == same != other
    first, _, compressed, same = copies(prints, max_distance=-1)
    assert first == same != compressed


def test_leaks_are_listed() -> None:
    images: list[Image.Image | bytes] = [picture(index) for index in range(12)]
    a, b = as_set(images, "train"), as_set([jpeg(picture(0)), *images[1:]], "test")
    with pytest.raises(InputError) as caught:
        check_leaks([(each, Fingerprints.of_set(each)) for each in (a, b)], max_distance=2)
    message = str(caught.value)
    assert "got 12 pairs" in message
    assert "train/0.png (train) and test/0.png (test): near copies" in message
    assert "train/1.png (train) and test/1.png (test): the same pixels" in message
    assert "and 2 more" in message
    assert "near_duplicate_distance=-1" in message


def random_prints(rng: np.random.Generator, pictures: int, images: int) -> Fingerprints:
    """Images of few pictures; pictures resemble each other in hash, in thumbnail, in both or in neither."""
    base = rng.integers(0, 2**63, 2, dtype=np.uint64)[rng.integers(0, 2, pictures)]
    for _ in range(4):
        base ^= np.uint64(1) << rng.integers(0, 64, pictures, dtype=np.uint64)
    levels = rng.integers(0, 200, (2, 256))[rng.integers(0, 2, pictures)] + rng.integers(0, 20, (pictures, 1))
    shown = rng.integers(0, pictures, images)
    return Fingerprints(
        tuple(f"{index}" for index in range(images)),
        tuple(f"{base[picture]} {levels[picture].sum()}" for picture in shown),
        base[shown],
        levels[shown].astype(np.uint8),
    )


def by_definition(a: Fingerprints, b: Fingerprints, distance: int) -> list[tuple[str, str, int]]:
    found = []
    for i, j in itertools.product(range(len(a.ids)), range(len(b.ids))):
        bits = (int(a.perceptual[i]) ^ int(b.perceptual[j])).bit_count()
        difference = a.thumbnails[i].astype(float) - b.thumbnails[j]
        near = abs(difference.mean()) <= 13 and np.abs(difference - difference.mean()).mean() <= 5
        if a.exact[i] == b.exact[j]:
            found.append((a.ids[i], b.ids[j], -1))
        elif bits <= distance and near:
            found.append((a.ids[i], b.ids[j], bits))
    return found


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(-1, 8))
def test_pairs_and_groups_are_those_of_all_comparisons(seed: int, pictures: int, distance: int) -> None:
    rng = np.random.default_rng(seed)
    both = random_prints(rng, pictures, 50)
    a, b = both.select(both.ids[:20]), both.select(both.ids[20:])
    assert near_duplicates(a, b, max_distance=distance) == by_definition(a, b, distance)
    links = {(int(i), int(j)) for i, j, _ in by_definition(both, both, distance)}
    groups = np.arange(50)
    for _ in groups:  # as often as the longest chain has links
        for i, j in links:
            groups[i] = groups[j] = min(groups[i], groups[j])
    assert copies(both, max_distance=distance) == np.unique(groups, return_inverse=True)[1].tolist()


def test_equal_images_take_no_more_time_than_others() -> None:
    """100 million pairs, which are counted and not listed."""
    count = 10_000
    prints = Fingerprints(
        tuple(map(str, range(count))),
        ("same",) * count,
        np.zeros(count, dtype=np.uint64),
        np.zeros((count, 256), dtype=np.uint8),
    )
    sets = [as_set([picture(0)], split).select([0] * count) for split in ("train", "test")]
    named = [replace(data, columns=data.columns.set_column(0, "id", pa.array(prints.ids))) for data in sets]
    start = time.process_time()
    assert set(copies(prints, max_distance=2)) == {0}
    with pytest.raises(InputError, match=r"got 100000000 pairs(.|\n)*and 99999990 more"):
        check_leaks([(data, prints) for data in named], max_distance=2)
    assert time.process_time() - start < 5  # takes about 0.1 s


def test_large_sets_are_feasible() -> None:
    rng = np.random.default_rng(0)

    def prints(count: int) -> Fingerprints:
        names = tuple(str(index) for index in range(count))
        bits = rng.integers(0, 2**63, count, dtype=np.uint64)
        return Fingerprints(names, names, bits, rng.integers(0, 256, (count, 256), dtype=np.uint8))

    start = time.process_time()
    near_duplicates(prints(100_000), prints(50_000), max_distance=2)
    assert time.process_time() - start < 10  # 5 billion pairs; takes about 0.5 s
