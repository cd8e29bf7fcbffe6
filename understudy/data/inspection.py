"""Decode a picture once, to find out whether it can be used, its fingerprint and its levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image, UnidentifiedImageError

from understudy.data.decoding import open_image
from understudy.data.labelled_set import decode_once, hash_once, remember_nothing
from understudy.data.leaks import Print, perceptual
from understudy.data.levels import Levels, kind_of, read_levels
from understudy.data.recent import Recent
from understudy.data.unread import why_not_read

_FORMATS = {"PNG", "JPEG", "MPO", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF"}
"""Formats that Pillow decodes itself; for some others it runs external programs."""

_PRINTS = Recent[Print](room=50_000, size=lambda found: 1)


@final
@dataclass(frozen=True)
class Inspected:
    """A picture that can be used.

    Attributes:
        levels: its darkest and brightest level, and how the file stores them.
        fingerprint: None for pictures with 32 bits, which are scaled first.
        pixels: their number, as in the file.
        has_pages: whether the file has further pages or frames.
    """

    levels: Levels
    fingerprint: Print | None
    pixels: int
    has_pages: bool


def inspect(data: bytes, max_pixels: int) -> str | Inspected:
    """What there is to know about an image file, or the reason why it cannot be used.

    The size in the header is checked before decoding.
    """
    try:
        with open_image(data) as opened:
            if opened.format not in _FORMATS:
                return f"not read: {opened.format}, which is not supported: convert it to PNG or JPEG"
            if opened.width * opened.height > max_pixels:
                size = f"{opened.width} x {opened.height} pixels"
                return f"{size}, more than the {max_pixels:,} of data.max_pixels"
            kind, pixels = kind_of(opened, data), opened.width * opened.height
            has_pages = _has_pages(opened)
        if kind in ("16 bits", "32 bits"):
            values = read_levels(data)
            bright = float(np.percentile(values, 99, method="lower"))
            levels = Levels(kind, float(values.min()), float(values.max()), bright)
        if kind == "32 bits":
            return Inspected(levels, None, pixels, has_pages)
        image = decode_once(data)
    except UnidentifiedImageError:
        return why_not_read(data)
    except Image.DecompressionBombError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - decoders raise errors of any kind
        return f"damaged image: {error or type(error).__name__}"
    if kind != "16 bits":
        lows, highs = zip(*image.getextrema(), strict=True)
        levels = Levels(kind, min(lows), max(highs))
    return Inspected(levels, fingerprint_once(data, image), pixels, has_pages)


def inspect_each_once() -> None:
    """Remember nothing in this process, which is given every image once."""
    remember_nothing()
    _PRINTS.shrink(0)


def _has_pages(opened: Image.Image) -> bool:
    """Whether an image file has further pages or frames; cameras add previews as such to MPO files."""
    try:
        return opened.format != "MPO" and getattr(opened, "n_frames", 1) > 1
    except Exception:  # noqa: BLE001 - Pillow raises errors of any kind for pages that it cannot read
        return True


def fingerprint_once(data: bytes, image: Image.Image | None = None) -> Print:
    """Fingerprint of an image file; ``image`` is the same, if it is decoded already.

    The fingerprints of the latest 50,000 images are remembered, with at most 80 MB.
    """

    def find() -> Print:
        decoded = decode_once(data) if image is None else image
        return hash_once(data, decoded), *perceptual(decoded)

    return _PRINTS.get(data, find)
