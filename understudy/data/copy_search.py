"""The train images that may be copied by drawn ones: by comparing all, or through an index for large sets."""

from __future__ import annotations

from typing import final

import numpy as np

from understudy.data.row_index import RowIndex, largest, uses_index
from understudy.functional.copy_candidates import Query, compare_all, low_frequencies_by_shift

_GROUPS, _SEARCHED = 1.0, 8  # larger groups, because there is an index for each shift, and each costs time
_FEWEST = 2_000  # half as many x are compared with all y in the time that it takes to build the indexes


@final
class CopySearch:
    """A :data:`understudy.functional.copy_candidates.Search`; see there.

    More pairs than 20,000 images have with as many others, of at least 2,000 x, go through an index for each
    shift, if faiss is installed. It misses few of the y with the largest correlations.

    Attributes:
        used_index: whether any query so far went through an index.
    """

    def __init__(self) -> None:
        self.used_index = False

    def __call__(self, query: Query) -> np.ndarray:
        """Find the y of each x."""
        if len(query.x) < _FEWEST or not uses_index(len(query.x), len(query.y)):
            return compare_all(query)
        self.used_index = True
        return through_index(query)


def through_index(query: Query) -> np.ndarray:
    """The :data:`Search` of an index for each shift, which needs faiss."""
    num_x, num_y, own, count = len(query.x), len(query.y), query.own, query.count
    most, found = np.empty((num_x, 0), np.float32), np.empty((num_x, 0), np.int64)
    index = None
    for ours, theirs in low_frequencies_by_shift(query):
        index = RowIndex(theirs, images=num_y, groups=_GROUPS, searched=_SEARCHED, groups_of=index)
        products, images = index.nearest(ours, 2 * (count + (own is not None)))
        values, numbers = np.concatenate([most, products], axis=1), np.concatenate([found, images], axis=1)
        most, found = largest(values, numbers, count, own=own, least=-np.inf)
    anyone = np.zeros(num_x, dtype=np.int64) if own is None else (own + 1) % num_y
    return np.where(found < 0, anyone[:, None], found)
