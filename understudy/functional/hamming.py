"""All pairs of 64-bit codes that differ in few bits, without comparing every code with every other.

Divide the 64 bits into d + 1 bands. Two codes that differ in at most d bits agree in one band or more (the
pigeonhole principle), so it is enough to compare codes with an equal band, and nothing is missed. Each band
takes every (d + 1)-th bit, because neighbouring bits of a perceptual hash stand for neighbouring frequencies,
which vary together. With random codes and d = 2, a band leaves one pair of two million.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BITS = 64
_SHORTEST_BAND = 8  # bits; shorter bands are equal too often
_WORTH_OF_BANDS = 16  # checking a pair found by a band takes as long as this many pairs in a block
_PAIRS_AT_ONCE = 1_000_000

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Indices in x, indices in y, and numbers of different bits, each of shape (pairs,)."""


def close_codes(x: np.ndarray, y: np.ndarray, *, max_distance: int) -> Iterator[Pairs]:
    """Find all pairs of codes that differ in at most ``max_distance`` bits.

    The pairs come in parts, so that memory stays bounded. If the bands leave too many pairs, because the
    distance is large or many codes are equal, every x is compared with every y, in blocks.

    Args:
        x: codes, uint64 of shape (N,).
        y: codes, uint64 of shape (M,).
        max_distance: how many bits may differ, at least 0.

    Yields:
        Indices in x, indices in y, int64 each, and numbers of different bits, uint8. Every pair comes once;
        the order has no meaning.

    Example:
        >>> x, y = np.array([0, 2**63 + 1], dtype=np.uint64), np.array([3, 1], dtype=np.uint64)
        >>> parts = close_codes(x, y, max_distance=1)
        >>> sorted((int(i), int(j), int(bits)) for part in parts for i, j, bits in zip(*part))
        [(0, 1, 1), (1, 1, 1)]
    """
    bands = _bands(max_distance + 1)
    equal = [_equal(x & band, y & band) for band in bands]
    left = sum(int(counts.sum()) for _, _, counts in equal)
    if not bands or left * _WORTH_OF_BANDS > len(x) * len(y):
        yield from _compare_all(x, y, max_distance)
        return
    for number, runs in enumerate(equal):
        for i, j in _pairs_of(*runs):
            different = x[i] ^ y[j]
            bits = np.bitwise_count(different)
            kept = bits <= max_distance
            for band in bands[:number]:  # already found if an earlier band is equal too
                kept &= (different & band) != 0
            yield i[kept], j[kept], bits[kept]


def _bands(number: int) -> list[np.uint64]:
    """Masks that share the bits between them; none if they would be too short."""
    if _BITS // number < _SHORTEST_BAND:
        return []
    return [np.uint64(sum(1 << bit for bit in range(start, _BITS, number))) for start in range(number)]


def _equal(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order that sorts y by key, and each x's first match in that order and number of matches."""
    order = np.argsort(y, kind="stable")
    ordered = y[order]
    first = np.searchsorted(ordered, x, side="left")
    return order, first, np.searchsorted(ordered, x, side="right") - first


def _pairs_of(
    order: np.ndarray, first: np.ndarray, counts: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs that :func:`_equal` describes, in parts of limited size."""
    some = np.flatnonzero(counts)
    ends = np.cumsum(counts[some])
    begins = ends - counts[some]
    for start in range(0, int(ends[-1]) if len(ends) else 0, _PAIRS_AT_ONCE):
        places = np.arange(start, min(start + _PAIRS_AT_ONCE, int(ends[-1])))
        run = np.searchsorted(ends, places, side="right")
        yield some[run], order[first[some[run]] + places - begins[run]]


def _compare_all(x: np.ndarray, y: np.ndarray, max_distance: int) -> Iterator[Pairs]:
    rows = max(1, _PAIRS_AT_ONCE // max(1, len(y)))
    for start in range(0, len(x), rows):
        bits = np.bitwise_count(x[start : start + rows, None] ^ y[None, :])
        i, j = np.nonzero(bits <= max_distance)
        yield i + start, j, bits[i, j]
