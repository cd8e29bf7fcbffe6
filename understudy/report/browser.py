"""The page's image browser: thumbnails of all images on sprite sheets, and their facts as columns.

The page carries sheets and columns as data; ``templates/report.js`` decodes a sheet when one of its images is
first shown.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from understudy.data.labelled_set import LabelledSet
from understudy.report.gallery import tile_size

MAX_SYNTHETIC, MAX_REAL = 10_000, 2_500  # images of a set on the page: about 10 MB in all
_LARGEST_TILE, _SMALL_TILE = 48, 32  # width of thumbnails in pixels
_MANY = 4_000  # from so many images on a page, thumbnails are small
_ACROSS = 16  # thumbnails in a row and in a column of a sheet
_QUALITY, _QUALITY_OF_MANY = 80, 55  # of WebP; with many images, sheets are nearly all of the page


def browser(
    train: LabelledSet,
    synthetic: LabelledSet,
    *,
    test: LabelledSet | None = None,
    named: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Return sheets and columns of all images, or of as many as the page can hold.

    Args:
        train: real train images.
        synthetic: synthetic images; the provenance columns ``score``, ``flag``, ``nearest_id``,
            ``nearest_distance`` and ``source_id`` are taken along where present.
        test: real test images.
        named: per arm, the class that each of its S trainings takes each test image for, int of shape (S,
            len(test)).

    Returns:
        ``columns`` (what the script reads, plain lists and numbers), ``sheets`` (pairs of set and base64
        WebP, in order), ``capped`` (by set, how many of how many are there, where not all are).
    """
    near = _positions(synthetic, "nearest_id", train), _positions(synthetic, "source_id", train)
    chosen = {"synthetic": spread(synthetic.labels, MAX_SYNTHETIC)}
    shown = np.concatenate([column[chosen["synthetic"]] for column in near])
    chosen["train"] = spread(train.labels, MAX_REAL, first=shown[shown >= 0])
    sets = {"synthetic": synthetic, "train": train}
    if test is not None:
        sets["test"], chosen["test"] = test, _mistaken_first(test.labels, named or {})
    are_many = sum(map(len, chosen.values())) > _MANY
    tile = min(_SMALL_TILE if are_many else _LARGEST_TILE, tile_size(*sets.values()))
    quality = _QUALITY_OF_MANY if are_many else _QUALITY
    place = np.full(len(train) + 1, -1)  # the last is what -1 points to
    place[chosen["train"]] = np.arange(len(chosen["train"]))
    columns = {name: _identities(data, chosen[name]) for name, data in sets.items()}
    columns["synthetic"] |= _of_synthetic(synthetic.select(chosen["synthetic"]))
    columns["synthetic"] |= {
        key: place[column[chosen["synthetic"]]].tolist()
        for key, column in zip(("nearest", "source"), near, strict=True)
        if (column >= 0).any()
    }
    if test is not None:
        labels = test.labels[chosen["test"]]
        columns["test"]["wrong"] = {
            arm: mistakes(classes[:, chosen["test"]], labels) for arm, classes in (named or {}).items()
        }
    return {
        "columns": {"classes": list(train.class_names), "tile": tile, "across": _ACROSS, "sets": columns},
        "sheets": [
            (name, sheet)
            for name, data in sets.items()
            for sheet in sheets(data.select(chosen[name]), tile, quality=quality)
        ],
        "capped": {
            name: (len(chosen[name]), len(data))
            for name, data in sets.items()
            if len(chosen[name]) < len(data)
        },
    }


def _identities(data: LabelledSet, chosen: np.ndarray) -> dict[str, Any]:
    """Columns that every set has."""
    ids = data.ids
    labels = data.labels[chosen].tolist()
    return {"ids": [ids[index] for index in chosen], "labels": labels, "total": len(data)}


def _mistaken_first(labels: np.ndarray, named: Mapping[str, np.ndarray]) -> np.ndarray:
    """Choose test images for the page: first those that some training gets wrong, then others.

    Cells of the confusion matrices lead to the wrong ones.
    """
    wrong = np.zeros(len(labels), dtype=bool)
    for classes in named.values():
        wrong |= (classes != labels).any(axis=0)
    mistaken = np.flatnonzero(wrong)
    return spread(labels, MAX_REAL, first=mistaken[spread(labels[mistaken], MAX_REAL)])


def spread(labels: np.ndarray, count: int, *, first: np.ndarray | None = None) -> np.ndarray:
    """Choose at most ``count`` images: those in ``first``, then others evenly over the classes.

    Args:
        labels: int of shape (N,).
        count: images at most.
        first: indices that are taken before others, any number of times each.

    Example:
        >>> spread(np.array([0, 1, 0, 1, 0, 1]), 2).tolist()
        [0, 1]
        >>> spread(np.array([0, 1, 0, 1]), 3, first=np.array([3, 3])).tolist()
        [0, 2, 3]
    """
    wanted = np.unique(first if first is not None else np.empty(0, dtype=np.int64))[:count]
    others = np.setdiff1d(np.arange(len(labels)), wanted)
    by_class = others[np.argsort(labels[others], kind="stable")]
    left = min(count - len(wanted), len(others))
    even = by_class[np.arange(left) * len(others) // max(left, 1)]
    return np.sort(np.concatenate([wanted, even]))


def mistakes(named: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """List the wrong classes that an arm's trainings predict for each image.

    Args:
        named: class that each of S trainings takes each image for, int of shape (S, N).
        labels: int of shape (N,).

    Returns:
        ``trainings`` (S) and three lists with an entry per image and wrong name, by image, most frequent
        first: ``image`` (its index), ``named`` (the class) and ``times`` (how many trainings say so, 1 to S).

    Example:
        >>> mistakes(np.array([[0, 2, 1], [0, 0, 2], [0, 2, 2]]), np.array([0, 1, 2]))
        {'trainings': 3, 'image': [1, 1, 2], 'named': [2, 0, 1], 'times': [2, 1, 1]}
    """
    training, image = np.nonzero(named != labels)
    (images, names), times = np.unique(np.stack([image, named[training, image]]), axis=1, return_counts=True)
    order = np.lexsort((names, -times, images))
    lists = {"image": images, "named": names, "times": times}
    return {"trainings": len(named)} | {name: values[order].tolist() for name, values in lists.items()}


def sheets(data: LabelledSet, tile: int, *, quality: int = _QUALITY) -> list[str]:
    """Pack thumbnails into sprite sheets of 16 by 16, as base64 WebP; the last has only the rows it needs.

    Args:
        data: the images.
        tile: width and height of each in pixels.
        quality: of WebP, 0 to 100.
    """
    encoded, full = [], _ACROSS * _ACROSS
    for start in range(0, len(data), full):
        pixels = data.select(np.arange(start, min(start + full, len(data)))).pixels(tile)
        rows = -(-len(pixels) // _ACROSS)
        tiles = np.zeros((rows * _ACROSS, 3, tile, tile), dtype=np.uint8)
        tiles[: len(pixels)] = pixels
        sheet = (
            tiles.reshape(rows, _ACROSS, 3, tile, tile)
            .transpose(0, 3, 1, 4, 2)
            .reshape(rows * tile, _ACROSS * tile, 3)
        )
        buffer = io.BytesIO()
        Image.fromarray(sheet).save(buffer, format="WEBP", quality=quality)
        encoded.append(base64.b64encode(buffer.getvalue()).decode())
    return encoded


def _positions(synthetic: LabelledSet, column: str, train: LabelledSet) -> np.ndarray:
    """Index of the train image that a provenance column names; -1 where it names none."""
    if not synthetic.has(column):
        return np.full(len(synthetic), -1)
    return np.array([train.place.get(name, -1) for name in synthetic.provenance(column)], dtype=np.int64)


def _of_synthetic(synthetic: LabelledSet) -> dict[str, Any]:
    """Scores, distances and flags where they are known; missing numbers are None."""
    found: dict[str, Any] = {}
    for key, column in (("score", "score"), ("distance", "nearest_distance")):
        values = synthetic.provenance(column) if synthetic.has(column) else []
        if any(_is_known(value) for value in values):
            found[key] = [round(float(value), 4) if _is_known(value) else None for value in values]
    if synthetic.has("flag") and any(flags := [value or "" for value in synthetic.provenance("flag")]):
        found["flag"] = flags
    return found


def _is_known(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))
