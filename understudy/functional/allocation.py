"""Numbers of images per class.

Symbols::

    n_c   images of class c in proportion to the real ones            (C,)
    e_c   smoothed error of a classifier on validation images of c    (C,)
    N     sum of n_c
"""

from __future__ import annotations

import numpy as np


def allocate_to_weak(quota: np.ndarray, errors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Move images to the classes that a classifier confuses; the total stays the same.

    The share of class c is ``(n_c / N + n_c e_c / sum_d n_d e_d) / 2``: half as before, half in proportion to
    the error per image. With equal errors nothing changes, and no class loses more than half. The error is
    Laplace's estimate ``(errors + 1) / (counts + 2)``, which is never 0 or 1, however few validation images a
    class has. Shares are rounded to whole numbers by largest remainders.

    Args:
        quota: n_c, int of shape (C,), not negative.
        errors: misclassified validation images of each class, int of shape (C,).
        counts: validation images of each class, int of shape (C,), at least ``errors``.

    Returns:
        int64 of shape (C,) with the same sum as ``quota``; 0 where ``quota`` is 0, at least 1 elsewhere.

    Raises:
        ValueError: for negative numbers, more errors than images, or unequal shapes.

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
            "quota, errors and counts must be (C,) with 0 <= errors <= counts, got "
            f"{quota}, {errors} and {counts}"
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
    order = np.argsort(labels, kind="stable")
    before = np.searchsorted(labels[order], labels[order])  # images of classes that come before
    return np.sort(order[np.arange(len(labels)) - before < np.asarray(counts)[labels[order]]])


def in_rounds(quota: np.ndarray, rounds: int) -> np.ndarray:
    """Sizes of a set that grows in equal rounds: ``ceil(r quota / rounds)`` after round r, from 1.

    Args:
        quota: images of each class at the end, int of shape (C,), not negative.
        rounds: number of rounds, at least 1.

    Returns:
        int64 of shape (rounds, C), never falling; the last row is ``quota``. The first round has an image of
        every class that gets one.

    Example:
        >>> in_rounds(np.array([8, 3]), 4).tolist()
        [[2, 1], [4, 2], [6, 3], [8, 3]]
    """
    numbers = np.arange(1, rounds + 1)[:, None] * np.asarray(quota, dtype=np.int64)
    return np.asarray(-(-numbers // rounds))


def _largest_remainders(ideal: np.ndarray, total: int) -> np.ndarray:
    """Round shares to whole numbers that sum to ``total``; a positive share gets at least 1."""
    wanted = ideal > 0
    counts = np.where(wanted, np.maximum(1, np.floor(ideal)), 0).astype(np.int64)
    while counts.sum() < total:
        counts[np.where(wanted, ideal - counts, -np.inf).argmax()] += 1
    while counts.sum() > total:  # shares below 1 were rounded up to 1
        counts[np.where(counts > 1, ideal - counts, np.inf).argmin()] -= 1
    return counts
