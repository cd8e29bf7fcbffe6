"""Dynamic refresh: a training set of fixed size, part of which is replaced by new images at intervals.

Symbols::

    labels    classes of a pool of images, in the order in which they are used    int64 (N,)
    quota     images of each class in use at the same time                        int64 (C,)
    share     share of each class that a refresh replaces                         in [0, 1]
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from understudy.functional.allocation import first_of_each_class


def replaced_per_class(quota: np.ndarray, share: float) -> np.ndarray:
    """Images of each class that a refresh replaces: ``round(share * quota)``, halves to even, int64 (C,)."""
    return np.rint(share * np.asarray(quota)).astype(np.int64)


def refreshed(
    labels: np.ndarray, quota: np.ndarray, *, share: float, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The images in use after 0, 1, 2, ... refreshes, without end.

    This is the dynamic dataset recycle of GaFi (arXiv:2305.10118). A refresh removes
    ``round(share * quota)`` random images of each class and puts the next images of the pool in their places.
    After its last image, the pool starts again from the first, skipping images in use. If the pool has fewer
    unused images than a refresh removes, only that many are replaced.

    Args:
        labels: as above.
        quota: as above; a class with fewer images in the pool uses all of them.
        share: as above.
        rng: chooses the images to remove.

    Yields:
        Indices into the pool, int64 of shape (images in use,). Images that stay keep their places, and new
        ones have the class of those that they replace, so the labels are the same in every set.
    """
    used = first_of_each_class(labels, quota)
    places = [np.flatnonzero(labels[used] == label) for label in range(len(quota))]
    pools = [np.flatnonzero(labels == label) for label in range(len(quota))]
    following = [len(of_class) for of_class in places]
    while True:
        yield used.copy()
        for label, (of_class, pool) in enumerate(zip(places, pools, strict=True)):
            count = min(int(replaced_per_class(np.array(len(of_class)), share)), len(pool) - len(of_class))
            in_use = set(used[of_class].tolist())
            for place in np.sort(rng.choice(of_class, size=count, replace=False)):
                while pool[following[label] % len(pool)] in in_use:
                    following[label] += 1
                used[place] = pool[following[label] % len(pool)]
                following[label] += 1
