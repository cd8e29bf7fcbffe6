"""How far an image is from being a copy of another one, and when that is nearer than chance.

Symbols::

    x, y     grey thumbnails, 2s x 2s                                   (N, 2s, 2s), (M, 2s, 2s)
    g        mirror or not, and move by up to r in either direction     2 (2r + 1)^2 of them
    y'       y with as many of its darkest and brightest pixels made equal as x has black and white ones
    c_g      correlation of what x and g(y) have in common, averaged over 2 x 2 cells
    d(x, y)  min over g of sqrt(2 - 2 c_g), and the same of y' about that g: 0 for a copy, sqrt(2) for images that have nothing in common

Means and contrasts cancel in a correlation, so a brighter, darker or paler copy is one, and y' undoes what was lost beyond black and white.
The cells blur what re-encoding changes; moves are by half cells, since thumbnails half a cell apart are no nearer than different
handwritten digits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from understudy.functional.membership import area_under, roc

_LEAST_CONTRAST = 1 / 255  # standard deviation below which there is nothing to compare
_LEAST_IN_COMMON = 0.5  # of the variance of y: an empty corner of it is no image to find
_CLIPPED = 2 / 255  # so near to 0 or 1, a level may have been beyond it
_CANDIDATES = 10
_MAX_CELLS = 2**25  # correlations held at once: 128 MiB in float32
_PERCENTILES = (2.5, 97.5)


def nearest_copies(x: np.ndarray, y: np.ndarray, *, reach: int = 4, skip_own: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The y of which each x is most nearly a copy.

    All y are compared as they are; the distance is measured to those ten that then correlate most.

    Args:
        x: grey thumbnails, float of shape (N, 2s, 2s), levels 0 to 1.
        y: the same of shape (M, 2s, 2s), M at least 1.
        reach: r, greatest move in pixels of the thumbnails.
        skip_own: leave y_i out for x_i; for distances within one set, M at least 2.

    Returns:
        Index of the nearest y, int64 of shape (N,), and the distance to it, float64 of shape (N,), 0 to 2. Without contrast, less than a
        grey level, an image is sqrt(2) from all others.

    Raises:
        ValueError: for other shapes.

    Example:
        >>> y = np.random.default_rng(0).random((3, 32, 32))
        >>> index, distance = nearest_copies(0.5 * y[1:2, :, ::-1] + 0.2, y)
        >>> index, distance.round(5)
        (array([1]), array([0.]))
    """
    _check(x, y, least=1 + skip_own)
    num, block = min(_CANDIDATES, len(y) - skip_own), max(1, _MAX_CELLS // len(y))
    index, distance = np.empty(len(x), dtype=np.int64), np.empty(len(x))
    for start in range(0, len(x), block):
        rows = slice(start, start + block)
        correlations = np.full((len(x[rows]), len(y)), -2, dtype=np.float32)
        for a, b in _in_common(x[rows], y, reach):
            np.maximum(correlations, a @ b.T, out=correlations)
        if skip_own:
            np.fill_diagonal(correlations[:, start:], -2)
        nearest = np.argpartition(correlations, -num, axis=1)[:, -num:]
        distances = _distances(x[rows], y, np.repeat(np.arange(len(nearest)), num), nearest.ravel(), reach).reshape(nearest.shape)
        best = distances.argmin(axis=1)[:, None]
        index[rows] = np.take_along_axis(nearest, best, axis=1)[:, 0]
        distance[rows] = np.take_along_axis(distances, best, axis=1)[:, 0]
    return index, distance


def copy_distances(x: np.ndarray, y: np.ndarray, *, reach: int = 4) -> np.ndarray:
    """The distance of x_i to y_i.

    Args:
        x: grey thumbnails, float of shape (N, 2s, 2s), levels 0 to 1.
        y: the same.
        reach: as in :func:`nearest_copies`.

    Returns:
        float64 of shape (N,), 0 to 2.

    Raises:
        ValueError: for other shapes.

    Example:
        >>> x = np.random.default_rng(0).random((1, 32, 32))
        >>> copy_distances(x, np.roll(x, 3, axis=2)).round(5), copy_distances(x, np.roll(x, 9, axis=2)).round(5) > 1
        (array([0.]), array([ True]))
    """
    _check(x, y, least=0)
    if len(x) != len(y):
        raise ValueError(f"x and y must be pairs, got {len(x)} and {len(y)}")
    return _distances(x, y, np.arange(len(x)), np.arange(len(x)), reach)


def copy_threshold(real: np.ndarray, *, rate: float) -> float | None:
    """The distance below which another real image lies with a probability of at most ``rate``.

    The k-th smallest of n distances, k = floor(rate (n + 1)): one more image of the same kind is among the k nearest of n + 1 with
    probability k / (n + 1) (split conformal prediction; Vovk, Gammerman and Shafer 2005; Lei et al. 2018, arXiv:1604.04173, theorem 2).

    Args:
        real: distances of n real images to real images, float of shape (n,).
        rate: the probability, 0 to 1.

    Returns:
        The distance, or None if n is too small for this rate.

    Example:
        >>> copy_threshold(np.arange(1.0, 200.0), rate=0.01), copy_threshold(np.arange(98.0), rate=0.01)
        (2.0, None)
    """
    k = math.floor(round(rate * (len(real) + 1), 9))
    return float(np.partition(real, k - 1)[k - 1]) if k else None


def share_closer(a: np.ndarray, b: np.ndarray, rng: np.random.Generator, *, num_resamples: int) -> tuple[float, float, float]:
    """Probability that a value of ``a`` is below one of ``b``, ties counting half, with a 95% interval.

    Mann and Whitney's U over its largest value, an area under a receiver operating curve. The interval is the percentiles of the bootstrap
    that resamples both.

    Args:
        a: float of shape (N,), N at least 1.
        b: float of shape (M,), M at least 1.
        rng: source of the resamples.
        num_resamples: their number.

    Returns:
        Probability, low end, high end, 0 to 1.

    Raises:
        ValueError: if there are no values of one kind.

    Example:
        >>> share_closer(np.array([1.0, 2.0]), np.array([2.0, 3.0]), np.random.default_rng(0), num_resamples=100)[0]
        0.875
    """
    scores, is_a = -np.concatenate([a, b]), np.repeat([True, False], [len(a), len(b)])
    value = area_under(*roc(scores, is_a))
    counts = (np.concatenate([rng.multinomial(num, np.full(num, 1 / num)) for num in (len(a), len(b))]) for _ in range(num_resamples))
    low, high = np.percentile([area_under(*roc(scores, is_a, weights)) for weights in counts], _PERCENTILES)
    return value, min(value, float(low)), max(value, float(high))


def _check(x: np.ndarray, y: np.ndarray, *, least: int) -> None:
    if x.ndim != 3 or x.shape[1] != x.shape[2] or x.shape[1] % 2 or x.shape[1:] != y.shape[1:] or y.ndim != 3:
        raise ValueError(f"x and y must be square thumbnails of one even width, got {x.shape} and {y.shape}")
    if len(y) < least:
        raise ValueError(f"there must be {least} or more y to compare with, got {len(y)}")


def _distances(x: np.ndarray, y: np.ndarray, i: np.ndarray, j: np.ndarray, reach: int) -> np.ndarray:
    """Of x_i to y_j for each pair of indices, (P,)."""
    squared, best = np.full(len(i), np.inf), np.zeros(len(i), dtype=np.int64)
    for number, (a, b) in enumerate(_in_common(x, y, reach)):
        found = _squared(a[i], b[j])
        best[found < squared] = number
        squared = np.minimum(found, squared)
    # Every pair has a y' of its own, so it is only compared about where y fitted best.
    moves = _moves(reach)
    fitted = np.array(moves)[best]
    for g in moves:
        rows = np.flatnonzero((np.abs(fitted - np.array(g)) <= (1, 1, 0)).all(axis=1))
        if len(rows):
            own, clipped = x[i[rows]], _clipped_like(x[i[rows]], y[j[rows]])
            squared[rows] = np.minimum(squared[rows], _squared(*_view(own, clipped, _least_variance(clipped), g)))
    return np.asarray(np.sqrt(squared))


def _clipped_like(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Every y' of the pairs (x, y)."""
    pixels = x.shape[1] * x.shape[2]
    ordered = np.sort(y.reshape(len(y), pixels), axis=1)
    black, white = ((level <= _CLIPPED).sum(axis=(1, 2)) for level in (x, 1 - x))
    low, high = np.maximum(black - 1, 0), np.minimum(pixels - white, pixels - 1)
    low, high = (np.take_along_axis(ordered, place[:, None], axis=1)[:, :, None] for place in (low, high))
    return np.asarray(np.clip(y, low, high))


def _moves(reach: int) -> list[tuple[int, int, bool]]:
    """Every g: (down, right, mirrored)."""
    return list(itertools.product(range(-reach, reach + 1), range(-reach, reach + 1), (False, True)))


def _in_common(x: np.ndarray, y: np.ndarray, reach: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """:func:`_view` for each g."""
    least = _least_variance(y)
    return (_view(x, y, least, g) for g in _moves(reach))


def _least_variance(y: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(_LEAST_IN_COMMON * _cells(y).var(axis=1), _LEAST_CONTRAST**2))


def _view(x: np.ndarray, y: np.ndarray, least: np.ndarray, g: tuple[int, int, bool]) -> tuple[np.ndarray, np.ndarray]:
    """What x and g(y) have in common, without mean, of unit length, float32 (N, D), (M, D); 0 where y then varies less than ``least``."""
    down, right, mirrored = g
    theirs = _cut(y[:, :, ::-1] if mirrored else y, -down, -right)
    return _unit(_cells(_cut(x, down, right)), _LEAST_CONTRAST**2), _unit(_cells(theirs), least)


def _cut(images: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """What is left of images when another one of their size is laid over them, moved by (dy, dx)."""
    size = images.shape[1]
    return images[:, max(dy, 0) : size + min(dy, 0), max(dx, 0) : size + min(dx, 0)]


def _cells(images: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, (N, cells); an odd row or column at the end is left out."""
    height, width = images.shape[1] // 2 * 2, images.shape[2] // 2 * 2
    even = images[:, :height, :width]
    cells = even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]
    return np.asarray(cells.reshape(len(images), cells.shape[1] * cells.shape[2]) / 4)


def _unit(rows: np.ndarray, least_variance: np.ndarray | float) -> np.ndarray:
    """Rows without their mean, of unit length; 0 where their variance is less."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    variance = np.square(rows).mean(axis=1)
    length = np.where(variance >= least_variance, np.sqrt(variance * rows.shape[1]), np.inf)
    return np.asarray(rows / length[:, None], dtype=np.float32)


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """2 - 2 c of unit rows, from their difference: the correlation itself is too coarse near 1; rows of 0 have c = 0."""
    difference = a - b
    empty = ~(a.any(axis=1) & b.any(axis=1))
    return np.where(empty, 2.0, np.einsum("nd,nd->n", difference, difference).astype(np.float64))
