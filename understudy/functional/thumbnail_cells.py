"""Thumbnails as cells of 2 x 2 pixels, clipped at black and white and cut where a shifted one overlaps them.

For :mod:`understudy.functional.copies`, whose symbols hold here too.
"""

from __future__ import annotations

import numpy as np

LEAST_CONTRAST = 1 / 255
"""Standard deviation of an image that is too flat to compare."""
_LEAST_IN_COMMON = 0.5  # share of the variance of y in the overlap: an empty corner of y matches anything


def black_and_white(x: np.ndarray, within: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of pixels within ``within`` of 0, and of 1, int64 (N,) each."""
    return (x <= within).sum(axis=(1, 2)), (1 - x <= within).sum(axis=(1, 2))


def clip_at(y: np.ndarray, black: np.ndarray | int, white: np.ndarray | int) -> np.ndarray:
    """Clip y so that its ``black`` darkest pixels are equal, and its ``white`` brightest; int or (N,)."""
    pixels = y.shape[1] * y.shape[2]
    ordered = np.sort(y.reshape(len(y), pixels), axis=1)
    low, high = np.maximum(black - 1, 0), np.minimum(pixels - white, pixels - 1)
    low, high = (ordered[np.arange(len(y)), place][:, None, None] for place in (low, high))
    return np.asarray(np.clip(y, low, high))


def in_blocks(num: int, size: int) -> list[np.ndarray]:
    """The indices 0 to num - 1 in blocks of ``size``."""
    return np.split(np.arange(num), range(size, num, size))


def variance_needed(y: np.ndarray) -> np.ndarray:
    """The variance that the overlap with y must have, from the cells of y."""
    return np.asarray(np.maximum(_LEAST_IN_COMMON * overlap(y, 0, 0).var(axis=(1, 2)), LEAST_CONTRAST**2))


def to_cells(images: np.ndarray) -> np.ndarray:
    """Mean of the 2 x 2 pixels that start at each pixel, (N, 2s - 1, 2s - 1)."""
    return np.asarray((images[:, :-1, :-1] + images[:, 1:, :-1] + images[:, :-1, 1:] + images[:, 1:, 1:]) / 4)


def overlap(cells: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Adjacent cells of the part of the images that overlaps an image shifted by (dy, dx)."""
    size = cells.shape[1]
    return cells[:, max(dy, 0) : size + min(dy, 0) : 2, max(dx, 0) : size + min(dx, 0) : 2]
