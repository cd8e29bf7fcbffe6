"""The train images that may be copied by drawn ones: by comparing all, or through an index for large sets."""

from __future__ import annotations

import numpy as np

from understudy.data.row_index import RowIndex, largest, uses_index
from understudy.functional.copy_candidates import compare_all, low_frequencies_by_shift

_GROUPS, _SEARCHED = 1.0, 8  # larger groups, because there is an index for each shift, and each costs time


def search_copies(
    x: np.ndarray,
    y: np.ndarray,
    *,
    clipped: tuple[int, int],
    own: np.ndarray | None,
    count: int,
    reach: int,
) -> np.ndarray:
    """A :class:`understudy.functional.copy_candidates.Search`; see there.

    More pairs than 20,000 images have with as many others go through an index for each shift, if faiss is
    installed. It misses few of the y with the largest correlations.
    """
    if not uses_index(len(x), len(y)):
        return compare_all(x, y, clipped=clipped, own=own, count=count, reach=reach)
    most, found = np.empty((len(x), 0), np.float32), np.empty((len(x), 0), np.int64)
    index = None
    for ours, theirs in low_frequencies_by_shift(x, y, clipped=clipped, reach=reach):
        index = RowIndex(theirs, groups=_GROUPS, searched=_SEARCHED, groups_of=index)
        products, rows = index.nearest(ours, 2 * (count + (own is not None)))
        values = np.concatenate([most, products], axis=1)
        numbers = np.concatenate([found, np.where(rows < 0, -1, rows % len(y))], axis=1)
        most, found = largest(values, numbers, count, own=own, least=-np.inf)
    anyone = np.zeros(len(x), dtype=np.int64) if own is None else (own + 1) % len(y)
    return np.where(found < 0, anyone[:, None], found)
