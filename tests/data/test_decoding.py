"""Whatever a file holds, it is a picture or a bad file with its name; good pixels are never refused."""

from __future__ import annotations

import os
import struct
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from broken_files import (
    ORIENTATION,
    PICTURE,
    damaged,
    directories,
    with_chunk,
    with_segment,
    written,
)
from data_pictures import write_folder
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, TiffImagePlugin

from understudy.core.errors import InputError
from understudy.data.decoding import decode
from understudy.data.inspection import inspect
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings

# `make explore` tries so many times more.
SHARE = 600 if os.environ.get("HYPOTHESIS_PROFILE") == "explore" else 1
JPEG = written("JPEG", quality=95)
PIXELS = decode(JPEG)
LIMIT = 100_000_000
AVIF_EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x0e\0\x02\0\0\0\x64\0\0\0\x1a\0\0\0\0" + b"a" * 99 + b"\0"
AVIF = written("AVIF", exif=b"Exif\0\0" + AVIF_EXIF)
# Without a format of a megabyte, and one that Pillow gives up.
FILES = {form: written(form) for form in sorted(set(Image.SAVE) - {"ICNS", "IM"})}
FILES |= {
    "TIFF LZW": written("TIFF", compression="tiff_lzw"),
    "TIFF JPEG": written("TIFF", compression="jpeg"),
    "TIFF Deflate": written("TIFF", compression="tiff_adobe_deflate"),
    "progressive JPEG": written("JPEG", progressive=True),
    "JPEG 2000 without a box": written("JPEG2000", no_jp2=True),
    "WebP without losses": written("WEBP", lossless=True),
    "animated GIF": written("GIF", save_all=True, append_images=[PICTURE.convert("L")]),
    "MPO of two": written("MPO", save_all=True, append_images=[PICTURE]),
}


def fuzz(examples: int) -> settings:
    return settings(max_examples=SHARE * examples, deadline=None, suppress_health_check=list(HealthCheck))


@cache
def turns_of(file: bytes) -> frozenset[bytes]:
    return frozenset(turns(decode(file)).values())


def turns(image: Image.Image) -> dict[int, bytes]:
    """The pixels of an image as each orientation shows it."""
    found = {}
    for orientation in range(1, 9):
        turned = image.copy()
        turned.getexif()[ORIENTATION] = orientation
        found[orientation] = ImageOps.exif_transpose(turned).tobytes()
    return found


def exif(*entries: tuple[int, int, int, bytes], orientation: int = 6) -> bytes:
    """A little-endian EXIF block of the orientation and other tags (number, type, count, four bytes)."""
    rows = sorted([(ORIENTATION, 3, 1, struct.pack("<HH", orientation, 0)), *entries])
    packed = b"".join(struct.pack("<HHI", *row[:3]) + row[3] for row in rows)
    head = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(rows))
    return head + packed + bytes(4) + struct.pack("<II", 4_294_967_295, 0)


@fuzz(50)
@given(directories(), st.sampled_from([b"Exif\0\0", b"Exif\0\0Exif\0\0", b""]))
def test_no_exif_block_refuses_a_jpeg(block: bytes, head: bytes) -> None:
    file = with_segment(JPEG, 0xE1, head + block)
    assert decode(file).tobytes() in turns_of(JPEG)


@fuzz(25)
@given(
    st.sampled_from([0xFE, *range(0xE0, 0xEE), 0xEF]),
    st.sampled_from([b"", b"MPF\0", b"JFIF\0", b"Photoshop 3.0\0"]),
    st.binary(max_size=60) | directories(),
)
@example(0xE0, b"JFIF\0", b"")
def test_no_segment_refuses_a_jpeg(marker: int, head: bytes, payload: bytes) -> None:
    assert decode(with_segment(JPEG, marker, head + payload)).tobytes() in turns_of(JPEG)


@fuzz(25)
@given(directories())
def test_no_exif_block_refuses_another_format(block: bytes) -> None:
    for form in ("PNG", "WEBP"):
        plain = written(form, lossless=True)
        file = written(form, exif=b"Exif\0\0" + block, lossless=True)
        assert decode(file).tobytes() in turns_of(plain)


@fuzz(10)
@given(directories())
def test_no_exif_block_refuses_an_avif(block: bytes) -> None:
    block = block[: len(AVIF_EXIF)].ljust(len(AVIF_EXIF), b"\0")
    assert AVIF.count(AVIF_EXIF) == 1
    assert decode(AVIF.replace(AVIF_EXIF, block)).size in (PICTURE.size, PICTURE.size[::-1])


@fuzz(25)
@given(
    st.sampled_from(
        [
            b"tEXt",
            b"zTXt",
            b"iTXt",
            b"iCCP",
            b"eXIf",
            b"pHYs",
            b"gAMA",
            b"cHRM",
            b"acTL",
            b"fcTL",
            b"abCd",
            b"sRGB",
            b"tIME",
        ]
    ),
    st.binary(max_size=40),
    st.none() | st.integers(0, 2**32 - 1),
)
def test_no_chunk_refuses_a_png(name: bytes, payload: bytes, checksum: int | None) -> None:
    assert decode(with_chunk(written("PNG"), name, payload, checksum=checksum)).tobytes() in turns_of(
        written("PNG")
    )


@fuzz(100)
@given(st.sampled_from([file for file in FILES.values() if file]).flatmap(damaged))
def test_a_damaged_file_is_a_picture_or_a_bad_file(file: bytes) -> None:
    found = inspect(file, LIMIT)
    assert found  # a reason, or what there is to know


@fuzz(25)
@given(st.binary(max_size=200))
def test_bytes_are_a_picture_or_a_bad_file(data: bytes) -> None:
    assert isinstance(inspect(data, LIMIT), str)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "entry",
    [
        (0x011A, 10, 1, struct.pack("<I", 46)),  # a negative fraction, which no writer takes
        (0x0110, 5, 1, struct.pack("<I", 46)),  # text as a fraction
        (0x0131, 11, 1, struct.pack("<f", 1.5)),  # text as a number
        (0x0128, 1, 1, b"\2\0\0\0"),  # a number as bytes
        (0x011A, 2, 3, b"72\0\0"),  # a fraction as text
        (0x8769, 4, 1, struct.pack("<I", 8)),  # a part that is its own part
    ],
)
def test_wrong_tags_do_not_change_the_orientation(
    entry: tuple[int, int, int, bytes], orientation: int
) -> None:
    file = with_segment(JPEG, 0xE1, exif(entry, orientation=orientation))
    assert decode(file).tobytes() == turns(PIXELS)[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("part", [0x8769, 0x8825, 0xA005, 0x014A])
@pytest.mark.parametrize("value", [50_000, 8, "text", 1.5])
def test_a_tiff_is_turned_once_whatever_its_parts_hold(orientation: int, part: int, value: Any) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[ORIENTATION], tags[65_000] = orientation, value
    file = written("TIFF", tiffinfo=tags).replace(struct.pack("<H", 65_000), struct.pack("<H", part))
    assert decode(file).tobytes() == turns(PICTURE)[orientation]


def test_a_bad_file_is_named_and_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 4, "bee": 4})
    (tmp_path / "ant" / "bad.avif").write_bytes(FILES["AVIF"].replace(b"av01", b"xxxx"))
    with pytest.raises(InputError, match=r"1 of 9 is not:\n  ant/bad.avif: damaged image: Failed to decode"):
        load_splits(DataSettings(source=str(tmp_path)), seed=0)
    splits = load_splits(DataSettings(source=str(tmp_path), skip_bad=True), seed=0)
    assert [path for path, _ in splits.skipped] == ["ant/bad.avif"]
