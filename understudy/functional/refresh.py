"""Dynamic refresh: a training set of fixed size, part of which is replaced by fresh images again and again.

Symbols::

    labels    of a pool of images, in the order in which they come into use    int64 (N,)
    quota     images of each class in use at once                              int64 (C,)
    share     of each class that a refresh replaces                            in [0, 1]
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from understudy.functional.allocation import first_of_each_class


def replaced_per_class(quota: np.ndarray, share: float) -> np.ndarray:
    """``round(share * quota)``, halves to the even number, int64 of shape (C,)."""
    return np.rint(share * np.asarray(quota)).astype(np.int64)


def refreshed(
    labels: np.ndarray, quota: np.ndarray, *, share: float, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Which images are in use after 0, 1, 2, ... refreshes.

    This is the dynamic dataset recycle of GaFi (arXiv:2305.10118).

    A refresh takes ``round(share * quota)`` images of each class out, at random, and the next ones of the
    pool take their places. When the pool is at its end, it goes on from its beginning and skips what is in
    use. No image is its own replacement: where the pool has fewer others, as many as there are come in.

    Args:
        labels: as above.
        quota: as above; a class with fewer images in the pool has them all in use.
        share: as above.
        rng: decides which images are taken out.

    Yields:
        Indices into the pool, int64 of shape (images in use,), without end. An image that stays keeps its
        place, and the one that comes for another has its class: ``labels`` of them are the same in every set.
    """
    used = first_of_each_class(labels, quota)
    places = [np.flatnonzero(labels[used] == label) for label in range(len(quota))]
    pools = [np.flatnonzero(labels == label) for label in range(len(quota))]
    following = [len(own) for own in places]
    while True:
        yield used.copy()
        for label, (own, pool) in enumerate(zip(places, pools, strict=True)):
            count = min(int(replaced_per_class(np.array(len(own)), share)), len(pool) - len(own))
            in_use = set(used[own].tolist())
            for place in np.sort(rng.choice(own, size=count, replace=False)):
                while pool[following[label] % len(pool)] in in_use:
                    following[label] += 1
                used[place] = pool[following[label] % len(pool)]
                following[label] += 1
