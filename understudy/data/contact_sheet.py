"""A picture with a few images of each class: real ones above synthetic ones, or synthetic ones alone."""

from __future__ import annotations

import numpy as np
from PIL import Image

from understudy.data.labelled_set import LabelledSet

MOST_CLASSES = 40
MOST_PER_CLASS = 4
_SMALL = 64  # pixels; smaller images are enlarged to about this size


def contact_sheet(synthetic: LabelledSet, *, real: LabelledSet | None = None, size: int) -> Image.Image:
    """Draw one column for each of the first 40 classes that have synthetic images.

    Args:
        synthetic: at most four images of each class are shown; at least one in all.
        real: real images, at most four of each class, which are shown above.
        size: width and height of an image in pixels, at least 4.

    Returns:
        RGB; small images are enlarged by a whole number.

    Raises:
        ValueError: without synthetic images.
    """
    labels = np.unique(synthetic.labels)[:MOST_CLASSES].tolist()
    if not labels:
        raise ValueError("synthetic must hold at least one image")
    columns = []
    for label in labels:
        drawn = _stack(synthetic, label, size)
        space = np.full((3, size // 4, size), 255, np.uint8)
        columns.append(
            drawn if real is None else np.concatenate([_stack(real, label, size), space, drawn], axis=1)
        )
    sheet = np.concatenate(columns, axis=2).transpose(1, 2, 0)
    zoom = max(1, _SMALL // size)
    return Image.fromarray(sheet.repeat(zoom, axis=0).repeat(zoom, axis=1))


def _stack(data: LabelledSet, label: int, size: int) -> np.ndarray:
    """The first images of a class above each other, uint8 (3, 4 size, size); white where there are fewer."""
    pixels = data.select(np.flatnonzero(data.labels == label)[:MOST_PER_CLASS]).pixels(size)
    blank = np.full((MOST_PER_CLASS - len(pixels), 3, size, size), 255, np.uint8)
    return np.concatenate([*pixels, *blank], axis=1)
