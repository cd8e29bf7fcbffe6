"""Strategies for image files with random metadata, and for damaged ones."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

ORIENTATION = 0x0112
_TAGS = [0x0100, 0x0101, 0x0103, 0x010E, 0x0110, 0x0111, 0x0117, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132]
_TAGS += [0x02BC, 0x8769, 0x8773, 0x8825, 0x9204, 0x927C, 0xA005, 0xB001, 0xB002]
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8))
Image.init()


def written(form: str, **options: Any) -> bytes:
    """The picture in a format, in the colours it can hold; empty if Pillow needs another program for it."""
    for mode in ("RGB", "P", "L", "1", "F"):
        buffer = io.BytesIO()
        try:
            PICTURE.convert(mode).save(buffer, form, **options)
        except (OSError, ValueError):
            continue
        return buffer.getvalue()
    return b""


@st.composite
def directories(draw: st.DrawFn) -> bytes:
    """A TIFF directory as EXIF blocks hold it, with tags of all types, often wrong ones."""
    end = draw(st.sampled_from("<>"))
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from([ORIENTATION, *_TAGS]) | st.integers(0, 65535),
                st.integers(0, 16) | st.just(77),
                st.sampled_from([0, 1, 1, 1, 2, 3, 9, 4_000_000_000]),
                st.binary(min_size=4, max_size=4)
                | st.integers(0, 120).map(lambda place: struct.pack(end + "I", place))
                | st.integers(0, 9).map(lambda value: struct.pack(end + "HH", value, 0)),
            ),
            max_size=6,
        )
    )
    directory = b"".join(struct.pack(end + "HHI", *row[:3]) + row[3] for row in rows)
    follows = struct.pack(end + "I", draw(st.sampled_from([0, 8, 50_000])))
    head = struct.pack(end + "2sHI", b"II" if end == "<" else b"MM", 42, 8)
    block = head + struct.pack(end + "H", len(rows)) + directory + follows + draw(st.binary(max_size=64))
    return draw(st.just(block) | damaged(block))


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """The same bytes cut off, with some of them changed, left out or put in twice."""
    places = st.integers(0, max(0, len(data) - 1))
    return st.one_of(
        places.map(lambda place: data[:place]),
        places.map(lambda place: data[:place] + bytes(len(data) - place)),
        st.tuples(places, places).map(lambda cut: data[: min(cut)] + data[max(cut) :]),
        st.tuples(places, places).map(lambda cut: data[: max(cut)] + data[min(cut) :]),
        st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4).map(
            lambda changes: changed(data, changes)
        ),
    )


def changed(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    """Bytes with other values at some places."""
    mutable = bytearray(data)
    for place, value in changes:
        mutable[place : place + 1] = bytes([value])
    return bytes(mutable)


def with_segment(jpeg: bytes, marker: int, payload: bytes) -> bytes:
    """A JPEG file with one more segment before all others."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload + jpeg[2:]


def with_chunk(png: bytes, name: bytes, payload: bytes, *, checksum: int | None = None) -> bytes:
    """A PNG file with one more chunk after its header."""
    total = zlib.crc32(name + payload) if checksum is None else checksum
    chunk = struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", total)
    return png[:33] + chunk + png[33:]
