"""Colour profiles: pictures with one are converted to sRGB, all others stay as they are."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from understudy.data.decoding import decode

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# Primaries of sRGB and of Display P3 in XYZ, adapted to D50 (columns red, green, blue).
SRGB_XYZ = ((0.4361, 0.3851, 0.1431), (0.2225, 0.7169, 0.0606), (0.0139, 0.0971, 0.7141))
P3_XYZ = ((0.5151, 0.2920, 0.1571), (0.2412, 0.6922, 0.0666), (-0.0011, 0.0419, 0.7841))


def fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))


def profile(primaries: tuple[tuple[float, ...], ...] | None = P3_XYZ, *, gamma: float = 2.2) -> bytes:
    """A profile of three primaries, or of grey, with one exponent for all channels."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0x\0\0\0", b"wtpt": xyz(0.9642, 1.0, 0.8249)}
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        for number, name in enumerate((b"r", b"g", b"b")):
            tags[name + b"XYZ"] = xyz(*(row[number] for row in primaries))
            tags[name + b"TRC"] = curve
    place, entries, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        entries += name + struct.pack(">II", place + len(body), len(content))
        body += content
    space = b"GRAY" if primaries is None else b"RGB "
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02400000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    whole = head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + body
    return struct.pack(">I", len(whole)) + whole[4:]


def stored(image: Image.Image, icc: bytes | None, form: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **({} if icc is None else {"icc_profile": icc}), **options)
    return data.getvalue()


def one(mode: str, *colour: int) -> Image.Image:
    return Image.new(mode, (2, 2), colour if len(colour) > 1 else colour[0])


def pixel(data: bytes) -> tuple[int, ...]:
    return tuple(int(level) for level in np.asarray(decode(data))[0, 0])


def by_hand(colour: tuple[int, ...], primaries: tuple[tuple[float, ...], ...], gamma: float) -> list[float]:
    """The sRGB levels of a colour, from the definition of the profile."""
    linear = np.array([(level / 255) ** gamma for level in colour])
    found = np.clip(np.linalg.inv(SRGB_XYZ) @ np.array(primaries) @ linear, 0, 1)
    return [255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055) for v in found]


@given(st.tuples(*[st.integers(40, 255)] * 3), st.sampled_from([1.8, 2.2, 2.6]))
def test_colours_are_those_of_the_definition(colour: tuple[int, int, int], gamma: float) -> None:
    found = pixel(stored(one("RGB", *colour), profile(P3_XYZ, gamma=gamma)))
    assert np.abs(np.array(found) - by_hand(colour, P3_XYZ, gamma)).max() <= 2


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_srgb_and_no_profile_change_nothing(colour: tuple[int, int, int]) -> None:
    for icc in (None, SRGB, profile(None), b"no profile", SRGB[:200]):
        assert pixel(stored(one("RGB", *colour), icc)) == colour


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_every_format_keeps_its_profile(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    found = pixel(stored(one("RGB", 200, 60, 60), profile(), form, **options))
    assert np.abs(np.array(found) - by_hand((200, 60, 60), P3_XYZ, 2.2)).max() <= 3


def test_grey_transparent_and_palette_pictures() -> None:
    light = pixel(stored(one("L", 100), profile(None, gamma=1.0)))
    assert light == (round(255 * (1.055 * (100 / 255) ** (1 / 2.4) - 0.055)),) * 3
    assert pixel(stored(one("LA", 100, 255), profile(None, gamma=1.0))) == light
    opaque = pixel(stored(one("RGB", 200, 60, 60), profile()))
    assert pixel(stored(one("RGBA", 200, 60, 60, 255), profile())) == opaque
    assert pixel(stored(one("RGB", 200, 60, 60).quantize(4), profile())) == opaque
    assert pixel(stored(one("RGBA", 200, 60, 60, 0), profile())) == (255, 255, 255)


def test_a_profile_for_other_pictures_is_left_out() -> None:
    assert pixel(stored(one("L", 100), profile(P3_XYZ, gamma=1.0))) == (100, 100, 100)
    plain, other = (pixel(stored(one("CMYK", 0, 200, 200, 0), icc, "JPEG")) for icc in (None, profile()))
    assert plain == other
