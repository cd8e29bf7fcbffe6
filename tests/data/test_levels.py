"""Pictures with more than 8 bits are scaled as settings say, or refused, and never nearly black unsaid."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from data_pictures import picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from understudy.core.errors import InputError
from understudy.data.levels import Levels, find_ranges
from understudy.data.pool import Pool, read_pool
from understudy.data.settings import DataSettings
from understudy.data.sources.source import Contents, Item
from understudy.data.unread import why_not_read


def file(levels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, kind)
    return buffer.getvalue()


def grey(index: int) -> np.ndarray:
    """Fractions from 0 to 1."""
    values = np.asarray(picture(index).convert("L")).astype(np.float64)
    return (values - values.min()) / (values.max() - values.min())


def read(files: list[bytes], **options: Any) -> Pool:
    items = [Item(path=f"{index}.png", label="ab"[index % 2], data=data) for index, data in enumerate(files)]
    return read_pool(Contents(iter(items)), DataSettings(source="set", **options))


def first(pool: Pool) -> np.ndarray:
    return np.asarray(pool.images.image(0))[..., 0].astype(int)


KINDS = {
    "16-bit PNG": ("PNG", np.uint16),
    "16-bit TIFF": ("TIFF", np.uint16),
    "32-bit TIFF": ("TIFF", np.int32),
    "fractions": ("TIFF", np.float32),
    "8 bits": ("PNG", np.uint8),
}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(list(KINDS)), st.data())
def test_pictures_are_scaled_or_refused_and_never_dark_unsaid(kind: str, data: st.DataObject) -> None:
    form, dtype = KINDS[kind]
    top = {"8 bits": 255, "16-bit PNG": 65_535, "16-bit TIFF": 65_535}.get(kind, 10**6)
    low = data.draw(st.integers(0 if "bit" in kind else -top, top - 20))
    high = data.draw(st.integers(low + 20, top))
    levels = [np.round(low + grey(index) * (high - low)) for index in range(4)]
    files = [file(each.astype(dtype), form) for each in levels]
    wanted = np.round((levels[0] - low) / (high - low) * 255).astype(int)
    for chosen in ("used", (low, high)):
        assert (np.abs(first(read(files, levels=chosen)) - wanted) <= 1).all()
    pool, told = read_or_refused(files)
    if pool is None:
        assert kind != "8 bits"
        assert "--set data.levels=used" in told
    elif kind == "8 bits":
        assert first(pool).max() >= 64 or any("nearly black" in note for note in pool.notes)
    else:
        assert np.ptp(first(pool)) >= 126  # half of 255, and rounding


def read_or_refused(files: list[bytes]) -> tuple[Pool | None, str]:
    try:
        return read(files), ""
    except InputError as error:
        return None, str(error)


def test_the_range_is_that_of_the_set() -> None:
    """A dark picture stays darker than a bright one."""
    files = [
        file((grey(index) * top).astype(np.uint16)) for index, top in enumerate((1000, 4000, 4000, 4000))
    ]
    pool = read(files, levels="used")
    assert first(pool).max() == 64
    assert pool.notes == ("levels: 0 to 4,000 become 0 to 255 in pictures with 16 bits",)


def test_a_full_range_is_left_as_it_is() -> None:
    files = [file((grey(index) * 65_535).astype(np.uint16)) for index in range(4)]
    for chosen in ("check", "full"):
        pool = read(files, levels=chosen)
        assert [pool.images.encoded(index) for index in range(4)] == files
        assert pool.notes == ()
    narrow = [file((grey(index) * 4000).astype(np.uint16)) for index in range(4)]
    assert first(read(narrow, levels="full")).max() == 16


def test_levels_must_rise() -> None:
    with pytest.raises(
        ValueError, match=r"data.levels must be a darker and a brighter level, got \[9.0, 9.0\]"
    ):
        DataSettings(source="set", levels=(9, 9))


def test_small_levels_in_large_numbers_are_those_of_8_bits() -> None:
    files = [file((grey(index) * 255).astype(np.int32), "TIFF") for index in range(4)]
    pool = read(files)
    assert (first(pool) == (grey(0) * 255).astype(int)).all()
    assert pool.notes == ("levels: 0 to 255 become 0 to 255 in pictures with 32 bits",)


def test_unsigned_numbers_are_not_signed() -> None:
    """Pillow reads them as signed; the tag for the format of samples is changed to unsigned."""
    levels = [(grey(index) * 4e9).astype(np.uint32) for index in range(4)]
    signed = [file(each.view(np.int32), "TIFF") for each in levels]
    files = [
        data.replace(b"\x53\x01\x03\0\x01\0\0\0\x02\0", b"\x53\x01\x03\0\x01\0\0\0\x01\0") for data in signed
    ]
    assert files != signed
    assert (np.abs(first(read(files, levels="used")) - np.round(grey(0) * 255)) <= 1).all()


def test_colours_with_16_bits() -> None:
    """Pillow reads their upper 8 bits; a PNG header with 16 bits stands in for a file of 16-bit colours."""

    def coloured(index: int, top: int) -> bytes:
        rgb = (grey(index)[..., None].repeat(3, 2) * top).astype(">u2")
        rows = b"".join(b"\0" + row.tobytes() for row in rgb)
        header = struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], 16, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
        parts = [
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in chunks
        ]
        return b"\x89PNG\r\n\x1a\n" + b"".join(parts)

    assert first(read([coloured(index, 65_535) for index in range(4)])).max() == 255
    dark = [coloured(index, 4095) for index in range(4)]
    for chosen in ("check", "used"):
        with pytest.raises(InputError, match=r"use only levels 0 to 15 of 255 in their upper 8 bits"):
            read(dark, levels=chosen)
    assert first(read(dark, levels="full")).max() == 15


def test_fractions_must_be_numbers() -> None:
    files = [file(grey(index).astype(np.float32), "TIFF") for index in range(4)]
    with pytest.raises(
        InputError, match=r"with 32 bits do not say which level is white, and use levels 0 to 1"
    ):
        read(files)
    assert first(read(files, levels=(0, 1))).max() == 255
    broken = grey(0)
    broken[0, 0] = np.nan
    with pytest.raises(InputError, match=r"0.png: damaged image: pixel values must be finite numbers"):
        read([file(broken.astype(np.float32), "TIFF"), *files[1:]])


def test_blank_pictures_of_two_classes_are_explained() -> None:
    with pytest.raises(InputError, match=r"1 of them have a single colour: only the first page"):
        read([file(np.zeros((8, 8, 4), np.uint8))] * 2)


# Three bands, of which the header says that they are thirteen.
THIRTEEN = file(np.zeros((4, 4, 3), np.uint8), "TIFF").replace(
    b"\x15\x01\x03\0\x01\0\0\0\x03", b"\x15\x01\x03\0\x01\0\0\0\x0d"
)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "an empty file"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "not read: HEIC: convert it to PNG or JPEG"),
        (bytes(128) + b"DICM", "not read: DICOM: convert"),
        (b"<?xml version='1.0'?>\n<svg width='1'/>", "not read: SVG: convert"),
        (b"<html></html>", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "damaged image: a PNG file that cannot be opened"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "damaged image: a AVIF file"),
        (THIRTEEN, "a kind of TIFF that Pillow cannot read (bands: 13, bits: 8, compression: raw)"),
        (b"II*\0", "a kind of TIFF that Pillow cannot read (a damaged directory)"),
    ],
)
def test_what_is_not_read_is_named(data: bytes, told: str) -> None:
    assert told in why_not_read(data)


def ranges_of(highs: list[int], *, kind: Any = "16 bits", low: int = 0, **options: Any) -> Any:
    found = [(f"{index}.png", Levels(kind, low, high)) for index, high in enumerate(highs)]
    return find_ranges(found, DataSettings(source="set", **options))


@given(bits=st.integers(4, 14), pictures=st.integers(6, 60), data=st.data())
def test_a_few_odd_pictures_hide_no_dark_set(bits: int, pictures: int, data: st.DataObject) -> None:
    low, top = data.draw(st.sampled_from([0, 10])), 2**bits - 1
    odd = data.draw(st.integers(1, pictures // 10 + 1))
    highs = [top] * pictures + [data.draw(st.integers(top + 1, 65_535)) for _ in range(odd)]
    among = rf"{pictures} of {pictures + odd} pictures with 16 bits"
    with pytest.raises(
        InputError, match=rf"(?s)use only levels {low} to .*--set data\.levels=(\[{low},|used)"
    ):
        ranges_of(highs, low=low)
    highs[-1] = 65_535
    with pytest.raises(InputError, match=rf"{among} use only.*but not {pictures}\.png.*=\[{low},{top}\]"):
        ranges_of(highs[:pictures] + [65_535] * odd, low=low)
    ranges, notes = ranges_of(highs, low=low, levels=(low, top))
    assert ranges == {"16 bits": (low, top)}
    assert f"{odd} of {pictures + odd} pictures with 16 bits have levels outside" in notes[1]
    if bits < 14:
        told = ranges_of(highs, low=low, levels="used")[1][1]
        assert "nearly black" in told
        assert f"--set data.levels=[{low},{top}]" in told or odd > 1


@given(pictures=st.integers(10, 60), data=st.data())
def test_a_few_odd_pictures_do_not_refuse_a_good_set(pictures: int, data: st.DataObject) -> None:
    good = [data.draw(st.integers(2**15, 65_535)) for _ in range(pictures)]
    odd = data.draw(st.lists(st.integers(1, 16_000), max_size=pictures // 10))
    ranges, notes = ranges_of(good + odd)
    assert ranges == {}
    assert len(notes) == bool(odd)
    for note in notes:
        assert note.startswith(
            f"levels: {len(odd)} of {pictures + len(odd)} pictures with 16 bits are nearly"
        )
        assert f"{pictures}.png" in note
    with pytest.raises(InputError, match=rf"{pictures} of {2 * pictures} pictures with 16 bits use only"):
        ranges_of(good + [4095] * pictures)


def test_odd_pictures_of_other_kinds() -> None:
    for chosen in ("check", "used"):
        note = ranges_of([15] * 20 + [255], kind="8 bits", levels=chosen)[1][-1]
        assert note.startswith(
            "levels: 20 of 21 pictures are nearly black, they use only levels 0 to 15 of 0 to"
        )
    assert ranges_of([15] * 20 + [255], kind="8 bits", levels="full")[1] == ()
    assert ranges_of([15] * 9 + [255] * 11, kind="8 bits")[1] == ()
    with pytest.raises(InputError, match=r"20 of 21 pictures with 16-bit colours use only levels 0 to 15"):
        ranges_of([15] * 20 + [255], kind="16-bit colours")
    ranges, notes = ranges_of([255] * 20 + [70_000], kind="32 bits")
    assert ranges == {"32 bits": (0, 255)}
    assert notes[1].startswith("levels: 1 of 21 pictures with 32 bits have levels outside 0 to 255")
    with pytest.raises(InputError, match=r"use levels 0 to 65,535: .*=\[0,4095\]"):
        ranges_of([4095] * 20 + [65_535], kind="32 bits")


def test_a_white_picture_among_12_bits() -> None:
    files = [file(np.round(grey(index) * 4095).astype(np.uint16)) for index in range(8)]
    files.append(file(np.full((24, 24), 65_535, np.uint16)))
    with pytest.raises(
        InputError, match=r"8 of 9 pictures with 16 bits use only levels 0 to 4,095 of 65,535"
    ):
        read(files)
    assert first(read(files, levels=(0, 4095))).max() == 255


def test_single_bright_pixels_and_missing_contrast_are_said() -> None:
    levels = [np.round(grey(index) * 4095).astype(np.uint16) for index in range(8)]
    for each in levels:
        each[0, 0] = 65_535
    (note,) = read([file(each) for each in levels]).notes
    assert note.startswith(
        "levels: pictures with 16 bits are nearly black in 99% of their pixels: 0.png, 1.png"
    )
    assert "--set data.levels=[0," in note
    for low in (0, 120, 245):
        pale = [file((low + grey(index) * 10).astype(np.uint8)) for index in range(8)]
        assert any("nearly black" in note or "any contrast" in note for note in read(pale).notes)
        assert read(pale, levels="full").notes == ()
    assert ranges_of([255] * 9, kind="8 bits", low=20)[1] == ()


@pytest.mark.parametrize("kind", ["16 bits", "32 bits"])
def test_pictures_that_differ_a_little_are_not_odd(kind: Any) -> None:
    """The advice must not cut the levels of a set whose pictures are of one kind."""
    with pytest.raises(InputError, match=r"set: pictures with .. bits .* levels 0 to 4,090.*levels=used"):
        ranges_of([3900 + 10 * index for index in range(20)], kind=kind)
    with pytest.raises(
        InputError, match=r"set: 19 of 20 pictures with 16 bits use only levels 0 to 30,000 of"
    ):
        ranges_of([30_000] * 19 + [50_000])


def zero_is_white(levels: np.ndarray, **how: Any) -> bytes:
    """A TIFF file of these levels that says that zero is white."""
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "TIFF", **how)
    tag = struct.pack("<HHIH", 262, 3, 1, 1)  # the photometric interpretation
    assert buffer.getvalue().count(tag) == 1
    return buffer.getvalue().replace(tag, struct.pack("<HHIH", 262, 3, 1, 0))


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from([np.bool_, np.uint8, np.uint16, ">u2", np.float32]),
    st.sampled_from([None, "tiff_lzw", "tiff_adobe_deflate", "packbits"]),
    st.integers(1, 8),
)
def test_pictures_in_which_zero_is_white_are_inverted(kind: Any, compression: Any, orientation: int) -> None:
    """They look like the same pictures in which zero is black, with all depths and orientations."""
    how = {"tiffinfo": {274: orientation}} | ({"compression": compression} if compression else {})
    plain = [
        (grey(index) * (65_535 if "u2" in np.dtype(kind).str else 255)).astype(kind) for index in range(4)
    ]
    inverted = [-each if kind is np.float32 else ~each for each in plain]
    buffers = [io.BytesIO() for _ in plain]
    for each, buffer in zip(plain, buffers, strict=True):
        Image.fromarray(each).save(buffer, "TIFF", **how)
    expected = read([buffer.getvalue() for buffer in buffers])
    found = read([zero_is_white(each, **how) for each in inverted])
    for index in range(4):
        np.testing.assert_array_equal(found.images.image(index), expected.images.image(index))


def test_fractions_in_which_zero_is_white_need_a_range() -> None:
    files = [zero_is_white((grey(index) * 255).astype(np.float32)) for index in range(4)]
    with pytest.raises(
        InputError, match=r"do not say which level is white, and use levels -255 to -?0: scale"
    ):
        read(files)
    white = np.round(255 * (1 - grey(0)))
    assert np.abs(first(read(files, levels="used")) - white).max() <= 1
