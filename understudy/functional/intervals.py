"""Bootstrap intervals for a mean over trainings and test images.

Symbols::

    values   one value per training and test image, such as 1 if correct, else 0   (S, N)
    S        trainings, one per seed
    N        test images
    R        resamples
    g        group of each image, such as its class, if resampling keeps the size of each group   (N,)
    N_g      images of a group
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit  # the quantiles of scipy.stats, which is slow to import

_MAX_CELLS = 2**22  # cells of the largest temporary array: 32 MiB in float64
_LEVEL = 0.95


def bootstrap_mean(
    values: np.ndarray,
    rng: np.random.Generator,
    *,
    num_resamples: int,
    groups: np.ndarray | None = None,
) -> tuple[float, float, float]:
    """Mean with a 95% interval over both test images and training seeds.

    Test images and trainings are resampled at the same time, each with replacement (Owen 2007, "The
    pigeonhole bootstrap", Annals of Applied Statistics 1). For a small S, a plain bootstrap is too narrow for
    two reasons, and both are corrected:

    * S values drawn with replacement from S have a variance that is too small by a factor (S - 1) / S.
      Drawing S - 1 of them is exact (Rao and Wu 1988, "Resampling inference with complex survey data", JASA
      83).
    * Percentiles ignore that a spread measured on S values is uncertain itself. Their distances from the mean
      are therefore stretched by the ratio of the Student to the normal quantile, with degrees of freedom from
      Satterthwaite (1946): S - 1 if seeds dominate the variance, N - 1 if test images do. With 3 seeds the
      factor is between 1 and 2.2.

    With one training the interval covers test images only. If all values are equal, it has no width. With
    groups, images are resampled within each group, N_g - 1 of them for the same reason as S - 1, and the
    degrees of freedom count each group.

    Args:
        values: bool or float of shape (S, N), S at least 1 and N at least 2.
        rng: source of the resamples.
        num_resamples: R; the ends are accurate to about 1 / sqrt(R) of the half width.
        groups: g, int of shape (N,); None resamples all images together.

    Returns:
        Mean, low end, high end; the ends lie within the means that values of the groups can have.

    Raises:
        ValueError: for another shape.

    Example:
        >>> mean, low, high = bootstrap_mean(np.eye(4)[:3] == 0, np.random.default_rng(0), num_resamples=500)
        >>> mean, low < mean < high
        (0.75, True)
    """
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2:
        raise ValueError(
            f"values must be of shape (seeds, images) with at least 2 images, got {values.shape}"
        )
    values = values.astype(np.float64)
    mean = float(values.mean())
    low, high = np.quantile(
        resampled_means(values[None], rng, num_resamples, groups)[:, 0],
        [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2],
    )
    stretch, (least, most) = student_stretch(values, groups), _extremes(values, groups)
    return (
        mean,
        min(mean, max(least, mean - stretch * (mean - float(low)))),
        max(mean, min(most, mean + stretch * (float(high) - mean))),
    )


def paired_bootstrap_difference(
    a: np.ndarray, b: np.ndarray, rng: np.random.Generator, *, num_resamples: int
) -> tuple[float, float, float]:
    """Mean of ``a - b`` with a 95% interval, both measured on the same test images and with the same seeds.

    Every resample takes the same images and seeds for both, so images that are easy or hard for both cancel.
    The method is that of :func:`bootstrap_mean`.

    Args:
        a: bool or float of shape (S, N).
        b: the same shape; training i of ``b`` has the seed of training i of ``a``.
        rng: source of the resamples.
        num_resamples: R.

    Returns:
        Mean difference, low end, high end.

    Raises:
        ValueError: if the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"paired values must have the same shape, got {a.shape} and {b.shape}")
    return bootstrap_mean(a.astype(np.float64) - b.astype(np.float64), rng, num_resamples=num_resamples)


def resampled_means(
    values: np.ndarray, rng: np.random.Generator, num_resamples: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Means over resampled trainings and test images; all K quantities share the resamples.

    S - 1 trainings, and N test images or N_g - 1 of each group, are drawn with replacement, see
    :func:`bootstrap_mean`.

    Args:
        values: float64 of shape (K, S, N).
        rng: source of the resamples.
        num_resamples: R.
        groups: g, int of shape (N,); None resamples all images together.

    Returns:
        float64 of shape (R, K).
    """
    num_values, num_seeds, num_images = values.shape
    drawn_seeds = max(1, num_seeds - 1)
    seed_weights_RS = (
        rng.multinomial(drawn_seeds, np.full(num_seeds, 1 / num_seeds), size=num_resamples) / drawn_seeds
    )
    # Images with equal values are interchangeable, so it is enough to draw the number of images of each of U
    # kinds.
    parts = _parts(values.reshape(-1, num_images), groups)
    kinds = [np.unique(part, axis=1, return_counts=True) for part in parts]
    step = max(1, _MAX_CELLS // max(num_values * num_seeds, *(len(counts_U) for _, counts_U in kinds)))
    means_RK = np.empty((num_resamples, num_values))
    for start in range(0, num_resamples, step):
        part = slice(start, start + step)
        sums = np.zeros((len(means_RK[part]), num_values * num_seeds))
        for kinds_KSU, counts_U in kinds:
            size = int(counts_U.sum())
            drawn = size if groups is None else max(1, size - 1)
            drawn_RU = rng.multinomial(drawn, counts_U / size, size=len(sums))
            sums += (drawn_RU / (drawn * num_images / size)) @ kinds_KSU.T
        per_seed_RKS = sums.reshape(-1, num_values, num_seeds)
        means_RK[part] = (per_seed_RKS * seed_weights_RS[part, None]).sum(axis=2)
    return means_RK


def student_stretch(values: np.ndarray, groups: np.ndarray | None = None) -> float:
    """Ratio of the Student to the normal quantile, with the degrees of freedom of a sum of two variances.

    Satterthwaite 1946, see :func:`bootstrap_mean`.

    Args:
        values: float64 of shape (S, N), N at least 2.
        groups: g, int of shape (N,); None for images that are resampled together. A group of one image adds
            no variance.

    Returns:
        The factor, at least 1; 1 if all values are equal, within each group if there are groups.
    """
    num_seeds, num_images = values.shape
    seed_part = float(values.mean(axis=1).var(ddof=1)) / num_seeds if num_seeds > 1 else 0.0
    total, spread = seed_part, seed_part**2 / max(1, num_seeds - 1)
    for part in _parts(values, groups):
        if (size := part.shape[1]) > 1:
            image_part = float(part.mean(axis=0).var(ddof=1)) / size * (size / num_images) ** 2
            total, spread = total + image_part, spread + image_part**2 / (size - 1)
    if total == 0:
        return 1.0
    freedom = total**2 / spread if spread > 0 else math.inf
    return float(stdtrit(freedom, (1 + _LEVEL) / 2) / ndtri((1 + _LEVEL) / 2))


def _extremes(values: np.ndarray, groups: np.ndarray | None) -> tuple[float, float]:
    """The least and the largest mean if every image of a group has an extreme value of its group."""
    parts = _parts(values, groups)
    shares = [part.shape[1] / values.shape[1] for part in parts]
    ends = [(float(part.min()), float(part.max())) for part in parts]
    least, most = (sum(s * e[i] for s, e in zip(shares, ends, strict=True)) for i in (0, 1))
    return least, most


def _parts(values: np.ndarray, groups: np.ndarray | None) -> list[np.ndarray]:
    """The columns of ``values`` (..., N), group by group."""
    if groups is None:
        return [values]
    order = np.argsort(groups, kind="stable")
    return np.split(values[:, order], 1 + np.flatnonzero(np.diff(groups[order])), axis=1)


def student_interval(values: Sequence[float]) -> dict[str, float]:
    """Mean of independent repetitions with its 95% Student interval; a single one gives no width.

    Args:
        values: one value per repetition, at least one.

    Returns:
        ``mean``, ``low`` and ``high``.

    Raises:
        ValueError: without a value.

    Example:
        >>> {name: round(value, 2) for name, value in student_interval([1.0, 2.0, 3.0]).items()}
        {'mean': 2.0, 'low': -0.48, 'high': 4.48}
    """
    if not len(values):
        raise ValueError("values must have at least one entry, got none")
    mean, half = float(np.mean(values)), 0.0
    if len(values) > 1:
        quantile = stdtrit(len(values) - 1, (1 + _LEVEL) / 2)
        half = float(quantile * np.std(values, ddof=1) / math.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half}


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A measured value with a 95% interval.

    Attributes:
        mean: the value.
        low, high: ends of the interval.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, ends: tuple[float, float, float]) -> Interval:
        """Name the three numbers that :func:`bootstrap_mean` and similar functions return.

        Example:
            >>> Interval.of((0.5, 0.25, 0.75)).low
            0.25
        """
        return cls(mean=ends[0], low=ends[1], high=ends[2])
