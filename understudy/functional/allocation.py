"""Sharing a number of images out over classes.

Symbols::

    n_c   images wanted of class c when shared out as the real ones     (C,)
    e_c   smoothed error of a classifier on validation images of c      (C,)
    N     sum of n_c
"""

from __future__ import annotations

import numpy as np


def allocate_to_weak(quota: np.ndarray, errors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """As many images as before, more of them for the classes that a classifier confuses.

    The share of class c is ``(n_c / N + n_c e_c / sum_d n_d e_d) / 2``: half as before, half in proportion to
    the error per image. With equal errors nothing changes, and no class loses more than half. The error is
    Laplace's estimate ``(errors + 1) / (counts + 2)``, so a class with few validation images is neither given
    up nor taken for perfect. Shares become whole numbers by largest remainders.

    Args:
        quota: n_c, int of shape (C,), not negative.
        errors: validation images of each class that were misjudged, int of shape (C,).
        counts: validation images of each class, int of shape (C,), at least ``errors``.

    Returns:
        int64 of shape (C,) with the same sum as ``quota``; 0 where that is 0, at least 1 elsewhere.

    Raises:
        ValueError: for negative figures, more errors than images, or unequal shapes.

    Example:
        >>> allocate_to_weak(np.array([100, 100]), np.array([0, 18]), np.array([18, 18]))
        array([ 55, 145])
    """
    if (
        not quota.shape == errors.shape == counts.shape
        or (np.minimum(quota, errors) < 0).any()
        or (errors > counts).any()
    ):
        raise ValueError(
            f"quota, errors and counts must be (C,), 0 <= errors <= counts, got {quota}, {errors} and "
            f"{counts}"
        )
    total, weak = int(quota.sum()), quota * (errors + 1) / (counts + 2)
    if not total:
        return np.zeros(len(quota), dtype=np.int64)
    return _largest_remainders((quota + total * weak / weak.sum()) / 2, total)


def first_of_each_class(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Indices of the first ``counts[c]`` images of every class c, in ascending order.

    A class with fewer images contributes all of them.

    Args:
        labels: int64 of shape (N,), in [0, C).
        counts: int of shape (C,).

    Returns:
        int64 of shape (M,), M at most the sum of ``counts``.

    Example:
        >>> first_of_each_class(np.array([0, 1, 0, 0, 1]), np.array([2, 1]))
        array([0, 1, 2])
    """
    parts = [np.flatnonzero(labels == label)[:count] for label, count in enumerate(counts)]
    return np.sort(np.concatenate(parts)).astype(np.int64)


def _largest_remainders(ideal: np.ndarray, total: int) -> np.ndarray:
    """Round ``ideal`` to whole numbers that keep its sum ``total``; positive shares get at least 1."""
    wanted = ideal > 0
    counts = np.where(wanted, np.maximum(1, np.floor(ideal)), 0).astype(np.int64)
    while counts.sum() < total:
        counts[np.where(wanted, ideal - counts, -np.inf).argmax()] += 1
    while counts.sum() > total:  # a share below 1 was raised to it
        counts[np.where(counts > 1, ideal - counts, np.inf).argmin()] -= 1
    return counts
