"""Pairs of images whose low frequencies are alike: by comparing all, or through an index for large sets.

The index is an inverted file of faiss (Johnson et al. 2021, arXiv:1702.08734): rows are grouped by k-means,
and a row is compared with those of the nearest groups alone. It misses few of the most similar pairs, and
copies are among these. Comparing all with all takes time with the square of the number of images.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from understudy.core.threads import num_threads
from understudy.functional.orientations import most_alike

MOST_COMPARED = 20_000
"""Images that are compared with all others in any case."""
_GROUPS = 4.0  # times the square root of the number of rows
_NEAREST = 16  # groups that are searched
_TRAINED_ON = 64  # rows per group
_ROUNDS = 8  # of k-means
_QUERIES = 65_536


def alike_pairs(
    x: np.ndarray, versions: Sequence[np.ndarray], *, count: int, least: float, symmetric: bool
) -> np.ndarray:
    """The pairs of :func:`understudy.functional.orientations.most_alike`; see there.

    Of more than 20,000 images, they are found through an index if faiss is installed, and some are missing.
    """
    if not uses_index(len(x)):
        return most_alike(x, versions, count=count, least=least, symmetric=symmetric)
    index = _index(x)
    found = [_nearest(index, version, count) for version in versions]
    if not symmetric:
        values, rows = _nearest(_index(np.concatenate(versions)), x, count * len(versions))
        found.append((values, np.where(rows < 0, -1, rows % len(x))))
    return np.unique(np.sort(_best(found, count, least), axis=1), axis=0)


def uses_index(count: int) -> bool:
    """Whether so many images are searched through an index."""
    return count > MOST_COMPARED and importlib.util.find_spec("faiss") is not None


def _index(rows: np.ndarray) -> Any:
    import faiss  # missing in most installations

    groups = int(_GROUPS * np.sqrt(len(rows)))
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(rows.shape[1]), rows.shape[1], groups, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.niter, index.cp.max_points_per_centroid = _ROUNDS, _TRAINED_ON
    index.cp.min_points_per_centroid = 1  # it would print a warning
    faiss.omp_set_num_threads(num_threads())
    index.train(rows)
    index.add(rows)
    index.nprobe = _NEAREST
    return index


def _nearest(index: Any, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Products and numbers of the nearest of each row, and one more, because a row finds itself."""
    parts = [
        index.search(rows[start : start + _QUERIES], count + 1) for start in range(0, len(rows), _QUERIES)
    ]
    values, numbers = (np.concatenate(part) for part in zip(*parts, strict=True))
    return values, numbers


def _best(found: Sequence[tuple[np.ndarray, np.ndarray]], count: int, least: float) -> np.ndarray:
    """Pairs of each image and the ``count`` others with the largest products, int64 (pairs, 2)."""
    values, numbers = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
    own = np.arange(len(values))[:, None]
    values = np.where((numbers == own) | (numbers < 0) | (values <= least), -np.inf, values)
    pairs = []
    for _ in range(count):
        place = values.argmax(axis=1)
        best, partner = values[own[:, 0], place], numbers[own[:, 0], place]
        pairs.append(np.stack([own[:, 0], partner], axis=1)[np.isfinite(best)])
        values = np.where(numbers == partner[:, None], -np.inf, values)  # another version of the same image
    return np.concatenate(pairs)
