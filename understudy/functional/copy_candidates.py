"""The y that may be a copy of each x: those that correlate most with it by their lowest frequencies.

The first step of :func:`understudy.functional.copies.nearest_copies`, whose symbols hold here too. Every
other shift is tried, and all y are clipped about as much as x.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.fft import dct

from understudy.functional.thumbnail_cells import (
    LEAST_CONTRAST,
    black_and_white,
    clip_at,
    in_blocks,
    overlap,
    to_cells,
    variance_needed,
)

_CLIPPED_ONCE = 8 / 255  # levels this near to 0 or 1 may have been clipped before the image was encoded again
_CLIPPED_PARTS = 8  # all y are clipped by multiples of 1 / 8 of the pixels
_FREQUENCIES = 48  # lowest frequencies of the cells
_BLOCK = (4096, 512)  # images x and y per block: 8 MiB of correlations fit into the cache


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """For each of N images, ``count`` of M others are wanted that correlate most with it at any shift.

    Attributes:
        x: grey thumbnails, float of shape (N, 2s, 2s).
        y: grey thumbnails, float of shape (M, 2s, 2s).
        clipped: numbers of pixels that are clipped at black and at white in both.
        own: index of the y that each x must not find, int64 of shape (N,), or None.
        count: number of y wanted, at most M, or M - 1 with ``own``.
        reach: r, largest shift in pixels.
    """

    x: np.ndarray
    y: np.ndarray
    clipped: tuple[int, int]
    own: np.ndarray | None
    count: int
    reach: int


Search = Callable[[Query], np.ndarray]
"""Answers with indices of y, int64 of shape (N, count), in any order; repeated if fewer were found."""


def candidates(
    x: np.ndarray, y: np.ndarray, *, count: int, reach: int, skip_own: bool, search: Search
) -> np.ndarray:
    """``count`` candidates for each x, ascending: indices, int64 (N, count)."""
    found = np.empty((len(x), count), dtype=np.int64)
    for rows, clipped in _equally_clipped(x):
        own = rows if skip_own else None
        found[rows] = search(Query(x=x[rows], y=y, clipped=clipped, own=own, count=count, reach=reach))
    return np.sort(found, axis=1)


def compare_all(query: Query) -> np.ndarray:
    """The :data:`Search` that compares each x with every y, in blocks."""
    x, y, own, count = query.x, query.y, query.own, query.count
    found = np.empty((len(x), count), dtype=np.int64)
    for rows in in_blocks(len(x), _BLOCK[0]):
        most, index = (np.empty((len(rows), 0), dtype=kind) for kind in (np.float32, np.int64))
        ours = to_cells(clip_at(x[rows], *query.clipped))
        low = [_ours(ours, move) for move in _moves(query.reach)]
        for columns in in_blocks(len(y), _BLOCK[1]):
            correlations = _best(low, to_cells(clip_at(y[columns], *query.clipped)), query.reach)
            if own is not None:
                correlations[own[rows, None] == columns] = -2
            most = np.concatenate([most, correlations], axis=1)
            index = np.concatenate([index, np.broadcast_to(columns, correlations.shape)], axis=1)
            if most.shape[1] > count:
                kept = np.argpartition(most, -count, axis=1)[:, -count:]
                most, index = np.take_along_axis(most, kept, axis=1), np.take_along_axis(index, kept, axis=1)
        found[rows] = index
    return found


def low_frequencies_by_shift(query: Query) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What a :data:`Search` compares, for each shift: lowest frequencies of unit length, or 0 if flat.

    Yields:
        Of x, float32 (N, F), and of y as they are and mirrored, float32 (2M, F): their largest product over
        all shifts and both halves is what :func:`compare_all` ranks by.
    """
    ours, theirs = (
        np.concatenate(
            [to_cells(clip_at(x[block], *query.clipped)) for block in in_blocks(len(x), _BLOCK[0])]
        )
        for x in (query.x, query.y)
    )
    needed = variance_needed(theirs)
    for move in _moves(query.reach):
        yield _ours(ours, move), np.concatenate([*_theirs(theirs, needed, move)])


def _equally_clipped(x: np.ndarray) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    """Those x with about the same numbers of black and white pixels: indices, and these two numbers.

    The numbers are rounded down, so that an image of two grey levels keeps both.
    """
    pixels = x.shape[1] * x.shape[2]
    parts = np.minimum(
        np.stack(black_and_white(x, _CLIPPED_ONCE), axis=1) * _CLIPPED_PARTS // pixels, _CLIPPED_PARTS - 1
    )
    for black, white in np.unique(parts, axis=0):
        numbers = black * pixels // _CLIPPED_PARTS, white * pixels // _CLIPPED_PARTS
        yield np.flatnonzero((parts == (black, white)).all(axis=1)), numbers


def _best(low: Sequence[np.ndarray], y: np.ndarray, reach: int) -> np.ndarray:
    """Largest correlation of x and the cells y over the shifts, float32 (N, M)."""
    needed = variance_needed(y)
    most, found = (np.full((len(low[0]), len(y)), -1, dtype=np.float32) for _ in range(2))
    for a, move in zip(low, _moves(reach), strict=True):
        for b in _theirs(y, needed, move):
            np.matmul(a, b.T, out=found)
            np.maximum(most, found, out=most)
    return most


def _ours(x: np.ndarray, move: tuple[int, int]) -> np.ndarray:
    """The lowest frequencies of the part of the cells x that overlaps a y moved by ``move``."""
    return _low(overlap(x, *move), LEAST_CONTRAST**2)


def _theirs(y: np.ndarray, needed: np.ndarray, move: tuple[int, int]) -> Iterator[np.ndarray]:
    """The same of the cells y, as they are and mirrored."""
    down, right = move
    yield from (_low(overlap(cells, -down, -right), needed) for cells in (y, y[:, :, ::-1]))


def _moves(reach: int) -> list[tuple[int, int]]:
    """Every other shift, like the black squares of a chessboard.

    Any other shift is half a cell from one of these, which hardly changes low frequencies.
    """
    moves = range(-reach, reach + 1)
    return [(down, right) for down, right in itertools.product(moves, moves) if (down + right) % 2 == 0]


def _low(cells: np.ndarray, least_variance: np.ndarray | float) -> np.ndarray:
    """The lowest frequencies of cells, scaled to unit length, float32 (N, frequencies).

    Rows whose cells have a variance below ``least_variance`` are 0.
    """
    rows = cells.reshape(len(cells), cells.shape[1] * cells.shape[2])
    variance = np.einsum("nd,nd->n", rows, rows) / rows.shape[1] - np.square(rows.mean(axis=1))
    low = rows @ _cosines(*cells.shape[1:])
    length = np.sqrt(np.einsum("nf,nf->n", low, low))
    low /= np.where((variance >= least_variance) & (length > 0), length, np.inf)[:, None]
    return np.asarray(low, dtype=np.float32)


@functools.cache
def _cosines(height: int, width: int) -> np.ndarray:
    """The lowest frequencies of the cosine transform without the mean, float32 (cells, frequencies)."""
    waves = np.kron(*(dct(np.eye(length), axis=0, norm="ortho") for length in (height, width)))
    frequency = np.add.outer(*(np.square(np.arange(length) / length) for length in (height, width)))
    return np.asarray(
        waves[np.argsort(frequency.ravel(), kind="stable")[1 : _FREQUENCIES + 1]].T, dtype=np.float32
    )
