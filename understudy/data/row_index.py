"""An index that finds the rows with the largest inner product, of faiss.

It is an inverted file (Johnson et al. 2021, arXiv:1702.08734): rows are grouped by k-means, and a row is
compared with those of the nearest groups alone. It misses few of the most similar rows. Comparing all with
all takes time with the square of their number.
"""

from __future__ import annotations

import importlib.util
from typing import Any, final

import numpy as np

from understudy.core.threads import num_threads

MOST_COMPARED = 20_000
"""Images that are compared with as many others in any case."""
_TRAINED_ON = 64  # rows per group
_ROUNDS = 8  # of k-means
_QUERIES = 65_536


def uses_index(num: int, others: int | None = None) -> bool:
    """Whether so many images are compared with so many others, or with one another, through an index."""
    pairs = num * (num if others is None else others)
    return pairs > MOST_COMPARED**2 and importlib.util.find_spec("faiss") is not None


@final
class RowIndex:
    """Rows that can be searched.

    Args:
        rows: float32 of shape (N, D), of some images in one or several versions, version after version.
        images: number of images.
        groups: their number, times the square root of N.
        searched: number of groups that are searched.
        groups_of: an index of similar rows whose groups serve these too, so that none are made.
    """

    def __init__(
        self,
        rows: np.ndarray,
        *,
        images: int,
        groups: float,
        searched: int,
        groups_of: RowIndex | None = None,
    ) -> None:
        import faiss  # missing in most installations

        faiss.omp_set_num_threads(num_threads())
        if groups_of is None:
            number = min(int(groups * np.sqrt(len(rows))) + 1, len(rows))
            quantizer: Any = faiss.IndexFlatIP(rows.shape[1])
        else:
            number, quantizer = groups_of._index.nlist, groups_of._quantizer
        self._quantizer: Any = quantizer  # the index refers to it, but does not own it
        index: Any = faiss.IndexIVFFlat(quantizer, rows.shape[1], number, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.max_points_per_centroid = _ROUNDS, _TRAINED_ON
        index.cp.min_points_per_centroid = 1  # it would print a warning
        if not index.is_trained:
            index.train(rows)
        index.add(rows)
        index.nprobe = searched
        self._index: Any = index
        self._images = images

    def nearest(self, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Products with the ``count`` nearest of each row, and the numbers of their images; -1 for none.

        Both have shape (N, count): float32 and int64.
        """
        parts = [
            self._index.search(rows[start : start + _QUERIES], count)
            for start in range(0, len(rows), _QUERIES)
        ]
        values, numbers = (np.concatenate(part) for part in zip(*parts, strict=True))
        return values, np.where(numbers < 0, -1, numbers % self._images)


def largest(
    values: np.ndarray, numbers: np.ndarray, count: int, *, own: np.ndarray | None, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` different numbers of each row with the largest values.

    Args:
        values: float of shape (N, K).
        numbers: int64 of shape (N, K); several values may have one number, and -1 is none.
        count: how many are wanted.
        own: a number per row that does not count, int64 of shape (N,), or None.
        least: values that are not larger do not count.

    Returns:
        Values and numbers of shape (N, count), descending; -infinity and -1 where there are no more.
    """
    left = np.where((numbers < 0) | (values <= least), -np.inf, values)
    if own is not None:
        left[numbers == own[:, None]] = -np.inf
    best, found = np.empty((len(values), count), values.dtype), np.empty((len(values), count), np.int64)
    rows = np.arange(len(values))
    for place in range(count):
        column = left.argmax(axis=1)
        best[:, place], found[:, place] = left[rows, column], numbers[rows, column]
        left[numbers == found[:, [place]]] = -np.inf
    return best, np.where(np.isfinite(best), found, -1)
