"""Pictures with more than 8 bits: the range of levels that a whole set uses, and scaling by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final

import numpy as np
from PIL import Image

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.decoding import decode, open_image, upright
from understudy.data.labelled_set import encode
from understudy.data.settings import DataSettings

Kind = Literal["8 bits", "16 bits", "16-bit colours", "32 bits"]
Range = tuple[float, float]
_DIM = 64
"""Pictures whose brightest level comes out below this one of 255 are nearly black."""
_ODD = 0.1  # share of pictures that may be much brighter or darker than the others
_MOST = 0.5
_WHITE: Mapping[Kind, int] = {"8 bits": 255, "16 bits": 65_535, "16-bit colours": 255}
"""The level of each kind that becomes white if pictures are read as they are."""


@final
@dataclass(frozen=True)
class Levels:
    """The darkest and brightest level of a picture, and how its file stores them.

    Attributes:
        kind: ``8 bits``; ``16 bits`` of grey; ``16-bit colours``, of which Pillow reads the upper 8 bits; or
            ``32 bits``, integers and fractions, where a file does not say which level is white.
        low: darkest level.
        high: brightest level.
        bright: level that 99% of the pixels do not exceed, of pictures with 16 or 32 bits of grey.
    """

    kind: Kind
    low: float
    high: float
    bright: float | None = None


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


@final
@dataclass(frozen=True)
class _Pictures:
    """All pictures of one kind.

    Attributes:
        kind: how their files store levels.
        paths: of N files.
        lows: darkest level of each, float64 of shape (N,).
        highs: brightest level of each, float64 of shape (N,).
        brights: level of each that 99% of its pixels do not exceed, float64 of shape (N,).
    """

    kind: Kind
    paths: Sequence[str]
    lows: np.ndarray
    highs: np.ndarray
    brights: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def limits(self) -> Range:
        """The range that they use together."""
        return float(self.lows.min()), float(self.highs.max())

    @cached_property
    def typical(self) -> Range:
        """The range that they use together without a few odd ones, a tenth at each end.

        One white picture must not hide that all others have 12 bits.
        """
        low = float(np.quantile(self.lows, _ODD, method="higher"))
        return low, max(low, float(np.quantile(self.highs, 1 - _ODD, method="lower")))

    def where(self, chosen: np.ndarray) -> _Pictures:
        """Some of them; ``chosen`` is bool of shape (N,)."""
        paths = [self.paths[index] for index in np.flatnonzero(chosen).tolist()]
        return _Pictures(self.kind, paths, self.lows[chosen], self.highs[chosen], self.brights[chosen])

    def outside(self, limits: Range) -> np.ndarray:
        """Which of them have levels outside a range, bool of shape (N,)."""
        return np.asarray((self.lows < limits[0]) | (self.highs > limits[1]))

    def dark(self, scale: Range | None) -> np.ndarray:
        """Which of them come out nearly black if a range becomes 0 to 255, bool of shape (N,)."""
        return np.asarray(self._scaled(self.highs, scale) < _DIM)

    def dark_but_few(self, scale: Range | None) -> np.ndarray:
        """Which of them come out nearly black but for few pixels, bool of shape (N,)."""
        return np.asarray((self._scaled(self.brights, scale) < _DIM) & ~self.dark(scale))

    def flat(self) -> np.ndarray:
        """Which of them have hardly any contrast, bool of shape (N,)."""
        return np.asarray(self._scaled(self.highs - self.lows, None) < _DIM)

    def _scaled(self, levels: np.ndarray, scale: Range | None) -> np.ndarray:
        low, high = scale or (0, _WHITE[self.kind])
        return np.asarray(np.round((levels - low) / ((high - low) or 1) * 255))

    def counted(self, part: _Pictures) -> str:
        """How many of them are in a part, such as ``3 of 20 pictures with 16 bits``."""
        number = "" if len(part) == len(self) else f"{len(part):,} of {len(self):,} "
        return f"{number}pictures" + (f" with {self.kind}" if self.kind != "8 bits" else "")


def find_ranges(
    found: Sequence[tuple[str, Levels]], settings: DataSettings
) -> tuple[Mapping[str, Range], tuple[str, ...]]:
    """The ranges by which pictures of some kinds are to be scaled, and what is done, in sentences.

    Kinds without a range are read as they are: 16 bits are divided by 257.

    Args:
        found: path and levels of each picture.
        settings: ``levels`` says how to scale.

    Raises:
        InputError: if most pictures of a kind would come out nearly black or without contrast, and
            ``data.levels`` does not say what to do.
    """
    by_kind: dict[Kind, list[tuple[str, Levels]]] = {}
    for path, levels in found:
        by_kind.setdefault(levels.kind, []).append((path, levels))
    ranges: dict[str, Range] = {}
    notes: list[str] = []
    for kind, each in by_kind.items():
        lows = np.array([levels.low for _, levels in each], dtype=np.float64)
        highs = np.array([levels.high for _, levels in each], dtype=np.float64)
        brights = [levels.high if levels.bright is None else levels.bright for _, levels in each]
        pictures = _Pictures(kind, [path for path, _ in each], lows, highs, np.array(brights))
        is_scaled = kind != "8 bits" or len(by_kind) == 1
        scale = _range(pictures, settings) if is_scaled else None
        if scale is not None:
            ranges[kind] = scale
            notes.append(f"levels: {_words(scale)} become 0 to 255 in pictures with {kind}")
            notes += _cut(pictures, scale)
        notes += _nearly_black(pictures, scale, settings) or _few_levels(pictures, scale, settings)
    return ranges, tuple(notes)


def _range(pictures: _Pictures, settings: DataSettings) -> Range | None:
    """The range by which pictures of a kind are scaled; None to read them as they are."""
    kind, typical = pictures.kind, pictures.typical
    wanted = pictures.limits if isinstance(settings.levels, str) else settings.levels
    if kind == "8 bits":
        return None if settings.levels in ("check", "full") or wanted == (0, 255) else wanted
    if kind == "16-bit colours":
        if settings.levels != "full" and (typical[1] < 128 or _are_mostly_dark(pictures)):
            narrow, told = _narrow(pictures, settings)
            raise InputError(
                f"{told} in their upper 8 bits, which are all that Pillow reads: they would be nearly "
                "black; ",
                "store them with 8 bits, scaled, or keep them so with --set data.levels=full",
            )
        return None
    if settings.levels not in ("check", "full"):
        return wanted
    if kind == "16 bits":
        if settings.levels == "check" and (typical[1] - typical[0] < 2**15 or _are_mostly_dark(pictures)):
            narrow, told = _narrow(pictures, settings)
            raise InputError(
                f"{told}, and would be nearly black or without contrast: ",
                f"{_advice(pictures, narrow)}, or keep them so with --set data.levels=full",
            )
        return None
    for white in (255, 65_535):
        if typical[0] >= 0 and typical[1] <= white and typical[1] - typical[0] >= white / 2:
            return (0, white)
    raise InputError(
        f"{settings.source}: pictures with 32 bits do not say which level is white, and use levels "
        f"{_words(pictures.limits)}: ",
        _advice(pictures, _within(pictures)),
    )


def _are_mostly_dark(pictures: _Pictures) -> bool:
    return bool(pictures.dark(None).mean() >= _MOST)


def _within(pictures: _Pictures) -> _Pictures:
    """The pictures without a few odd ones, which are far from the others or make their range look wide."""
    low, high = pictures.typical
    for margin in (high - low, 0):
        within = pictures.where(~pictures.outside((low - margin, high + margin)))
        half = _WHITE.get(pictures.kind, np.inf) / 2
        if len(within) and within.limits[1] - within.limits[0] < half:
            return within
    return pictures


def _narrow(pictures: _Pictures, settings: DataSettings) -> tuple[_Pictures, str]:
    """The pictures that use a small part of the levels, and the begin of a message about them."""
    narrow = pictures.where(pictures.dark(None)) if _are_mostly_dark(pictures) else _within(pictures)
    white = _WHITE[pictures.kind]
    told = (
        f"{settings.source}: {pictures.counted(narrow)} use only levels {_words(narrow.limits)} of {white:,}"
    )
    known = set(narrow.paths)
    others = [path for path in pictures.paths if path not in known]
    return narrow, told + (f" (but not {listed(others, most=3)})" if others else "")


def _advice(pictures: _Pictures, narrow: _Pictures) -> str:
    """How to scale all pictures by the levels that some of them use."""
    if len(narrow) == len(pictures):
        return (
            "scale them by the range that all images use with --set data.levels=used, or by another range "
            "with, for instance, --set data.levels=[0,4095]"
        )
    low, high = (f"{limit:.17g}" for limit in narrow.limits)
    return (
        f"scale all by this range with --set data.levels=[{low},{high}], so that darker levels become black "
        "and brighter ones white, or store all pictures with the same range of levels"
    )


def _cut(pictures: _Pictures, scale: Range) -> list[str]:
    """A sentence if pictures have levels outside the range by which they are scaled."""
    cut = pictures.where(pictures.outside(scale))
    if not len(cut):
        return []
    named = listed(cut.paths, most=3)
    told = f"levels: {pictures.counted(cut)} have levels outside {_words(scale)}, which become black or white"
    return [f"{told}: {named}"]


def _nearly_black(pictures: _Pictures, scale: Range | None, settings: DataSettings) -> list[str]:
    """A sentence if pictures come out nearly black; with 8 bits, only if most do."""
    dark = pictures.dark(scale)
    if not dark.any() or (pictures.kind == "8 bits" and (dark.mean() < _MOST or settings.levels == "full")):
        return []
    part = pictures.where(dark)
    told = f"levels: {'all ' * bool(dark.all())}{pictures.counted(part)} are nearly black"
    if dark.mean() < _MOST:
        named = listed(part.paths, most=3)
        return [f"{told}: {named}; if their files use fewer levels than the others, scale them"]
    limits = f"they use only levels {_words(part.limits)} of {_words(scale or (0, _WHITE[pictures.kind]))}"
    return [f"{told}, {limits}: {_advice(pictures, part)}"]


def _few_levels(pictures: _Pictures, scale: Range | None, settings: DataSettings) -> list[str]:
    """A sentence if most pictures have few bright pixels on nearly black, or hardly any contrast."""
    few = pictures.dark_but_few(scale)
    if few.mean() >= _MOST:
        part = pictures.where(few)
        scaled_by = f"--set data.levels=[{part.lows.min():.17g},{part.brights.max():.17g}]"
        told = (
            f"{pictures.counted(part)} are nearly black in 99% of their pixels: {listed(part.paths, most=3)}"
        )
        return [f"levels: {told}; if the others are defects or marks, use {scaled_by}"]
    flat = (
        pictures.flat() if pictures.kind == "8 bits" and scale is None and settings.levels == "check" else few
    )
    if flat.mean() < _MOST:
        return []
    part = pictures.where(flat)
    told = f"{pictures.counted(part)} have hardly any contrast, with levels {_words(part.limits)} of 255"
    return [f"levels: {told}: {_advice(pictures, part)}"]


def _words(limits: Range) -> str:
    return f"{limits[0]:,g} to {limits[1]:,g}"
