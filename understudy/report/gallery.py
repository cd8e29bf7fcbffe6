"""Galleries: real and synthetic images of each class, and synthetic images beside their nearest real one."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from understudy.data.labelled_set import LabelledSet

PER_CLASS, FEW_PER_CLASS = 8, 3
_LARGEST_TILE = 96  # pixels; enough for a thumbnail on a dense screen
_LARGEST_LOSSLESS_TILE = 64
SHORT_TILE, SHORT_QUALITY = 28, 30  # largest width in pixels, and quality of WebP, on a short page


def class_rows(
    pictured: Mapping[str, LabelledSet], *, class_names: Sequence[str], is_short: bool = False
) -> list[dict[str, Any]]:
    """Return the first images of each class: a sample that nobody selected.

    Args:
        pictured: sets of the same classes, by kind, such as ``real`` and ``synthetic``.
        class_names: of the classes that are shown.
        is_short: whether to show few images of each class, small and as WebP.

    Returns:
        Per class ``name`` and ``strips``: by kind, ``count`` (images shown) and ``uri`` (tiles side by side).
    """
    tile, count = tile_size(*pictured.values()), PER_CLASS
    how: dict[str, int] = {}
    if is_short:
        tile, count = min(tile, SHORT_TILE), FEW_PER_CLASS
        how = {"largest_lossless": 0, "quality": SHORT_QUALITY}

    return [
        {"name": name, "strips": strips(pictured, label, count, tile, **how)}
        for label, name in enumerate(class_names)
    ]


def strips(
    pictured: Mapping[str, LabelledSet], label: int, count: int, tile: int, **how: int
) -> dict[str, dict[str, Any]]:
    """:func:`strip` of a class for each kind of images."""
    return {kind: strip(images, label, count, tile, **how) for kind, images in pictured.items()}


def strip(data: LabelledSet, label: int, count: int, tile: int, **how: int) -> dict[str, Any]:
    """The first images of a class side by side: ``count`` and ``uri``; ``how`` as for :func:`tiles_uri`."""
    indices = first_of(data, label, count)
    return {"count": len(indices), "uri": tiles_uri(data, indices, tile, **how) if indices else ""}


def closest_pairs(
    train: LabelledSet, synthetic: LabelledSet, closest: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return synthetic images beside their nearest real train images.

    Args:
        train: real train images.
        synthetic: synthetic images.
        closest: rows with ``id``, ``nearest``, ``distance``, ``held_out_percentile`` and ``flag``, nearest
            first; those whose images are not in the sets, as where a copy was left out, are passed over.

    Returns:
        The rows, with ``synthetic`` and ``real`` (data URIs) and ``name`` of the class.
    """
    drawn, real = synthetic.place, train.place
    tile = tile_size(train, synthetic)
    return [
        {
            **row,
            "synthetic": tiles_uri(synthetic, [drawn[row["id"]]], tile),
            "real": tiles_uri(train, [real[row["nearest"]]], tile),
            "name": synthetic.class_names[synthetic.labels[drawn[row["id"]]]],
        }
        for row in closest
        if row["id"] in drawn and row["nearest"] in real
    ]


def tile_size(*sets: LabelledSet) -> int:
    """Width of thumbnails in pixels: that of the larger first image, at most 96."""
    return min(
        _LARGEST_TILE, max((min(part.image(0).size) for part in sets if len(part)), default=_LARGEST_TILE)
    )


def tiles_uri(
    data: LabelledSet,
    indices: list[int],
    tile: int,
    *,
    largest_lossless: int = _LARGEST_LOSSLESS_TILE,
    quality: int = 85,
) -> str:
    """Pack images side by side into a data URI, with a transparent gap after each.

    Small images are stored lossless, photographs as WebP.

    Args:
        data: the images.
        indices: which ones, at least one.
        tile: width and height of each in pixels.
        largest_lossless: width up to which they are stored lossless.
        quality: of the others, 0 to 100.
    """
    strip = np.zeros((tile, len(indices), tile + max(1, tile // 16), 4), dtype=np.uint8)
    strip[:, :, :tile, :3] = data.select(indices).pixels(tile).transpose(2, 0, 3, 1)
    strip[:, :, :tile, 3] = 255
    buffer = io.BytesIO()
    kind = "PNG" if tile <= largest_lossless else "WEBP"
    Image.fromarray(strip.reshape(tile, -1, 4)).save(buffer, format=kind, optimize=True, quality=quality)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def first_of(data: LabelledSet, label: int, count: int) -> list[int]:
    """Indices of the first images of a class, at most ``count``."""
    return [int(index) for index in np.flatnonzero(data.labels == label)[:count]]
