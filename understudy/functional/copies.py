"""A distance that is 0 for copies of an image, and the threshold below which it is unlikely by chance.

Symbols::

    x, y     grey thumbnails, 2s x 2s                                   (N, 2s, 2s), (M, 2s, 2s)
    g        shift by up to r along each axis, with or without mirroring     2 (2r + 1)^2 of them
    y'       y with its darkest and brightest pixels clipped, as many of them as x has black and white ones
    c_g      correlation of x and g(y) where they overlap, averaged over cells of 2 x 2 pixels
    d(x, y)  min over g of sqrt(2 - 2 c_g), and the same for y' near the best g: 0 for a copy, sqrt(2) for
             unrelated images

A correlation ignores mean and contrast, so a brighter, darker or paler copy still counts as a copy; y' covers
copies that were clipped at black and white. The cells blur away the changes of re-encoding. Shifts are by
half cells, because thumbnails that are half a cell apart look as different as two handwritten digits.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from understudy.functional.copy_candidates import Search, candidates, compare_all
from understudy.functional.membership import area_under, roc
from understudy.functional.thumbnail_cells import (
    LEAST_CONTRAST,
    black_and_white,
    clip_at,
    in_blocks,
    overlap,
    to_cells,
    variance_needed,
)

_CLIPPED = 2 / 255  # levels this near to 0 or 1 may have been clipped
_CANDIDATES = 16  # best y of the search, which are then compared with x in full
_AT_ONCE = 4096  # pairs with a y' of their own
_PAIRS = 1024  # pairs per block: their cells fit into the cache
_PERCENTILES = (2.5, 97.5)


def nearest_copies(
    x: np.ndarray, y: np.ndarray, *, reach: int = 4, skip_own: bool = False, search: Search = compare_all
) -> tuple[np.ndarray, np.ndarray]:
    """For each x, the nearest y by the distance d(x, y).

    A search compares each x with all y by their lowest frequencies, at every other shift, with y clipped
    about as much as x. The distance is then measured to the 16 y with the highest correlations. Memory is a
    few times that of x and y.

    The search is not exact: it misses a y if 16 others correlate more with x at low frequencies. Against
    comparing all pairs, it finds every copy that is moved, mirrored, paler or noisy, and the nearest of
    unrelated images that are smooth, such as digits, in 99% of cases. If all images are white noise it
    finds another of the unrelated ones, at most 0.1 farther away.

    Args:
        x: grey thumbnails, float of shape (N, 2s, 2s), levels 0 to 1.
        y: grey thumbnails, float of shape (M, 2s, 2s), M at least 1.
        reach: r, largest shift in pixels of the thumbnails.
        skip_own: do not compare x_i with y_i; for distances within one set, M at least 2.
        search: finds the 16 y; see :data:`understudy.functional.copy_candidates.Search`.

    Returns:
        Index of the nearest y, int64 of shape (N,), and the distance to it, float64 of shape (N,), in [0, 2].
        An image with a contrast below one grey level has distance sqrt(2) to all others.

    Raises:
        ValueError: for other shapes.

    Example:
        >>> y = np.random.default_rng(0).random((3, 32, 32))
        >>> index, distance = nearest_copies(0.5 * y[1:2, :, ::-1] + 0.2, y)
        >>> index, distance.round(5)
        (array([1]), array([0.]))
    """
    _check(x, y, least=1 + skip_own)
    count = min(_CANDIDATES, len(y) - skip_own)
    pairs = candidates(x, y, count=count, reach=reach, skip_own=skip_own, search=search)
    squared, fitted = _squared_distances(x, y, pairs, reach)
    squared = np.minimum(squared, _squared_clipped(x, y, pairs, fitted, reach))
    best = squared.argmin(axis=1)[:, None]
    return np.take_along_axis(pairs, best, axis=1)[:, 0], np.sqrt(
        np.take_along_axis(squared, best, axis=1)[:, 0]
    )


def copy_distances(x: np.ndarray, y: np.ndarray, *, reach: int = 4) -> np.ndarray:
    """The distance of x_i to y_i.

    Args:
        x: grey thumbnails, float of shape (N, 2s, 2s), levels 0 to 1.
        y: as ``x``.
        reach: as in :func:`nearest_copies`.

    Returns:
        float64 of shape (N,), in [0, 2].

    Raises:
        ValueError: for other shapes.

    Example:
        >>> x = np.random.default_rng(0).random((1, 32, 32))
        >>> near, far = (copy_distances(x, np.roll(x, pixels, axis=2)) for pixels in (3, 9))
        >>> near.round(5), far.round(5) > 1
        (array([0.]), array([ True]))
    """
    _check(x, y, least=0)
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same length, got {len(x)} and {len(y)}")
    pairs = np.arange(len(x))[:, None]
    squared, fitted = _squared_distances(x, y, pairs, reach)
    return np.asarray(np.sqrt(np.minimum(squared, _squared_clipped(x, y, pairs, fitted, reach))[:, 0]))


def copy_threshold(real: np.ndarray, *, rate: float) -> float | None:
    """The distance below which a new real image falls with a probability of at most ``rate``.

    It is the k-th smallest of n distances, k = floor(rate (n + 1)): a new image of the same distribution is
    among the k nearest of n + 1 with probability k / (n + 1) (split conformal prediction; Vovk, Gammerman and
    Shafer 2005; Lei et al. 2018, arXiv:1604.04173, theorem 2).

    Args:
        real: distances of n real images to other real images, float of shape (n,).
        rate: the probability, in [0, 1].

    Returns:
        The distance, or None if n is too small for this rate.

    Example:
        >>> copy_threshold(np.arange(1.0, 200.0), rate=0.01), copy_threshold(np.arange(98.0), rate=0.01)
        (2.0, None)
    """
    k = math.floor(round(rate * (len(real) + 1), 9))
    return float(np.partition(real, k - 1)[k - 1]) if k else None


def share_closer(
    a: np.ndarray, b: np.ndarray, rng: np.random.Generator, *, num_resamples: int
) -> tuple[float, float, float]:
    """Probability that a value of ``a`` is below a value of ``b``, with a 95% interval; ties count half.

    This is Mann and Whitney's U divided by its largest value, which is the area under a receiver operating
    curve. The interval is between percentiles of a bootstrap that resamples both sets.

    Args:
        a: float of shape (N,), N at least 1.
        b: float of shape (M,), M at least 1.
        rng: source of the resamples.
        num_resamples: number of resamples.

    Returns:
        Probability, low end, high end, in [0, 1].

    Raises:
        ValueError: if ``a`` or ``b`` is empty.

    Example:
        >>> a, b = np.array([1.0, 2.0]), np.array([2.0, 3.0])
        >>> share_closer(a, b, np.random.default_rng(0), num_resamples=100)[0]
        0.875
    """
    scores, is_a = -np.concatenate([a, b]), np.repeat([True, False], [len(a), len(b)])
    value = area_under(*roc(scores, is_a))
    counts = (
        np.concatenate([rng.multinomial(num, np.full(num, 1 / num)) for num in (len(a), len(b))])
        for _ in range(num_resamples)
    )
    low, high = np.percentile([area_under(*roc(scores, is_a, weights)) for weights in counts], _PERCENTILES)
    return value, min(value, float(low)), max(value, float(high))


def _check(x: np.ndarray, y: np.ndarray, *, least: int) -> None:
    if x.ndim != 3 or x.shape[1] != x.shape[2] or x.shape[1] % 2 or x.shape[1:] != y.shape[1:] or y.ndim != 3:
        raise ValueError(
            f"x and y must be square thumbnails of equal, even width, got {x.shape} and {y.shape}"
        )
    if len(y) < least:
        raise ValueError(f"y must have at least {least} images to compare with, got {len(y)}")


def _squared_distances(
    x: np.ndarray, y: np.ndarray, pairs: np.ndarray, reach: int
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest 2 - 2 c_g of x_i and each y_j in row i of ``pairs``, and the index of the g with this value.

    Both results have shape (N, K): float64 and int64.
    """
    x, y = to_cells(x), to_cells(y)
    least = variance_needed(y)
    squared, fitted = np.full(pairs.shape, np.inf), np.zeros(pairs.shape, dtype=np.int64)
    for number, g in enumerate(_moves(reach)):
        found = _squared(*_view(x, y, least, g), pairs)
        fitted[found < squared] = number
        squared = np.minimum(found, squared)
    return squared, fitted


def _squared_clipped(
    x: np.ndarray, y: np.ndarray, pairs: np.ndarray, fitted: np.ndarray, reach: int
) -> np.ndarray:
    """Like :func:`_squared_distances`, for y' and only for g near the one that fitted y best.

    Every pair has a different y'. The result is float64 (N, K), infinite where y' equals y.
    """
    squared = np.full(pairs.size, np.inf)
    moves = np.array(_moves(reach))[fitted.ravel()]
    black, white = black_and_white(x, _CLIPPED)
    some = np.flatnonzero(np.repeat(np.maximum(black, white) > 1, pairs.shape[1]))
    for block in (some[part] for part in in_blocks(len(some), _AT_ONCE)):
        of_x, of_y = block // pairs.shape[1], y[pairs.ravel()[block]]
        clipped = clip_at(of_y, black[of_x], white[of_x])
        changed = np.flatnonzero((clipped != of_y).any(axis=(1, 2)))
        a, b = to_cells(x[of_x[changed]]), to_cells(clipped[changed])
        least, best, about = variance_needed(b), np.full(len(changed), np.inf), moves[block[changed]]
        for g in _moves(reach):
            rows = np.flatnonzero((np.abs(about - np.array(g)) <= (1, 1, 0)).all(axis=1))
            if len(rows):
                found = _squared(*_view(a, b, least, g, rows), np.arange(len(rows))[:, None])
                best[rows] = np.minimum(best[rows], found[:, 0])
        squared[block[changed]] = best
    return squared.reshape(pairs.shape)


def _moves(reach: int) -> list[tuple[int, int, bool]]:
    """Every g, as (down, right, mirrored)."""
    return list(itertools.product(range(-reach, reach + 1), range(-reach, reach + 1), (False, True)))


def _view(
    x: np.ndarray,
    y: np.ndarray,
    least: np.ndarray,
    g: tuple[int, int, bool],
    rows: np.ndarray | slice = slice(None),
) -> tuple[np.ndarray, np.ndarray]:
    """The overlapping cells of x and of g(y), normalised by :func:`_unit`, (N, D) and (M, D).

    Rows of y are 0 if the variance in the overlap is below ``least``.
    """
    down, right, mirrored = g
    theirs = overlap(y[:, :, ::-1] if mirrored else y, -down, -right)
    return _unit(overlap(x, down, right)[rows], LEAST_CONTRAST**2), _unit(theirs[rows], least[rows])


def _unit(cells: np.ndarray, least_variance: np.ndarray | float) -> np.ndarray:
    """Cells minus their mean, scaled to unit length, float32 (N, D); 0 if their variance is smaller."""
    rows = cells.reshape(len(cells), cells.shape[1] * cells.shape[2])
    rows = rows - rows.mean(axis=1, keepdims=True)
    squares = np.einsum("nd,nd->n", rows, rows)
    rows /= np.where(squares >= rows.shape[1] * least_variance, np.sqrt(squares), np.inf)[:, None]
    return np.asarray(rows, dtype=np.float32)


def _squared(a: np.ndarray, b: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """2 - 2 c of unit rows, float64 (N, K).

    It is computed from differences, because c near 1 has too few digits. For rows of zeros, c = 0.
    """
    squared = np.empty(pairs.shape)
    for rows in in_blocks(len(pairs), max(1, _PAIRS // pairs.shape[1])):
        difference = b.take(pairs[rows], axis=0)
        difference -= a[rows, None]
        squared[rows] = np.einsum("nkd,nkd->nk", difference, difference)
    empty = (np.count_nonzero(a, axis=1) == 0)[:, None] | (np.count_nonzero(b, axis=1) == 0)[pairs]
    return np.where(empty, 2.0, squared)
