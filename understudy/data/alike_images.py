"""Pairs of images whose low frequencies are alike: by comparing all, or through an index for large sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from understudy.data.row_index import RowIndex, largest, uses_index
from understudy.functional.orientations import most_alike

_GROUPS, _SEARCHED = 4.0, 16


def alike_pairs(
    x: np.ndarray, versions: Sequence[np.ndarray], *, count: int, least: float, symmetric: bool
) -> np.ndarray:
    """The pairs of :func:`understudy.functional.orientations.most_alike`; see there.

    Of more than 20,000 images, they are found through an index if faiss is installed, and some are missing.
    """
    if not uses_index(len(x)):
        return most_alike(x, versions, count=count, least=least, symmetric=symmetric)
    index = RowIndex(x, images=len(x), groups=_GROUPS, searched=_SEARCHED)
    found = [index.nearest(version, count + 1) for version in versions]  # one more: a row finds itself
    if not symmetric:
        every = RowIndex(np.concatenate(versions), images=len(x), groups=_GROUPS, searched=_SEARCHED)
        found.append(every.nearest(x, count * len(versions) + 1))
    values, numbers = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
    _, partners = largest(values, numbers, count, own=np.arange(len(x)), least=least)
    row, place = np.nonzero(partners >= 0)
    return np.unique(np.sort(np.stack([row, partners[row, place]], axis=1), axis=1), axis=0)
