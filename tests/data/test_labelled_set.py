from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_pictures import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from understudy.core.errors import InputError
from understudy.data.decoding import decode
from understudy.data.labelled_set import LabelledSet, encode, pixel_hash


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def test_decode_keeps_plain_pixels() -> None:
    image = picture(0, (30, 20))
    assert decode(encoded(image)).size == (30, 20)
    assert pixel_hash(decode(encoded(image))) == pixel_hash(image) == pixel_hash(decode(encode(image)))
    assert pixel_hash(image) != pixel_hash(image.resize((20, 30)))


def test_decode_grey_and_bilevel() -> None:
    grey = picture(1).convert("L")
    assert (np.asarray(decode(encoded(grey))) == np.asarray(grey)[..., None]).all()
    assert set(np.unique(np.asarray(decode(encoded(grey.convert("1")))))) <= {0, 255}


def test_decode_lays_transparency_over_white() -> None:
    image = picture(2).convert("RGBA")
    image.putalpha(0)
    assert np.asarray(decode(encoded(image))).min() == 255
    image.putalpha(128)
    half = np.asarray(decode(encoded(image))).astype(int)
    assert np.abs(half - (np.asarray(picture(2)).astype(int) + 255) / 2).max() <= 1.5
    grey = Image.new("LA", (4, 4), (0, 0))
    assert np.asarray(decode(encoded(grey))).min() == 255


def test_decode_palette_with_transparency() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 1)
    pixels = np.asarray(decode(encoded(image, transparency=1)))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [255, 0, 0]
    assert np.asarray(decode(encoded(image)))[0, 0].tolist() == [0, 0, 255]
    keyed = encoded(Image.new("RGB", (2, 2), (1, 2, 3)), transparency=(1, 2, 3))
    assert np.asarray(decode(keyed)).min() == 255


@pytest.mark.parametrize(
    ("orientation", "turned"), [(3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_270)]
)
def test_decode_is_upright(orientation: int, turned: Image.Transpose) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = picture(3, (30, 20))
    assert pixel_hash(decode(encoded(image, exif=exif))) == pixel_hash(image.transpose(turned))


def test_decode_16_bit() -> None:
    levels = np.array([[0, 257, 25700, 65535]], dtype=np.uint16)
    assert np.asarray(decode(encoded(Image.fromarray(levels))))[0, :, 0].tolist() == [0, 1, 100, 255]
    assert np.asarray(decode(encoded(Image.fromarray(levels), "TIFF")))[0, :, 0].tolist() == [0, 1, 100, 255]


def test_levels_without_a_known_range_are_refused() -> None:
    levels = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    with pytest.raises(
        ValueError,
        match="pixel values must be integers, got fractions of unknown range: store",
    ):
        decode(encoded(Image.fromarray(levels), "TIFF"))


def test_decode_cmyk() -> None:
    image = Image.new("RGB", (16, 16), (200, 40, 90))
    pixels = np.asarray(decode(encoded(image.convert("CMYK"), "JPEG", quality=95))).astype(int)
    assert np.abs(pixels - [200, 40, 90]).max() < 8


def test_encode_arrays() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 7), dtype=np.uint8)
    assert (np.asarray(decode(encode(pixels))).transpose(2, 0, 1) == pixels).all()
    with pytest.raises(ValueError, match=r"uint8 of shape \(3, H, W\), got float64"):
        encode(np.zeros((3, 2, 2)))


def test_pixels_crop_non_square(small_set: LabelledSet) -> None:
    wide = Image.new("RGB", (60, 20))
    wide.paste((255, 255, 255), (20, 0, 40, 20))
    data = LabelledSet.from_images([wide], [0], class_names=("a",), split="train")
    assert data.pixels(20).shape == (1, 3, 20, 20)
    assert data.pixels(20).min() == 255
    assert small_set.pixels(8).dtype == np.uint8


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50))
@settings(deadline=None, max_examples=30)
def test_uncut_images_keep_their_shape_and_their_ends(width: int, height: int, size: int) -> None:
    image = Image.new("RGB", (width, height))
    data = LabelledSet.from_images([image, image], [0, 0], class_names=("a",), split="train")
    for found in (data.uncut(0, size), data.uncut(1, size)):
        assert found.dtype == np.uint8 and min(found.shape[1:]) == size
        assert abs(found.shape[2] / found.shape[1] - width / height) <= max(width / height, 1) / size
    square = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    same = LabelledSet.from_images([square], [0], class_names=("a",), split="train").uncut(0, 4)
    assert (same == np.asarray(square).transpose(2, 0, 1)).all()


def test_save_and_load(tmp_path: Path, small_set: LabelledSet) -> None:
    small_set.with_split("synthetic").save(tmp_path / "deep" / "set.parquet")
    loaded = LabelledSet.load(tmp_path / "deep" / "set.parquet")
    assert loaded.columns.equals(small_set.columns)
    assert list(loaded.files) == list(small_set.files)
    assert (loaded.class_names, loaded.split) == (small_set.class_names, "synthetic")
    assert loaded.select([2, 0]).ids == [small_set.ids[2], small_set.ids[0]]
    empty = small_set.select([])
    empty.save(tmp_path / "empty.parquet")
    assert len(LabelledSet.load(tmp_path / "empty.parquet")) == 0


def test_file_is_in_the_hugging_face_layout(tmp_path: Path, small_set: LabelledSet) -> None:
    small_set.save(tmp_path / "set.parquet")
    schema = pq.read_schema(tmp_path / "set.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": list(small_set.class_names), "_type": "ClassLabel"}
    assert features["source_path"] == {"dtype": "string", "_type": "Value"}
    assert list(features) == schema.names
    assert schema.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_save_is_all_or_nothing(
    tmp_path: Path, small_set: LabelledSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_set.save(tmp_path / "set.parquet")
    before = (tmp_path / "set.parquet").read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("understudy.core.files.os.replace", fail)
    with pytest.raises(OSError, match=r"no space"):
        small_set.select([0]).save(tmp_path / "set.parquet")
    assert (tmp_path / "set.parquet").read_bytes() == before


def test_load_errors(tmp_path: Path, small_set: LabelledSet) -> None:
    with pytest.raises(InputError, match=r"no image set at"):
        LabelledSet.load(tmp_path / "x.parquet")
    pq.write_table(small_set.columns, tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"was not written by understudy"):
        LabelledSet.load(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(InputError, match=r"x\.parquet is damaged: to make it again, remove it"):
        LabelledSet.load(tmp_path / "x.parquet")


def test_the_test_split_is_sealed(small_set: LabelledSet) -> None:
    small_set.check_split("train", "val", purpose="adapting")
    with pytest.raises(InputError, match=r"adapting needs a train or val set, got a test set of 12 images"):
        small_set.with_split("test").check_split("train", "val", purpose="adapting")
    with pytest.raises(ValueError, match=r"split must be one of"):
        small_set.with_split("dev")  # type: ignore[arg-type]


def test_labels_and_ids_are_checked(small_set: LabelledSet) -> None:
    with pytest.raises(InputError, match=r"labels must be in \[0, 1\), got 1 to 1"):
        LabelledSet.from_images([picture(0)], [1], class_names=("a",), split="train")
    with pytest.raises(ValueError, match=r"one label and one unique id per image"):
        LabelledSet.from_images([picture(0)] * 2, [0, 0], class_names=("a",), split="train", ids=["x", "x"])


def test_concatenate(small_set: LabelledSet) -> None:
    a, b = small_set.select([0, 1]), small_set.select([2])
    extra = b.with_column("seed", pa.array([5]))
    both = LabelledSet.concatenate([a, extra])
    assert both.ids == small_set.ids[:3]
    assert both.provenance("seed") == [None, None, 5]
    with pytest.raises(InputError, match=r"must not share image ids"):
        LabelledSet.concatenate([a, a])
    with pytest.raises(InputError, match=r"sets to join must have the same class names"):
        LabelledSet.concatenate([a, b.with_split("test")])
