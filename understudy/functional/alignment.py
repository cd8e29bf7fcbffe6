"""Move, turn and scale an image a little so that it fits another, and how well the two then agree.

Symbols::

    x, y     grey images, s x s                                        (P, s, s)
    A        affine map from places in x to places in y, from the centres    (P, 2, 3)
    w        weight of each pixel of x, 0 where A leads outside y
    rho      correlation of x and y(A) with weights w
    J        derivatives of y(A) by two shifts, two scales and a turn  (P, 5, s^2)

As in the maximisation of the enhanced correlation coefficient (Evangelidis and Psarakis 2008, "Parametric
image alignment using enhanced correlation coefficient maximization", PAMI 30), each step solves the least
squares problem of x - mean and y(A) - mean, scaled to the same contrast, and composes A with the solution. A
correlation ignores mean and contrast.
"""

from __future__ import annotations

import numpy as np

_DAMPING = 1e-3
_MOST_MOVED = 2.0  # pixels in a step
_MOST_SCALED = 0.12  # in a step; also for the turn, in radians
_LEAST_WEIGHT = 0.5  # share of the weights that must lead into y
_LEAST_VARIANCE = 0.5  # share of the variance of x that must lie there
_FLAT = 1.0  # squared grey levels: images with less variance are not compared
_SCALES = (0.6, 1.67)
_MOST_TURNED = np.radians(20)
_MOST_STRETCHED = 1.35  # ratio of the two scales


def align(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, start: np.ndarray, *, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best A on the way from ``start``.

    Args:
        x: levels from 0 to 255, float32 (P, s, s).
        y: as ``x``.
        weights: of the pixels of x, float32 (s, s).
        start: A to begin with, float32 (P, 2, 3).
        steps: number of steps.

    Returns:
        rho, float32 (P,), and A, float32 (P, 2, 3). rho is -1 if A left its bounds everywhere (scales from
        0.6 to 1.67, turns up to 20 degrees), or if too little of x lies in y.
    """
    a = best = start
    most = np.full(len(x), -1, dtype=np.float32)
    for step in range(steps + 1):
        moved, w = _moved(y, a, weights)
        rho = np.where(
            _bounded(a), _correlation(x.reshape(len(x), x.shape[1] * x.shape[2]), moved, w, weights), -1
        )
        best = np.where((rho > most)[:, None, None], a, best)
        most = np.maximum(most, rho)
        if step < steps:
            a = a @ _change(x.reshape(len(x), x.shape[1] * x.shape[2]), moved, w)
    return most.astype(np.float32), best


def agreement(x: np.ndarray, y: np.ndarray, weights: np.ndarray, a: np.ndarray) -> np.ndarray:
    """The correlation rho of x and y(A), float32 (P,); arguments as in :func:`align`."""
    return _correlation(x.reshape(len(x), x.shape[1] * x.shape[2]), *_moved(y, a, weights), weights)


def scaling(num: int, scale: np.ndarray | float) -> np.ndarray:
    """A that scales about the centre, float32 (num, 2, 3)."""
    a = np.zeros((num, 2, 3), dtype=np.float32)
    a[:, 0, 0] = a[:, 1, 1] = scale
    return a


def _moved(y: np.ndarray, a: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y(A) by linear interpolation, and w; float32 (P, s^2) each."""
    num, size, _ = y.shape
    across, down = _places(size)
    centre = np.float32((size - 1) / 2)
    u, v = (a[:, k, :1] * across + a[:, k, 1:2] * down + a[:, k, 2:] + centre for k in (0, 1))
    inside = (u >= 0) & (u <= size - 1) & (v >= 0) & (v <= size - 1)
    u, v = np.clip(u, 0, size - 1.001), np.clip(v, 0, size - 1.001)
    column, row = u.astype(np.int32), v.astype(np.int32)
    u, v = u - column, v - row
    flat, place = y.reshape(num, size * size), row * size + column
    at = [np.take_along_axis(flat, place + offset, axis=1) for offset in (0, 1, size, size + 1)]
    moved = (at[0] * (1 - u) + at[1] * u) * (1 - v) + (at[2] * (1 - u) + at[3] * u) * v
    return np.asarray(moved, dtype=np.float32), np.asarray(weights.ravel() * inside)


def _places(size: int) -> tuple[np.ndarray, np.ndarray]:
    across = np.tile(np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2), size)
    return across, across.reshape(size, size).T.ravel()


def _centred(values: np.ndarray, w: np.ndarray) -> np.ndarray:
    total = np.maximum(w.sum(axis=1), 1e-6)[:, None]
    return np.asarray(values - np.einsum("pn,pn->p", values, w)[:, None] / total)


def _correlation(x: np.ndarray, moved: np.ndarray, w: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """rho, or -1 where too little of x lies in y or an image is flat."""
    ours, theirs = _centred(x, w), _centred(moved, w)
    whole = np.broadcast_to(weights.ravel(), w.shape)
    xx, yy, xy = (np.einsum("pn,pn,pn->p", w, *two) for two in ((ours,) * 2, (theirs,) * 2, (ours, theirs)))
    variance = np.einsum("pn,pn->p", whole, np.square(_centred(x, whole)))
    enough = (w.sum(axis=1) > _LEAST_WEIGHT * weights.sum()) & (xx > _LEAST_VARIANCE * variance)
    enough &= np.minimum(xx, yy) > _FLAT * weights.sum()
    return np.where(enough, xy / np.sqrt(np.maximum(xx * yy, 1e-6)), -1)


def _change(x: np.ndarray, moved: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The map to compose A with, float32 (P, 3, 3)."""
    num, size = len(x), int(x.shape[1] ** 0.5)
    across, down = _places(size)
    ours, theirs = _centred(x, w), _centred(moved, w)
    square = np.einsum("pn,pn,pn->p", w, theirs, theirs)
    gain = (np.einsum("pn,pn,pn->p", w, ours, theirs) / np.maximum(square, 1e-6))[:, None]
    dy, dx = (
        gain * slope.reshape(num, size * size)
        for slope in np.gradient(moved.reshape(num, size, size), axis=(1, 2))
    )
    by = (dx, dy, dx * across, dy * down, dy * across - dx * down)
    jacobian = np.stack([_centred(each, w) for each in by], axis=1)
    weighted = jacobian * w[:, None]
    normal = weighted @ jacobian.transpose(0, 2, 1)
    diagonal = np.einsum("pii->pi", normal)
    diagonal += _DAMPING * diagonal + 1e-4 * diagonal.max(axis=1, keepdims=True) + 1e-3
    solved = np.linalg.solve(normal, weighted @ (ours - gain * theirs)[:, :, None])[:, :, 0]
    shift = np.clip(solved[:, :2], -_MOST_MOVED, _MOST_MOVED)
    wide, high, turn = np.clip(solved[:, 2:], -_MOST_SCALED, _MOST_SCALED).T
    change = np.zeros((num, 3, 3), dtype=np.float32)
    change[:, 0, 0], change[:, 1, 1], change[:, 2, 2] = 1 + wide, 1 + high, 1
    change[:, 1, 0], change[:, 0, 1] = turn, -turn
    change[:, :2, 2] = shift
    return change


def _bounded(a: np.ndarray) -> np.ndarray:
    wide, high = np.hypot(a[:, 0, 0], a[:, 1, 0]), np.hypot(a[:, 0, 1], a[:, 1, 1])
    smaller, larger = np.minimum(wide, high), np.maximum(wide, high)
    turn = np.abs(np.arctan2(a[:, 1, 0], a[:, 0, 0]))
    scaled = (smaller >= _SCALES[0]) & (larger <= _SCALES[1]) & (larger <= _MOST_STRETCHED * smaller)
    return np.asarray(scaled & (turn <= _MOST_TURNED))
