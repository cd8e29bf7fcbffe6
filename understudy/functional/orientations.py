"""The images of a set that are most alike in any of the eight orientations, by their low frequencies.

Symbols::

    x, y     grey images, s x s                                        (N, s, s), (M, s, s)
    w        window of the same size: 1 inside, falling to 0 at the inscribed circle
    C(x)     cosine transform of w (x - mean), for 0 < u^2 + v^2 <= 30, scaled to unit length    29 numbers
    g        the 8 flips and turns of a square
    a(x, y)  max over g of the product of C(x) and C(g y), a correlation

The window leaves out the corners, which are filled with a colour where an image was turned or moved. A flip
changes the signs of the frequencies with odd u (up and down) or odd v (left and right), and a transposition
exchanges u and v. So C(g y) follows from C(y).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.fft import dct

ORIENTATIONS = range(8)
_SIDE = 6  # u and v are below
_INSIDE = 0.6  # of the radius of the inscribed circle: from here on the window falls
_FLAT = 0.5  # grey levels: an image whose low frequencies are weaker has nothing to compare
_BLOCK = (128, 512)  # versions and images per block: their products fit into the cache
_AT_ONCE = 4096  # images in floating point
_U, _V = np.array([(u, v) for u in range(_SIDE) for v in range(_SIDE) if 0 < u * u + v * v <= 30]).T


def window(size: int) -> np.ndarray:
    """w, float32 (size, size)."""
    place = (np.arange(size) - (size - 1) / 2) / (size / 2)
    fall = np.clip((np.hypot(place[:, None], place) - _INSIDE) / (1 - _INSIDE), 0, 1)
    return np.asarray((1 + np.cos(np.pi * fall)) / 2, dtype=np.float32)


def oriented(images: np.ndarray, g: int) -> np.ndarray:
    """Turn images by g: transpose if g is 4 or more, then flip up-down (g & 2) and left-right (g & 1).

    Example:
        >>> oriented(np.arange(4).reshape(1, 2, 2), 5).tolist()
        [[[2, 0], [3, 1]]]
    """
    turned = images.transpose(0, 2, 1) if g & 4 else images
    return turned[:, :: -1 if g & 2 else 1, :: -1 if g & 1 else 1]


def low_frequencies(images: np.ndarray, *, part: float = 1.0) -> np.ndarray:
    """C of images, or of the central ``part`` of their width and height.

    Args:
        images: levels from 0 to 255, of shape (N, s, s).
        part: in (0, 1].

    Returns:
        float32 (N, 29); 0 for flat images.
    """
    blocks = range(0, len(images), _AT_ONCE)
    if len(blocks) > 1:
        return np.concatenate([low_frequencies(images[i : i + _AT_ONCE], part=part) for i in blocks])
    size = images.shape[1]
    places = (np.arange(size) - (size - 1) / 2) * part + (size - 1) / 2
    enlarge = np.clip(1 - np.abs(places[:, None] - np.arange(size)), 0, None).astype(np.float32)
    w = window(size)
    levels = enlarge @ images.astype(np.float32) @ enlarge.T
    levels = (levels - np.einsum("nij,ij->n", levels, w)[:, None, None] / w.sum()) * w
    waves = dct(np.eye(size, dtype=np.float32), axis=0, norm="ortho")[:_SIDE]
    rows = (waves @ levels @ waves.T)[:, _U, _V]
    length = np.sqrt(np.einsum("nf,nf->n", rows, rows))[:, None]
    return np.asarray(rows / np.where(length > _FLAT * size, length, np.inf), dtype=np.float32)


def turned(frequencies: np.ndarray, g: int) -> np.ndarray:
    """C(g y) from C(y), float32 (N, 29)."""
    place = {pair: index for index, pair in enumerate(zip(_U.tolist(), _V.tolist(), strict=True))}
    swapped = [place[v, u] for u, v in place]
    rows = frequencies[:, swapped] if g & 4 else frequencies
    return np.asarray(rows * np.where((bool(g & 2) * _U + bool(g & 1) * _V) % 2, -1, 1).astype(np.float32))


def most_alike(
    x: np.ndarray, versions: Sequence[np.ndarray], *, count: int, least: float, symmetric: bool
) -> np.ndarray:
    """For each image, the ``count`` others with the largest product of its row and a version of theirs.

    Args:
        x: rows of N images, float32 (N, D).
        versions: the rows of the same images in several versions, float32 (N, D) each.
        count: how many; each image is also the i-th of other pairs.
        least: pairs with a smaller product are left out.
        symmetric: the largest product of i and j is that of j and i, so that half of them is enough.

    Returns:
        Pairs (i, j) with i < j, int64 (pairs, 2), each once.
    """
    best = _Best(len(x), count, least)
    for start in range(0, len(x), _BLOCK[0]):
        some = np.concatenate([version[start : start + _BLOCK[0]] for version in versions])
        rows = len(some) // len(versions)
        for column in range(start if symmetric else 0, len(x), _BLOCK[1]):
            theirs = x[column : column + _BLOCK[1]]
            found = (some @ theirs.T).reshape(len(versions), rows, len(theirs)).max(axis=0)
            if symmetric and column == start:
                found[np.tril_indices(rows, m=len(theirs))] = -1
            elif not symmetric:
                own = np.arange(max(start, column), min(start + rows, column + len(theirs)))
                found[own - start, own - column] = -1
            best.add(found, start, column)
            best.add(found.T, column, start)
    return np.unique(np.sort(best.pairs(), axis=1), axis=0)


class _Best:
    """The largest values of each row and their columns, gathered from blocks."""

    def __init__(self, num: int, count: int, least: float) -> None:
        self.values = np.full((num, count), least, dtype=np.float32)
        self.columns = np.full((num, count), -1, dtype=np.int64)

    def add(self, found: np.ndarray, row: int, column: int) -> None:
        """Add the values of a block that begins at ``row`` and ``column``."""
        values, columns = (part[row : row + len(found)] for part in (self.values, self.columns))
        for i in np.flatnonzero(found.max(axis=1) > values[:, -1]).tolist():
            j = np.flatnonzero(found[i] > values[i, -1])
            new, at = np.concatenate([values[i], found[i, j]]), np.concatenate([columns[i], column + j])
            kept = np.argsort(-new, kind="stable")[: values.shape[1]]
            values[i], columns[i] = new[kept], at[kept]

    def pairs(self) -> np.ndarray:
        i, k = np.nonzero(self.columns >= 0)
        return np.stack([i, self.columns[i, k]], axis=1)
