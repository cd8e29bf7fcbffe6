"""Whether images show characters or photographs, which decides how classifiers best learn from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from understudy.data.labelled_set import LabelledSet
from understudy.functional.otsu import best_threshold

ImageKind = Literal["characters", "photographs"]

_LOOKED_AT = 100
_SIDE = 64  # pixels; strokes can be told from textures at this size
_GREY = 8.0  # an image is grey if the channels of a pixel differ by less than this on average
_TWO_LEVELS = 0.8  # written digits have about 0.9, photographs about 0.75
_STROKE = 0.25  # half the width of the widest stroke, as a share of the image; bold digits have up to that
_PAPER = (24.0, 0.4)  # grey levels around the median of the border, and the share of all pixels within them


def image_kind(images: Iterable[Image.Image]) -> ImageKind:
    """Characters if most images are grey strokes on plain paper; otherwise photographs.

    Drawings in ink count as characters too, and characters in colour as photographs.

    Args:
        images: RGB, some of a set.

    Raises:
        ValueError: if there are none.
    """
    are_ink = [_is_ink(image) for image in images]
    if not are_ink:
        raise ValueError("images must hold at least one")
    return "characters" if 2 * sum(are_ink) > len(are_ink) else "photographs"


@final
@dataclass(frozen=True, kw_only=True)
class Look:
    """What the images of a set look like.

    Attributes:
        kind: :func:`image_kind`.
        is_grey: whether all are grey.
        side: median length of the shorter side in pixels.
    """

    kind: ImageKind
    is_grey: bool
    side: int


def look_at(data: LabelledSet) -> Look:
    """Look at no more than a hundred images of a set, evenly spaced."""
    sides, small = [], []
    for index in range(0, len(data), -(-len(data) // _LOOKED_AT)):
        image = data.image(index)  # one large image is in memory at a time
        sides.append(min(image.size))
        small.append(_thumbnail(image))
    are_grey = all(_is_grey(_levels(image)) for image in small)
    return Look(kind=image_kind(small), is_grey=are_grey, side=int(np.median(sides)))


def _thumbnail(image: Image.Image) -> Image.Image:
    """A small copy; one of a small image is equal to it."""
    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    return small


def _levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.int64)


def _is_grey(pixels: np.ndarray) -> bool:
    return float(np.ptp(pixels, axis=-1).mean()) < _GREY


def _is_ink(image: Image.Image) -> bool:
    """Whether an image is grey strokes of two levels, and much of it is as plain as its border."""
    pixels = _levels(_thumbnail(image))
    if not _is_grey(pixels):
        return False
    levels = pixels.sum(axis=-1) // 3
    border = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    paper, (width, share) = float(np.median(border)), _PAPER
    threshold, between = best_threshold(levels)
    if between <= _TWO_LEVELS or float((np.abs(levels - paper) <= width).mean()) <= share:
        return False
    ink = levels > threshold if paper <= threshold else levels <= threshold
    # A scan of a head on black has two levels too, but no strokes.
    return bool(distance_transform_edt(np.pad(ink, 1)).max() <= _STROKE * min(ink.shape))
