"""Intervals for a mean over trainings and test images, and for a mean over repetitions.

Symbols::

    values   one value per training and test image, such as 1 if correct, else 0   (S, N)
    S        trainings, one per seed
    N        test images
    V, f     variance of the mean of ``values``, and its degrees of freedom
    g        group of each image, such as its class, where the size of each group is given   (N,)
    R        resamples
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtri, stdtrit  # the quantiles of scipy.stats, which is slow to import

from understudy.functional.clusters import per_cluster

_MAX_CELLS = 2**22  # cells of the largest temporary array: 32 MiB in float64
_LEVEL = 0.95
TAIL = (1 - _LEVEL) / 2
"""Error on either side of a 95% interval."""


def accuracy_interval(correct: np.ndarray, clusters: np.ndarray | None = None) -> tuple[float, float, float]:
    """Share of correct predictions with a 95% interval over test images and trainings.

    Korn and Graubard 1998, "Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data" (Survey Methodology 24): the limits of Clopper and Pearson (1934) for
    n* images, where::

        n* = N (p (1 - p) / (N - 1)) / V (t[N - 1] / t[f])^2, at most N

    p is the accuracy, and t[f] the 97.5% quantile of Student's distribution. Trainings that agree on every
    image give n* = N, the exact binomial interval; trainings that differ give fewer. If every prediction is
    correct, or none, V says nothing and n* is N: the interval keeps the width that N images allow.

    With clusters, V is that of the mean over clusters, N - 1 is one less than their number, and n* is at most
    N U / V, where U is the variance without clusters, and at most N. If every prediction is correct, or none,
    n* is the number of clusters.

    Args:
        correct: bool of shape (S, N), S at least 1 and N at least 2.
        clusters: cluster of each image, of shape (N,), see :mod:`understudy.functional.clusters`; if not
            given, every image is a draw of its own.

    Returns:
        Mean, low end, high end, in [0, 1].

    Raises:
        ValueError: for another shape.

    Example:
        >>> [round(end, 3) for end in accuracy_interval(np.ones((3, 100)))]
        [1.0, 0.964, 1.0]
    """
    drawn = per_cluster(correct, clusters)
    variance, freedom = variance_of_mean(drawn)
    num_drawn, mean = drawn.shape[1], float(correct.mean())
    images = float(num_drawn)
    if 0 < mean < 1 and variance > 0:
        ratio = student(num_drawn - 1) / student(freedom)
        most = images if clusters is None else _most_images(correct, variance)
        images = min(most, images * mean * (1 - mean) / (num_drawn - 1) / variance * ratio**2)
    low, high = binomial_limits(mean, images)
    return mean, min(mean, low), max(mean, high)


def _most_images(correct: np.ndarray, variance: float) -> float:
    """N, divided by how many times as large the variance is as it would be without clusters."""
    return float(correct.shape[1] * min(1.0, variance_of_mean(correct)[0] / variance))


def binomial_limits(share: float, images: float, *, tail: float = TAIL) -> tuple[float, float]:
    """The exact limits of Clopper and Pearson (1934), also for a number of images that is no integer.

    Args:
        share: of correct predictions, in [0, 1].
        images: how many there are, above 0.
        tail: error on either side; 2.5% if not given, for a 95% interval.

    Example:
        >>> [round(end, 3) for end in binomial_limits(1.0, 1)]
        [0.025, 1.0]
    """
    right = share * images
    low = betaincinv(right, images - right + 1, tail) if share > 0 else 0.0
    high = betaincinv(right + 1, images - right, 1 - tail) if share < 1 else 1.0
    return float(low), float(high)


def standard_error(share: float, images: int) -> float:
    """Standard error of a share of correct predictions, with Agresti and Coull's (1998) two more of each.

    Without these a share of 1 would have no error::

        p = (images share + 2) / (images + 4),    sqrt(p (1 - p) / (images + 4))

    Args:
        share: in [0, 1].
        images: how many there are, at least 1.

    Example:
        >>> round(standard_error(0.98, 50), 3), round(standard_error(1.0, 50), 3)
        (0.031, 0.026)
    """
    p = (images * share + 2) / (images + 4)
    return math.sqrt(p * (1 - p) / (images + 4))


def mean_interval(
    values: np.ndarray,
    *,
    limits: tuple[float, float] | None = None,
    groups: np.ndarray | None = None,
    tail: float = TAIL,
) -> tuple[float, float, float]:
    """Mean with a 95% Student interval over both test images and training seeds.

    The degrees of freedom follow Satterthwaite (1946), see :func:`variance_of_mean`: near S - 1 if seeds
    decide, near N - 1 if test images do. With one training the interval covers test images only.

    Where most values are equal, such as differences between two classifiers that are almost always correct,
    V is too small, and 0 if all are equal. ``limits`` corrects this. The interval is then computed with two
    more test images, one at each limit in all trainings, as in the adjusted Wald interval of Bonett and Price
    (2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired data",
    Journal of Educational and Behavioral Statistics 37), which this function gives for one training, except
    that it divides by N + 1 and takes Student's quantile.

    Args:
        values: float of shape (S, N), S at least 1 and N at least 2.
        limits: smallest and largest value that an image can have; for values that are rarely equal, none.
        groups: g, int of shape (N,), if other test images would have as many in each group. With ``limits``,
            the two images are then added to n images, as many as would have this variance if all groups
            counted by their images: K^2 / sum(1 / N_g) for K groups (Kish 1965).
        tail: error on either side, as of :func:`understudy.functional.simultaneous.simultaneous_tail`.

    Returns:
        Mean, low end, high end; the ends lie within the limits or, without them, the range of ``values``.

    Raises:
        ValueError: for another shape.

    Example:
        >>> [round(end, 3) for end in mean_interval(np.zeros((3, 100)), limits=(-1, 1))]
        [0.0, -0.028, 0.028]
    """
    _check_shape(values)
    padded = values if limits is None or groups is not None else with_images(values, limits)
    variance, freedom = variance_of_mean(padded, groups)
    mean, centre = float(values.mean()), float(padded.mean())
    if limits is not None and groups is not None:
        _, sizes = np.unique(groups, return_counts=True)
        images = len(sizes) ** 2 / float((1 / sizes).sum())
        centre = (images * mean + sum(limits)) / (images + 2)
        further = sum((limit - centre) ** 2 for limit in limits)
        variance = (images**2 * variance + further) / (images + 2) ** 2
    least, most = (float(values.min()), float(values.max())) if limits is None else limits
    half = student(freedom, tail) * math.sqrt(variance)
    return mean, min(mean, max(least, centre - half)), max(mean, min(most, centre + half))


def paired_difference(
    a: np.ndarray, b: np.ndarray, clusters: np.ndarray | None = None
) -> tuple[float, float, float]:
    """Difference of two accuracies on the same test images and with the same seeds, with a 95% interval.

    The difference is taken per image and training, so images that are easy or hard for both cancel; see
    :func:`mean_interval`.

    Args:
        a: bool, or float in [0, 1], of shape (S, N).
        b: the same shape; training i of ``b`` has the seed of training i of ``a``.
        clusters: as for :func:`accuracy_interval`.

    Returns:
        Mean of ``a - b``, low end, high end, in [-1, 1].

    Raises:
        ValueError: if the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"paired values must have the same shape, got {a.shape} and {b.shape}")
    difference = a.astype(np.float64) - b.astype(np.float64)
    return mean_interval(per_cluster(difference, clusters), limits=(-1.0, 1.0))


def with_images(values: np.ndarray, further: tuple[float, float]) -> np.ndarray:
    """Values with two more test images, each with the same value in all trainings.

    Args:
        values: of shape (S, N).
        further: the two values.

    Returns:
        float64 of shape (S, N + 2).

    Raises:
        ValueError: for another shape.
    """
    _check_shape(values)
    return np.concatenate([values, np.broadcast_to(further, (len(values), 2))], axis=1)


def variance_of_mean(values: np.ndarray, groups: np.ndarray | None = None) -> tuple[float, float]:
    """Variance of a mean over images and trainings, and its degrees of freedom.

    Two crossed random effects, images and seeds, and a residual (Searle, Casella and McCulloch 1992,
    "Variance components", chapter 4)::

        V = A + B - E, at least A and at least B

    A is the variance of the N image means divided by N, B that of the S seed means divided by S, and E the
    residual variance divided by N S, which A and B both contain. With groups, A and E are sums over groups of
    the same, times the squared share of the group's images: what groups differ by is no chance. Groups of one
    image count as one group together, rather too wide than without variance (collapsed strata, Cochran 1977,
    "Sampling techniques", section 5A.12). The degrees of freedom are those of Satterthwaite (1946) for the
    parts of A and B.

    Args:
        values: bool or float of shape (S, N), S at least 1 and N at least 2.
        groups: g, int of shape (N,); a single group of one image adds no variance.

    Returns:
        V and f; f is infinite if V is 0.

    Raises:
        ValueError: for another shape.

    Example:
        >>> variance_of_mean(np.array([[0.0, 2.0, 4.0]]))
        (1.3333333333333333, 2.0)
    """
    _check_shape(values)
    num_seeds, num_images = values.shape
    parts = [values] if groups is None else strata(values, groups)
    shares = [part.shape[1] / num_images for part in parts]
    of_images = [share**2 * _image_variance(part) for share, part in zip(shares, parts, strict=True)]
    residual = sum(share**2 * _residual_variance(part) for share, part in zip(shares, parts, strict=True))
    of_seeds = float(values.mean(axis=1).var(ddof=1)) / num_seeds if num_seeds > 1 else 0.0
    both = sum(of_images) + of_seeds
    spread = of_seeds**2 / max(1, num_seeds - 1)
    spread += sum(one**2 / max(1, part.shape[1] - 1) for one, part in zip(of_images, parts, strict=True))
    return max(sum(of_images), of_seeds, both - residual), both**2 / spread if spread > 0 else math.inf


def strata(values: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
    """Split values by group; groups of one image are one group together.

    Args:
        values: of shape (S, N).
        groups: g, int of shape (N,).

    Returns:
        Arrays of shape (S, N_g), in the order of the groups.
    """
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    strata = np.where(sizes[group_of] == 1, -1, group_of)
    return [values[:, strata == stratum] for stratum in np.unique(strata)]


def _image_variance(values: np.ndarray) -> float:
    """Variance of the image means, divided by N; 0 for one image."""
    num_images = values.shape[1]
    return float(values.mean(axis=0).var(ddof=1)) / num_images if num_images > 1 else 0.0


def _residual_variance(values: np.ndarray) -> float:
    """Variance that neither images nor seeds explain, divided by N S; 0 for one image or training."""
    num_seeds, num_images = values.shape
    if min(num_seeds, num_images) < 2:
        return 0.0
    rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    scale = (num_seeds - 1) * (num_images - 1) * num_seeds * num_images
    return float(np.square(rest).sum() / scale)


def _check_shape(values: np.ndarray) -> None:
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2:
        raise ValueError(
            f"values must be of shape (seeds, images) with at least 2 images, got {values.shape}"
        )


def student(freedom: float, tail: float = TAIL) -> float:
    """The quantile of Student's distribution at 1 - ``tail``; of the normal one for infinite ``freedom``."""
    return float(stdtrit(freedom, 1 - tail)) if math.isfinite(freedom) else float(ndtri(1 - tail))


def resampled_means(values: np.ndarray, rng: np.random.Generator, num_resamples: int) -> np.ndarray:
    """Means over resampled trainings and test images; all K quantities share the resamples.

    For figures that are not means, such as the number of real images that a set is worth. Trainings and test
    images are resampled at the same time, each with replacement (Owen 2007, "The pigeonhole bootstrap",
    Annals of Applied Statistics 1). S - 1 trainings and N test images are drawn: S trainings drawn from S
    would have a variance that is too small by a factor (S - 1) / S (Rao and Wu 1988, "Resampling inference
    with complex survey data", JASA 83). The uncertainty of V is not in the resamples, see
    :func:`student_stretch`.

    Args:
        values: float64 of shape (K, S, N).
        rng: source of the resamples.
        num_resamples: R.

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
    kinds_KSU, counts_U = np.unique(values.reshape(-1, num_images), axis=1, return_counts=True)
    step = max(1, _MAX_CELLS // max(len(counts_U), num_values * num_seeds))
    means_RK = np.empty((num_resamples, num_values))
    for start in range(0, num_resamples, step):
        part = slice(start, start + step)
        weights_RU = rng.multinomial(num_images, counts_U / num_images, size=len(means_RK[part])) / num_images
        per_seed_RKS = (weights_RU @ kinds_KSU.T).reshape(-1, num_values, num_seeds)
        means_RK[part] = (per_seed_RKS * seed_weights_RS[part, None]).sum(axis=2)
    return means_RK


def student_stretch(values: np.ndarray) -> float:
    """Ratio of the Student to the normal quantile: how much further a resampled mean lies from the mean.

    With three seeds it lies between 1 and 2.2.

    Args:
        values: float64 of shape (S, N), N at least 2.

    Returns:
        The factor, at least 1; 1 if all values are equal.
    """
    return student(variance_of_mean(values)[1]) / student(math.inf)


def student_interval(values: Sequence[float]) -> dict[str, float]:
    """Mean of independent repetitions with its 95% Student interval.

    A single value or equal values give no width: nothing is then known of their spread.

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
        """Name the three numbers that :func:`mean_interval` and similar functions return.

        Example:
            >>> Interval.of((0.5, 0.25, 0.75)).low
            0.25
        """
        return cls(mean=ends[0], low=ends[1], high=ends[2])
