"""Pictures with more than 8 bits: the range of levels that a whole set uses, and scaling by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from PIL import Image

from understudy.core.errors import InputError
from understudy.data.decoding import decode, open_image, upright
from understudy.data.labelled_set import encode
from understudy.data.settings import DataSettings

Kind = Literal["8 bits", "16 bits", "16-bit colours", "32 bits"]
Range = tuple[float, float]
_DIM = 64
_ADVICE = (
    "scale them by the range that all images use with --set data.levels=used, or by another range with, for "
    "instance, --set data.levels=[0,4095]"
)


@final
@dataclass(frozen=True)
class Levels:
    """The darkest and brightest level of a picture, and how its file stores them.

    Attributes:
        kind: ``8 bits``; ``16 bits`` of grey; ``16-bit colours``, of which Pillow reads the upper 8 bits; or
            ``32 bits``, integers and fractions, where a file does not say which level is white.
        low: darkest level.
        high: brightest level.
    """

    kind: Kind
    low: float
    high: float


def kind_of(opened: Image.Image, data: bytes) -> Kind:
    """How an opened image file stores its levels."""
    if opened.mode.startswith("I;16") or (opened.mode == "I" and opened.format in ("PPM", "PNG")):
        return "16 bits"
    if opened.mode in ("I", "F"):
        return "32 bits"
    bits = [data[24]] if opened.format == "PNG" else getattr(opened, "tag_v2", {}).get(258, (8,))
    return "16-bit colours" if max(bits) > 8 else "8 bits"


def read_levels(data: bytes) -> np.ndarray:
    """Levels of a grey picture with more than 8 bits, upright, float64 of shape (H, W).

    Raises:
        ValueError: if some of them are not finite numbers.
        Exception: of any kind, as raised by Pillow.
    """
    levels = np.asarray(upright(open_image(data)), dtype=np.float64)
    if not np.isfinite(levels).all():
        raise ValueError("pixel values must be finite numbers")
    return levels


def scaled(data: bytes, levels: Range) -> bytes:
    """A picture of any kind as 8-bit PNG, with a range of levels spread over 0 to 255."""
    low, high = levels
    image = upright(open_image(data))
    values = np.asarray(image if image.mode[0] in "IF" else decode(data), dtype=np.float64)
    grey = np.clip(np.round((values - low) / ((high - low) or 1) * 255), 0, 255).astype(np.uint8)
    return encode(Image.fromarray(grey).convert("RGB"))


def find_ranges(
    found: Sequence[Levels], settings: DataSettings
) -> tuple[Mapping[str, Range], tuple[str, ...]]:
    """The ranges by which pictures of some kinds are to be scaled, and what is done, in sentences.

    Kinds without a range are read as they are: 16 bits are divided by 257.

    Raises:
        InputError: if pictures would come out nearly black, and ``data.levels`` does not say what to do.
    """
    used: dict[Kind, Range] = {}
    for each in found:
        low, high = used.get(each.kind, (each.low, each.high))
        used[each.kind] = (min(low, each.low), max(high, each.high))
    ranges: dict[str, Range] = {}
    notes = []
    for kind, limits in used.items():
        if kind != "8 bits" or len(used) == 1:
            scale = _range(kind, limits, settings)
            if scale is not None:
                ranges[kind] = scale
                notes.append(f"levels: {_words(scale)} become 0 to 255 in pictures with {kind}")
    if used.get("8 bits", (0, 255))[1] < _DIM and not ranges and settings.levels == "check":
        notes.append(
            f"levels: all pictures are nearly black, they use only levels {_words(used['8 bits'])} of 255: "
            f"{_ADVICE}"
        )
    return ranges, tuple(notes)


def _range(kind: Kind, used: Range, settings: DataSettings) -> Range | None:
    """The range by which pictures are scaled; None to read them as they are."""
    if kind == "8 bits":
        wanted = None if settings.levels in ("check", "full") else _wanted(used, settings)
        return None if wanted == (0, 255) else wanted
    told = f"{settings.source}: pictures with {kind} use only levels {_words(used)}"
    if kind == "16-bit colours":
        if settings.levels != "full" and used[1] < 128:
            raise InputError(
                f"{told} of 255 in their upper 8 bits, which are all that Pillow reads: they would be "
                "nearly black; store them with 8 bits, scaled, or keep them so with --set data.levels=full"
            )
        return None
    if settings.levels not in ("check", "full"):
        return _wanted(used, settings)
    if kind == "16 bits":
        if settings.levels == "check" and used[1] - used[0] < 2**15:
            raise InputError(
                f"{told} of 65,535, and would be nearly black or without contrast: {_ADVICE}, or keep "
                "them so with --set data.levels=full"
            )
        return None
    for white in (255, 65_535):
        if used[0] >= 0 and used[1] <= white and used[1] - used[0] >= white / 2:
            return (0, white)
    raise InputError(
        f"{settings.source}: pictures with 32 bits do not say which level is white, and use levels "
        f"{_words(used)}: {_ADVICE}"
    )


def _wanted(used: Range, settings: DataSettings) -> Range:
    return used if isinstance(settings.levels, str) else settings.levels


def _words(limits: Range) -> str:
    return f"{limits[0]:,g} to {limits[1]:,g}"
