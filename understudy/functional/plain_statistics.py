"""Plain statistics of colour and gradient: what tells sets of images apart without any network.

Symbols::

    r, g, b    channels, y = (r + g + b) / 3 brightness, in grey levels   (N, S, S)
    s          spread of the channels, max(r, g, b) - min(r, g, b)        (N, S, S)
    dx, dy     differences of y to the pixel on the right and below       (N, S - 1, S - 1)
"""

from __future__ import annotations

import numpy as np

_FLAT = 4.0  # grey levels; a smaller gradient is hardly visible

STATISTICS = (
    *("mean of red", "mean of green", "mean of blue"),
    *("deviation of red", "deviation of green", "deviation of blue"),
    *("mean of channel spread", "deviation of channel spread"),
    *("mean of |dx|", "mean of |dy|", "deviation of the gradient", "share of flat pixels"),
    *("correlation with the right neighbour", "skewness of brightness", "centre minus border"),
)
"""What each column of :func:`plain_statistics` is."""


def plain_statistics(pixels: np.ndarray) -> np.ndarray:
    """Fifteen statistics of each image, named in :data:`STATISTICS`.

    Args:
        pixels: uint8 of shape (N, 3, S, S), S at least 4.

    Returns:
        float64 of shape (N, 15), in grey levels or without unit; 0 where an image without contrast leaves a
        ratio open.

    Raises:
        ValueError: for another shape.

    Example:
        >>> grey = np.full((1, 3, 8, 8), 100, dtype=np.uint8)
        >>> dict(zip(STATISTICS, plain_statistics(grey)[0].tolist()))["mean of red"]
        100.0
    """
    if pixels.ndim != 4 or pixels.shape[1] != 3 or min(pixels.shape[2:]) < 4:
        raise ValueError(f"pixels must be (N, 3, S, S) with S of at least 4, got {pixels.shape}")
    x = pixels.astype(np.float64)
    y, s = x.mean(axis=1), np.ptp(x, axis=1)
    dx, dy = np.diff(y, axis=2)[:, :-1], np.diff(y, axis=1)[:, :, :-1]
    gradient = np.hypot(dx, dy)
    axes = (1, 2)
    centred = y - y.mean(axis=axes, keepdims=True)
    deviation = centred.std(axis=axes)
    edge_S = max(1, y.shape[1] // 4)
    is_centre = np.zeros(y.shape[1:], dtype=bool)
    is_centre[edge_S:-edge_S, edge_S:-edge_S] = True
    columns = [
        *x.mean(axis=(2, 3)).T,
        *x.std(axis=(2, 3)).T,
        *(s.mean(axis=axes), s.std(axis=axes)),
        *(np.abs(dx).mean(axis=axes), np.abs(dy).mean(axis=axes)),
        *(gradient.std(axis=axes), (gradient < _FLAT).mean(axis=axes)),
        _ratio((centred[:, :, 1:] * centred[:, :, :-1]).mean(axis=axes), deviation**2),
        _ratio((centred**3).mean(axis=axes), deviation**3),
        y[:, is_centre].mean(axis=1) - y[:, ~is_centre].mean(axis=1),
    ]
    return np.stack(columns, axis=1)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    ratio = np.zeros_like(above)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio
