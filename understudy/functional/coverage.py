"""Precision and recall, density and coverage: how well synthetic points cover the real ones.

Symbols::

    real       N points                                          (N, D)
    synthetic  M points                                          (M, D)
    k          neighbours
    ball       around a point, up to its k-th nearest other point in the same set
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from understudy.functional.distances import squared_distances
from understudy.functional.intervals import student
from understudy.functional.resampling import (
    freedom,
    jackknife_spread,
    jackknife_variance,
    share_interval,
)

# Squared distances within rounding of a radius count as equal to it, because a copy of the k-th neighbour is
# exactly on the edge of the ball.
_INSIDE, _WITH_EDGE = 1 - 1e-9, 1 + 1e-9


class Balls(NamedTuple):
    """The ball of every point of a set, and its radius when one of its neighbours is left out.

    Attributes:
        radii: squared distance to the k-th nearest other point, float64 (N,).
        wider: squared distance to the next point, which is the radius when one of the k is left out; infinite
            if there is no next point; float64 (N,).
        neighbours: the k nearest other points, int64 (N, k).
    """

    radii: np.ndarray
    wider: np.ndarray
    neighbours: np.ndarray


class Measured(NamedTuple):
    """A measure of two sets, and its values with each point left out.

    Attributes:
        value: the measure.
        without_real: the measure without each real point, float64 (N,).
        without_synthetic: the measure without each synthetic point, float64 (M,).
    """

    value: float
    without_real: np.ndarray
    without_synthetic: np.ndarray


def balls(x: np.ndarray, *, k: int, block: int = 1024) -> Balls:
    """The ball of each point, which reaches to its k-th nearest other point.

    Args:
        x: float of shape (N, D).
        k: at least 1 and less than N.
        block: side of a tile of distances; memory is about ``40 * block**2`` bytes.

    Returns:
        The balls.

    Raises:
        ValueError: for another shape or k.

    Example:
        >>> found = balls(np.array([[0.0], [1.0], [3.0]]), k=1)
        >>> found.radii, found.wider, found.neighbours[:, 0]
        (array([1., 1., 4.]), array([9., 4., 9.]), array([1, 0, 1]))
    """
    if x.ndim != 2 or not 1 <= k < len(x):
        raise ValueError(f"x must be (N, D) with N > k and k at least 1, got {x.shape} and k = {k}")
    squared_NK, index_NK = np.full((len(x), k + 2), np.inf), np.zeros((len(x), k + 2), dtype=np.int64)
    for start in range(0, len(x), block):
        near = slice(start, start + block)
        for other in range(start, len(x), block):
            far = slice(other, other + block)
            tile = squared_distances(x[near], x[far])
            if other == start:
                # Makes each point its first neighbour, ahead of its duplicates.
                np.fill_diagonal(tile, -1)
            _keep_nearest(squared_NK[near], index_NK[near], tile, other)
            if other > start:
                _keep_nearest(squared_NK[far], index_NK[far], tile.T, start)
    return Balls(squared_NK[:, k].copy(), squared_NK[:, k + 1].copy(), index_NK[:, 1 : k + 1].copy())


def _keep_nearest(squared: np.ndarray, index: np.ndarray, tile: np.ndarray, start: int) -> None:
    """Keep in ``squared`` (B, K) the K smallest of itself and ``tile`` (B, C), in order, in place.

    ``index`` is updated to match.
    """
    both = np.concatenate([squared, tile], axis=1)
    found, place = torch.from_numpy(both).topk(squared.shape[1], dim=1, largest=False)
    chosen = place.numpy()
    kept = np.take_along_axis(index, np.minimum(chosen, index.shape[1] - 1), axis=1)
    index[:] = np.where(chosen < index.shape[1], kept, chosen - index.shape[1] + start)
    squared[:] = found.numpy()


def neighbour_measures(
    real: np.ndarray, synthetic: np.ndarray, real_balls: Balls, synthetic_balls: Balls, *, block: int = 1024
) -> dict[str, Measured]:
    """Precision and recall, density and coverage, and their values without each point.

    Precision and recall follow Kynkäänniemi et al. 2019 (arXiv:1904.06991, eq. 1 and 2), with closed balls;
    density and coverage follow Naeem et al. 2020 (arXiv:2002.09797, section 3), with open balls. This is how
    the authors' code does it; whether balls are open matters only for copies.

    Leaving a point out removes its ball, and the balls that reached to it grow to the next neighbour.

    Args:
        real: float of shape (N, D).
        synthetic: float of shape (M, D).
        real_balls: :func:`balls` of the real points.
        synthetic_balls: :func:`balls` of the synthetic points.
        block: side of a tile of distances; memory is about ``40 * block**2`` bytes, plus k numbers for each
            pair of a ball and a point that only the wider ball contains; points in two or more balls do not
            count.

    Returns:
        ``precision``, ``recall``, ``density`` and ``coverage``.

    Raises:
        ValueError: for shapes that do not fit.

    Example:
        >>> real, synthetic = np.array([[0.0], [1.0], [9.0]]), np.array([[0.5], [0.6]])
        >>> found = neighbour_measures(real, synthetic, balls(real, k=1), balls(synthetic, k=1))
        >>> [round(measured.value, 2) for measured in found.values()]
        [1.0, 0.0, 2.0, 0.67]
    """
    if (
        real.ndim != 2
        or synthetic.ndim != 2
        or (len(real_balls.radii), len(synthetic_balls.radii)) != (len(real), len(synthetic))
    ):
        raise ValueError(
            f"points and balls must be (N, D), N, (M, D) and M, got {real.shape}, {len(real_balls.radii)}, "
            f"{synthetic.shape} and {len(synthetic_balls.radii)}"
        )
    in_real, in_synthetic = _Reached(real_balls, len(synthetic)), _Reached(synthetic_balls, len(real))
    filled = _Filled(real_balls, len(synthetic))
    for start in range(0, len(real), block):
        for other in range(0, len(synthetic), block):
            tile = squared_distances(real[start : start + block], synthetic[other : other + block])
            in_real.add(tile, start, other)
            in_synthetic.add(tile.T, other, start)
            filled.add(tile, start, other)
    precision, without_real, without_synthetic = in_real.share()
    recall, without_synthetic_ball, without_real_point = in_synthetic.share()
    return {
        "precision": Measured(precision, without_real, without_synthetic),
        "recall": Measured(recall, without_real_point, without_synthetic_ball),
        "density": filled.density(),
        "coverage": filled.coverage(),
    }


def neighbour_interval(
    name: str,
    measured: Sequence[Measured],
    *,
    real_groups: np.ndarray,
    synthetic_groups: Sequence[np.ndarray],
) -> tuple[float, float, float]:
    """Mean of a measure over synthetic sets that share the real points, with a 95% interval.

    The interval covers the choice of the points in all sets. Its variance is that of leaving out each single
    point, see :func:`understudy.functional.resampling.jackknife_variance`. That of density is Student's; the
    others are shares, see :func:`understudy.functional.resampling.share_interval`.

    Args:
        name: a key of the result of :func:`neighbour_measures`.
        measured: the measure of each synthetic set.
        real_groups: int of shape (N,), such as classes, whose sizes are fixed by design.
        synthetic_groups: the same for each synthetic set.

    Returns:
        Mean, low end, high end; at least 0, and at most 1 except for density.
    """
    value = float(np.mean([one.value for one in measured]))
    without_real = np.mean([one.without_real for one in measured], axis=0)
    variance, spread = (of(without_real, real_groups) for of in (jackknife_variance, jackknife_spread))
    for one, groups in zip(measured, synthetic_groups, strict=True):
        variance += jackknife_variance(one.without_synthetic, groups) / len(measured) ** 2
        spread += jackknife_spread(one.without_synthetic, groups) / len(measured) ** 4
    degrees = freedom(variance, spread)
    if name == "density":
        half = student(degrees) * math.sqrt(variance)
        return value, max(0.0, value - half), value + half
    points = sum(map(len, synthetic_groups)) if name == "precision" else len(real_groups)
    return share_interval(value, variance, degrees, points)


class _Reached:
    """Which points lie in a closed ball of the other set."""

    def __init__(self, balls: Balls, num_points: int) -> None:
        self._balls = balls
        self._count = np.zeros(num_points, dtype=np.int64)
        self._only = np.zeros(num_points, dtype=np.int64)  # the ball of each point that lies in exactly one
        self._widened: list[np.ndarray] = []  # (2, P): a ball, and a point that the wider ball takes in

    def add(self, tile: np.ndarray, start: int, other: int) -> None:
        """Count a tile of distances, whose first ball is ``start`` and first point ``other``."""
        near, far = slice(start, start + tile.shape[0]), slice(other, other + tile.shape[1])
        inside = tile <= _WITH_EDGE * self._balls.radii[near, None]
        found = inside.sum(axis=0)
        self._only[far] = np.where(found == 1, start + inside.argmax(axis=0), self._only[far])
        self._count[far] += found
        wider = (tile <= _WITH_EDGE * self._balls.wider[near, None]) & ~inside & (self._count[far] < 2)
        self._widened.append(np.stack(np.nonzero(wider)) + np.array([[start], [other]]))

    def share(self) -> tuple[float, np.ndarray, np.ndarray]:
        """Share of the points that lie in a ball, and the share when each point is left out.

        Returns:
            The share; the shares without each point that has a ball; the shares without each other point.
        """
        num_balls, num_points = len(self._balls.radii), len(self._count)
        reached = self._count > 0
        single = self._count == 1
        lost = np.bincount(self._only[single], minlength=num_balls)
        ball, point = np.concatenate(self._widened, axis=1)
        ball, point = (rows[self._count[point] < 2] for rows in (ball, point))
        gone, point = self._balls.neighbours[ball].ravel(), np.repeat(point, self._balls.neighbours.shape[1])
        taken_in = ~reached[point] | (self._only[point] == gone)
        pairs = np.unique(gone[taken_in] * num_points + point[taken_in])
        gained = np.bincount(pairs // num_points, minlength=num_balls)
        total = int(reached.sum())
        return (
            total / num_points,
            (total - lost + gained) / num_points,
            (total - reached) / max(1, num_points - 1),
        )


class _Filled:
    """How many points lie in each open ball of the other set."""

    def __init__(self, balls: Balls, num_points: int) -> None:
        self._balls = balls
        self._inside, self._inside_wider = (np.zeros(len(balls.radii), dtype=np.int64) for _ in range(2))
        self._only = np.zeros(len(balls.radii), dtype=np.int64)  # the point of each ball that has exactly one
        self._depth = np.zeros(num_points, dtype=np.int64)  # number of balls that each point lies in

    def add(self, tile: np.ndarray, start: int, other: int) -> None:
        """Count a tile of distances, whose first ball is ``start`` and first point ``other``."""
        near, far = slice(start, start + tile.shape[0]), slice(other, other + tile.shape[1])
        inside = tile < _INSIDE * self._balls.radii[near, None]
        found = inside.sum(axis=1)
        self._only[near] = np.where(found == 1, other + inside.argmax(axis=1), self._only[near])
        self._inside[near] += found
        self._depth[far] += inside.sum(axis=0)
        self._inside_wider[near] += (tile < _INSIDE * self._balls.wider[near, None]).sum(axis=1)

    def density(self) -> Measured:
        k, num_points = self._balls.neighbours.shape[1], len(self._depth)
        total = int(self._inside.sum())
        without_ball = (total - self._inside + self._widening(self._inside_wider - self._inside)) / (
            k * num_points
        )
        return Measured(
            total / (k * num_points), without_ball, (total - self._depth) / (k * max(1, num_points - 1))
        )

    def coverage(self) -> Measured:
        num_balls, num_points = len(self._inside), len(self._depth)
        covered, covered_wider = self._inside > 0, self._inside_wider > 0
        total = int(covered.sum())
        without_ball = (total - covered + self._widening(covered_wider.astype(np.int64) - covered)) / (
            num_balls - 1
        )
        lost = np.bincount(self._only[self._inside == 1], minlength=num_points)
        return Measured(total / num_balls, without_ball, (total - lost) / num_balls)

    def _widening(self, change: np.ndarray) -> np.ndarray:
        """For each point, the sum of ``change`` over the balls that grow when it is left out."""
        neighbours = self._balls.neighbours
        weights = np.repeat(change, neighbours.shape[1])
        return np.bincount(neighbours.ravel(), weights=weights, minlength=len(change))


def density_and_coverage(
    real: np.ndarray, synthetic: np.ndarray, *, k: int = 5, block: int = 1024
) -> tuple[float, float]:
    """Density (fidelity) and coverage (diversity) of synthetic points.

    Naeem et al. 2020 (arXiv:2002.09797, section 3). Each real point has a ball that reaches to its k-th
    nearest other real point. Density is the mean number of balls that a synthetic point lies in, divided by
    k. Coverage is the share of balls that contain a synthetic point. Balls are open, as in the authors' code.
    Coverage grows with the number of synthetic points, so compare sets of equal size.

    Args:
        real: float of shape (N, D), N at least 2.
        synthetic: float of shape (M, D), M at least 1.
        k: neighbours, at least 1; N - 1 is used if k is larger.
        block: side of a tile of distances; memory is about ``40 * block**2`` bytes.

    Returns:
        Density, at least 0 and 1 on average for points of the real distribution, and coverage, in [0, 1].

    Raises:
        ValueError: for fewer points, unequal widths or a k below 1.

    Example:
        >>> density_and_coverage(np.array([[0.0], [1.0], [9.0]]), np.array([[0.5], [0.6]]), k=1)
        (2.0, 0.6666666666666666)
    """
    if (
        real.ndim != 2
        or synthetic.ndim != 2
        or real.shape[1] != synthetic.shape[1]
        or len(real) < 2
        or not len(synthetic)
    ):
        raise ValueError(
            f"real and synthetic must be (N, D) and (M, D) with N > 1 and M > 0, got {real.shape} and "
            f"{synthetic.shape}"
        )
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    k = min(k, len(real) - 1)
    filled = _Filled(balls(real, k=k, block=block), len(synthetic))
    for start in range(0, len(real), block):
        for other in range(0, len(synthetic), block):
            filled.add(
                squared_distances(real[start : start + block], synthetic[other : other + block]), start, other
            )
    return filled.density().value, filled.coverage().value
