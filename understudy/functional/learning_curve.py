"""Accuracy over the number of images: what each doubling adds, and how many real images a result is worth.

Symbols::

    n, sizes     numbers of images, one per point of the curve         (K,)
    values       accuracy at each size                                 (K,), or (..., K)
    a, b         accuracy = a + b log2(n), so each doubling of n adds b
    S, N, R      trainings, test images, resamples, as in :mod:`understudy.functional.intervals`
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from understudy.functional.intervals import resampled_means, student_interval, student_stretch

_ENDS = (0.025, 0.975)


def log_fit(sizes: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares line of accuracy over the logarithm of the size: ``value = a + b log2(n)``.

    Sun et al. 2017 (arXiv:1707.02968) found accuracy to grow with the logarithm of the training set.

    Args:
        sizes: n, of shape (K,), positive, not all equal.
        values: float of shape (..., K).

    Returns:
        Intercept a (the value at n = 1) and slope b (the gain of each doubling), float of shape (...).

    Raises:
        ValueError: for other shapes or sizes.

    Example:
        >>> # Real-Fake, Table 4: ImageNet, synthetic alone:
        >>> a, b = log_fit(np.array([1, 2, 5, 10]), np.array([70.9, 72.9, 74.5, 76.0]))
        >>> round(float(a), 1), round(float(b), 1)
        (71.1, 1.5)
    """
    sizes, values = np.asarray(sizes, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if sizes.ndim != 1 or values.shape[-1:] != sizes.shape:
        raise ValueError(f"sizes and values must be (K,) and (..., K), got {sizes.shape} and {values.shape}")
    if len(np.unique(sizes)) < 2 or sizes.min() <= 0:
        raise ValueError(f"sizes must be positive and not all equal, got {sizes.tolist()}")
    x = np.log2(sizes)
    centred = x - x.mean()
    # The values are centred too, so that the slope of equal values is exactly 0.
    slope = (values - values.mean(axis=-1, keepdims=True)) @ centred / (centred @ centred)
    return values.mean(axis=-1) - slope * x.mean(), slope


def increasing(values: np.ndarray) -> np.ndarray:
    """Least squares fit that never falls with the index: isotonic regression.

    It uses the min-max formula (Barlow et al. 1972, "Statistical Inference under Order Restrictions"),
    ``fit_i = max over j <= i of min over k >= i of mean(values_j .. values_k)``; pooling adjacent violators
    gives the same result.

    Args:
        values: float of shape (..., K), K at least 1, ordered by size.

    Returns:
        float64 of the same shape.

    Raises:
        ValueError: for a scalar or an empty curve.

    Example:
        >>> increasing(np.array([0.5, 0.75, 0.25, 1.0]))
        array([0.5, 0.5, 0.5, 1. ])
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim < 1 or not values.shape[-1]:
        raise ValueError(f"values must be (..., K) with K > 0, got {values.shape}")
    num = values.shape[-1]
    fit = np.full(values.shape, -np.inf)
    for start in range(num):
        means = np.cumsum(values[..., start:], axis=-1) / np.arange(1, num - start + 1)
        smallest_from = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
        fit[..., start:] = np.maximum(fit[..., start:], smallest_from)
    return fit


def invert(sizes: np.ndarray, values: np.ndarray, wanted: float) -> float:
    """Smallest size at which a learning curve reaches a value.

    The curve is linear in log n between the measured sizes, and is not extrapolated.

    Args:
        sizes: n, of shape (K,), positive, increasing.
        values: float of shape (K,), never falling; see :func:`increasing`.
        wanted: the value to reach.

    Returns:
        The size, in [n_1, n_K]. n_1 means "at most n_1", because a smaller set might suffice; ``inf`` means
        "more than n_K", because even the largest measured set does not reach the value.

    Raises:
        ValueError: if sizes do not increase, values fall, or shapes do not match.

    Example:
        >>> sizes, values = np.array([100, 400]), np.array([0.5, 0.7])
        >>> [round(invert(sizes, values, wanted)) for wanted in (0.4, 0.6)], invert(sizes, values, 0.8)
        ([100, 200], inf)
    """
    sizes, values = np.asarray(sizes, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if sizes.ndim != 1 or not len(sizes) or sizes[0] <= 0 or (np.diff(sizes) <= 0).any():
        raise ValueError(f"sizes must be positive and increase, got {sizes.tolist()}")
    if values.shape != sizes.shape or (np.diff(values) < 0).any():
        raise ValueError(f"values must be one per size and never fall, got {values.tolist()}")
    after = int(np.searchsorted(values, wanted))
    if after == 0:
        return float(sizes[0])
    if after == len(sizes):
        return math.inf
    share = (wanted - values[after - 1]) / (values[after] - values[after - 1])
    return float(sizes[after - 1] * (sizes[after] / sizes[after - 1]) ** share)


def gains_per_doubling(sizes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Gain of each step of a curve per doubling of the size: ``(v_{k+1} - v_k) / log2(n_{k+1} / n_k)``.

    Args:
        sizes: n, of shape (K,), K at least 2, positive, increasing.
        values: float or bool of shape (..., K).

    Returns:
        float64 of shape (..., K - 1), in the unit of ``values``.

    Raises:
        ValueError: for other shapes or sizes.

    Example:
        >>> gains_per_doubling(np.array([1, 2, 8]), np.array([70.0, 72.0, 73.0]))
        array([2. , 0.5])
    """
    sizes, values = np.asarray(sizes, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if sizes.ndim != 1 or len(sizes) < 2 or values.shape[-1:] != sizes.shape:
        raise ValueError(
            f"sizes and values must be (K,) and (..., K) with K > 1, got {sizes.shape} and {values.shape}"
        )
    if sizes[0] <= 0 or (np.diff(sizes) <= 0).any():
        raise ValueError(f"sizes must be positive and increase, got {sizes.tolist()}")
    return np.asarray(np.diff(values, axis=-1) / np.diff(np.log2(sizes)))


def gain_of_second_half(steps: Sequence[int], values: Sequence[float]) -> float | None:
    """Gain from the middle of a training to its end; the curve is linear between its points.

    Args:
        steps: of K points along one training, increasing; the last one is its end.
        values: accuracy at each of them.

    Returns:
        The gain, in the unit of ``values``; None without a point at or before the middle.

    Raises:
        ValueError: if steps do not increase, or their number is not that of the values.

    Example:
        >>> gain_of_second_half([10, 50, 100], [0.5, 0.75, 0.875])
        0.125
    """
    if len(steps) != len(values) or not len(steps) or steps[0] <= 0 or (np.diff(steps) <= 0).any():
        raise ValueError(f"steps must be positive, increase and have a value each, got {[*steps]}")
    middle = steps[-1] / 2
    return None if steps[0] > middle else float(values[-1] - np.interp(middle, steps, values))


def fall_of_second_half(steps: Sequence[int], losses: Sequence[float]) -> float | None:
    """Share by which the second half of a training has lowered the lowest loss.

    Args:
        steps: of K points along one training, ascending, not negative; the last one is its end.
        losses: loss at each of them, positive.

    Returns:
        In [0, 1): 0 if the lowest loss is in the first half; None without a point in either half.

    Raises:
        ValueError: if there are no points, or not as many steps as losses.

    Example:
        >>> fall_of_second_half([0, 50, 75, 100], [1.0, 0.5, 0.375, 0.4])
        0.25
    """
    if len(steps) != len(losses) or not len(steps):
        raise ValueError(f"steps must have a loss each, got {len(steps)} and {len(losses)}")
    before = [loss for step, loss in zip(steps, losses, strict=True) if step <= steps[-1] / 2]
    return 1 - min(losses) / min(before) if 0 < len(before) < len(losses) else None


def stops(gains: np.ndarray, *, below: float) -> tuple[bool, dict[str, float]]:
    """The rule that ends a search over sizes: stop unless the last step has clearly gained enough.

    Args:
        gains: gain per doubling in the last step, one per training, float (S,); each compares two trainings
            with the same seed.
        below: the smallest gain per doubling that justifies another size, in the unit of ``gains``.

    Returns:
        Whether to stop, which is whether the low end of the 95% Student interval of the mean gain is below
        ``below``; and that interval.

    Raises:
        ValueError: if ``gains`` is empty.

    Example:
        >>> stops(np.array([1.9, 2.0, 2.1]), below=1.0)[0], stops(np.array([1.0, 2.0, 3.0]), below=1.0)[0]
        (False, True)
    """
    interval = student_interval(gains.tolist())
    return interval["low"] < below, interval


def resampled_curves(values: np.ndarray, rng: np.random.Generator, *, num_resamples: int) -> np.ndarray:
    """Mean at every point of a curve over resampled trainings and test images, shared by all points.

    The resampling is that of :func:`understudy.functional.intervals.resampled_means`. Images that are easy or
    hard at all points move them together and cancel in differences.

    Args:
        values: bool or float of shape (K, S, N): points, trainings, test images; training s has the same seed
            at each point.
        rng: source of the resamples.
        num_resamples: R.

    Returns:
        float64 of shape (R, K).

    Raises:
        ValueError: for another shape.
    """
    if values.ndim != 3 or not values.shape[0] or not values.shape[1] or values.shape[2] < 2:
        raise ValueError(
            f"values must be of shape (points, seeds, images) with at least 2 images, got {values.shape}"
        )
    return resampled_means(values.astype(np.float64), rng, num_resamples)


def worth_in_real_images(
    sizes: np.ndarray, real: np.ndarray, others: np.ndarray, rng: np.random.Generator, *, num_resamples: int
) -> np.ndarray:
    """Number of real images that give the accuracy of other training sets, with 95% intervals.

    The number comes from :func:`invert` on the :func:`increasing` fit of the real curve, and its interval
    from the same on :func:`resampled_curves`. Resampled accuracies are first stretched away from their mean
    by Student's factor, see :func:`understudy.functional.intervals.student_stretch`. The factor is that of
    the difference between the training set and the real curve at the resulting size, because this difference
    determines the size.

    Args:
        sizes: numbers of real images, of shape (K,), positive, increasing.
        real: bool or float of shape (K, S, N), whether each prediction is correct after training on that many
            real images.
        others: bool or float of shape (T, S, N), the same for T other training sets.
        rng: source of the resamples.
        num_resamples: R.

    Returns:
        float64 of shape (T, 3): size, low end, high end, each in [n_1, n_K] or ``inf``, with the meaning that
        they have in :func:`invert`.

    Raises:
        ValueError: for other shapes or sizes.
    """
    if (
        real.ndim != 3
        or others.ndim != 3
        or real.shape[1:] != others.shape[1:]
        or real.shape[:1] != np.shape(sizes)
    ):
        raise ValueError(
            "sizes, real and others must be (K,), (K, S, N) and (T, S, N), "
            f"got {np.shape(sizes)}, {real.shape} and {others.shape}"
        )
    num_real = len(real)
    values = np.concatenate([real, others]).astype(np.float64)
    means_K = values.mean(axis=(1, 2))
    moves_RK = resampled_curves(values, rng, num_resamples=num_resamples) - means_K
    found = np.empty((len(others), 3))
    for row in range(len(others)):
        which = [*range(num_real), num_real + row]
        size = invert(sizes, increasing(means_K[:num_real]), float(means_K[num_real + row]))
        stretch = student_stretch(values[num_real + row] - _at_size(sizes, values[:num_real], size))
        curves = means_K[which] + stretch * moves_RK[:, which]
        fits = increasing(curves[:, :-1])
        resampled = [invert(sizes, fit, wanted) for fit, wanted in zip(fits, curves[:, -1], strict=True)]
        # No interpolation between two resamples, because either may be infinite.
        low, high = np.quantile(resampled, _ENDS, method="inverted_cdf")
        found[row] = size, min(size, low), max(size, high)
    return found


def _at_size(sizes: np.ndarray, values: np.ndarray, size: float) -> np.ndarray:
    """Values (K, S, N), interpolated at a size, (S, N); those of the largest size for ``inf``."""
    place = np.interp(np.log(min(size, float(sizes[-1]))), np.log(sizes), np.arange(len(sizes)))
    before = min(int(place), len(sizes) - 1)
    after = min(before + 1, len(sizes) - 1)
    return np.asarray(values[before] + (place - before) * (values[after] - values[before]))
