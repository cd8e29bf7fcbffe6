"""Decode image files of any kind to upright 8-bit RGB, whatever their metadata holds."""

from __future__ import annotations

import io
import logging
import re
import struct
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, TiffTags

from understudy.data.colour import to_srgb

# Pillow also logs why it cannot read a file; without a handler, Python would print that.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PHOTOMETRIC = 262
_INTEGERS = {1: "B", 3: "H", 4: "I"}
_EXIF = b"Exif\0\0"
_PNG = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS")


def decode(data: bytes) -> Image.Image:
    """Decode bytes to an upright 8-bit RGB image.

    EXIF orientation is applied, colours with an embedded profile become sRGB, transparency is laid over
    white, and 16-bit grey levels are divided by 257. Faults of the metadata (wrong EXIF tags, broken text) do
    not matter.

    Args:
        data: an image file in any format that Pillow reads.

    Raises:
        Exception: of any kind, as raised by Pillow's decoders for files that they cannot read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they concern metadata, and do not name the file
        try:
            return _rgb(upright(open_image(data)))
        except Exception:
            plain = _without_metadata(data)
            if plain is None:
                raise
            return _rgb(upright(Image.open(io.BytesIO(plain))))


def open_image(data: bytes) -> Image.Image:
    """Open an image file without decoding its pixels; metadata that Pillow cannot read is left out.

    Raises:
        Exception: of any kind, as raised by Pillow.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Image.open(io.BytesIO(data))
        except Exception:
            plain = _without_metadata(data)
            if plain is None:
                raise
            return Image.open(io.BytesIO(plain))


def upright(opened: Image.Image) -> Image.Image:
    """Load an opened image file and turn it as its orientation says; unsigned 32 bits become mode F.

    Of TIFF files in which zero is white, Pillow inverts those with up to 8 bits. Here, 16 bits are inverted
    too, and fractions, which have no largest level, are negated.
    """
    unsigned = zero_is_white = False
    if opened.format == "TIFF":  # Pillow reads these parts when it loads a TIFF, and turns the image itself
        exif = opened.getexif()
        for part in set(TiffTags.TAGS_V2_GROUPS) & set(exif):
            del exif[part]
        opened.info.pop("xmp", None)
        tags = getattr(opened, "tag_v2", {})
        unsigned = opened.mode == "I" and tags.get(258) == (32,) and tags.get(339, (1,)) == (1,)
        zero_is_white = tags.get(_PHOTOMETRIC) == 0
    opened.load()
    turn = _TURNS.get(1 if opened.format == "TIFF" else _orientation(opened))
    if unsigned:  # which Pillow reads as signed
        return Image.fromarray(np.asarray(opened).view(np.uint32).astype(np.float32))
    if zero_is_white and opened.mode.startswith("I;16"):
        return Image.fromarray(65_535 - np.asarray(opened).astype(np.uint16))
    if zero_is_white and opened.mode == "F":
        return Image.fromarray(-np.asarray(opened))
    return opened if turn is None else opened.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of a loaded image, and 1 (upright) if it cannot be read.

    The tag is read alone. Pillow's ``exif_transpose`` writes all other tags again, which fails if one of them
    is wrong, and its reader stops at the first tag that points behind the end.
    """
    try:
        found = _orientation_tag(image.info.get("exif", b""))
        return found or int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - Pillow raises errors of any kind for broken EXIF
        return 1


def _orientation_tag(block: bytes) -> int | None:
    """The orientation in the first directory of an EXIF block, where it is an integer."""
    block = block.removeprefix(_EXIF).removeprefix(_EXIF)  # some cameras write the head twice
    end = {b"II": "<", b"MM": ">"}.get(block[:2])
    if end is None or len(block) < 8:
        return None
    start = int(struct.unpack_from(end + "I", block, 4)[0]) + 2
    for place in range(start, len(block) - 11, 12):
        if place - start >= 12 * struct.unpack_from(end + "H", block, start - 2)[0]:
            return None
        tag, kind, count = struct.unpack_from(end + "HHI", block, place)
        if tag == ExifTags.Base.Orientation and count == 1 and kind in _INTEGERS:
            return int(struct.unpack_from(end + _INTEGERS[kind], block, place + 8)[0])
    return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError(
            "pixel values must be integers, got fractions of unknown range: store the image with 8 or 16 bits"
        )
    if image.mode == "I" or image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.float64)
        scale = 1.0 if levels.max() <= 255 and not image.mode.startswith("I;16") else 257.0
        return Image.fromarray(np.clip(np.round(levels / scale), 0, 255).astype(np.uint8)).convert("RGB")
    profile = image.info.get("icc_profile")
    if image.mode == "P" or "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        if profile:
            colours = to_srgb(layer.convert("L" if image.mode == "LA" else "RGB"), profile).convert("RGB")
            colours.putalpha(layer.getchannel("A"))
            layer = colours
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return to_srgb(image, profile).convert("RGB")


def _without_metadata(data: bytes) -> bytes | None:
    """The same picture without metadata that Pillow may stumble over; None if there is none."""
    if data.startswith(b"\xff\xd8"):
        return _plain_jpeg(data)
    if data.startswith(_PNG):
        chunks = list(_png_chunks(data))
        kept = [chunk for chunk in chunks if chunk[4:8] in _PIXEL_CHUNKS]
        return _PNG + b"".join(kept) if len(kept) < len(chunks) else None
    if data[4:8] == b"ftyp":  # AVIF, which names the type of each item
        plain = re.sub(rb"(infe.{8}(?:..)??)Exif", rb"\1free", data, flags=re.DOTALL)
        return plain if plain != data else None
    return None


def _plain_jpeg(data: bytes) -> bytes | None:
    """A JPEG file with the orientation alone as EXIF; colour profiles and further pictures are left out."""
    place, kept, orientation = 2, [data[:2]], None
    while data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] not in (b"\xda", b""):
        length = 2 + int.from_bytes(data[place + 2 : place + 4])
        segment = data[place : place + length]
        if not 0xE0 <= segment[1] <= 0xEF or segment[1] == 0xEE:  # that one says what the colours are
            kept.append(segment)
        elif orientation is None:
            orientation = _orientation_tag(segment[4:])
        place += length
    if sum(map(len, kept)) == place:
        return None
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation or 1
    block = exif.tobytes()
    return b"".join([kept[0], b"\xff\xe1", struct.pack(">H", len(block) + 2), block, *kept[1:], data[place:]])


def _png_chunks(data: bytes) -> Iterator[bytes]:
    """The chunks of a PNG file, each with length, name and checksum; a cut one comes last."""
    place = len(_PNG)
    while place < len(data):
        length = 12 + int.from_bytes(data[place : place + 4])
        yield data[place : place + length]
        place += length
