from __future__ import annotations

import io
import time

import imagehash
import numpy as np
import pytest
from data_pictures import picture
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
    monkeypatch.setattr("understudy.data.leaks._PAIRS_AT_ONCE", 1000)
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


def test_large_sets_are_feasible() -> None:
    rng = np.random.default_rng(0)

    def prints(count: int) -> Fingerprints:
        names = tuple(str(index) for index in range(count))
        bits = rng.integers(0, 2**63, count, dtype=np.uint64)
        return Fingerprints(names, names, bits, rng.integers(0, 256, (count, 256), dtype=np.uint8))

    start = time.monotonic()
    near_duplicates(prints(5000), prints(4000), max_distance=2)
    assert time.monotonic() - start < 10  # 20 million pairs; takes about 0.2 s
