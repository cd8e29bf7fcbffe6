"""Accuracy over the size of the synthetic set: gain per doubling, and equivalent number of real images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from understudy.functional.intervals import Interval, accuracy_interval, mean_interval, paired_difference
from understudy.functional.learning_curve import gains_per_doubling, log_fit, stops, worth_in_real_images
from understudy.training.records import ArmResult

_RULE = "first size whose interval of the paired difference to real on all images lies above 0"
_TREND_SIZES = 3  # sizes that predict the gain of the next doubling: only the last, because curves flatten


def summarise_scale(
    real: Mapping[int, ArmResult],
    synthetic: Mapping[str, Mapping[float, ArmResult]],
    images: Mapping[float, int],
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Summarise the size of the synthetic set for the section ``scale`` of ``results.json``.

    All intervals are 95% intervals over trainings and test images; see
    :mod:`understudy.functional.intervals`. The fit is computed for each training and test
    image, so it has the same intervals. The intervals of ``worth_real_images`` resample all curves together;
    see :func:`understudy.functional.learning_curve.worth_in_real_images`.

    Args:
        real: result of the arm ``real`` by number of real train images; the largest number is all images.
        synthetic: results by arm and size, where the size is a multiple of the number of real images.
        images: number of synthetic images for every size of any arm.
        num_resamples: bootstrap resamples behind the intervals of ``worth_real_images``.
        seed: seed of the resamples; the figures of an arm do not depend on the other arms.

    Returns:
        ``times`` and ``images`` (all sizes, ascending), ``real`` (``curve``) and ``arms``. Each arm has
        ``curve``, ``minus_real``, ``marginal``, ``log_fit`` and ``next_doubling`` (None with fewer than two
        sizes), ``worth_real_images`` and ``overtakes_real_at``; see ``docs/results_json.md``. Accuracies are
        fractions. The fit is ``accuracy = intercept + per_doubling * log2(images / all real images)``. A
        worth equal to the smallest number of real images means at most that many, and None means more than
        the largest number.

    Raises:
        ValueError: if ``real`` is empty, a size has no number of images, or seeds or test labels differ.
    """
    _check(real, synthetic, images)
    sizes = np.array(sorted(real))
    real_curve = np.stack([real[size].correct for size in sizes.tolist()])
    times = sorted({time for arm in synthetic.values() for time in arm})
    return {
        "times": [float(time) for time in times],
        "images": [int(images[time]) for time in times],
        "real": {
            "curve": [
                {"images": size} | _accuracy(correct)
                for size, correct in zip(sizes.tolist(), real_curve, strict=True)
            ]
        },
        "arms": {
            name: _summarise_arm(sizes, real_curve, arm, images, num_resamples=num_resamples, seed=seed)
            for name, arm in synthetic.items()
            if arm
        },
    }


def _summarise_arm(
    sizes: np.ndarray,
    real_curve: np.ndarray,
    arm: Mapping[float, ArmResult],
    images: Mapping[float, int],
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    times = sorted(arm)
    curve = np.stack([arm[time].correct for time in times])
    points = [{"times": float(time), "images": int(images[time])} for time in times]
    differences = [paired_difference(correct, real_curve[-1]) for correct in curve]
    worth = worth_in_real_images(
        sizes, real_curve, curve, np.random.default_rng(seed), num_resamples=num_resamples
    )
    numbers = np.array([point["images"] for point in points])
    return {
        "curve": [point | _accuracy(correct) for point, correct in zip(points, curve, strict=True)],
        "minus_real": [
            {"times": point["times"]} | asdict(Interval.of(ends))
            for point, ends in zip(points, differences, strict=True)
        ],
        "marginal": _marginal(times, numbers, curve),
        "log_fit": _log_fit(numbers / sizes[-1], curve),
        "next_doubling": _next_doubling(times, numbers, curve),
        "worth_real_images": [
            point | dict(zip(("mean", "low", "high"), map(_finite, ends), strict=True))
            for point, ends in zip(points, worth.tolist(), strict=True)
        ],
        "overtakes_real_at": {
            "times": next(
                (point["times"] for point, (_, low, _) in zip(points, differences, strict=True) if low > 0),
                None,
            ),
            "rule": _RULE,
        },
    }


def stop_reason(
    arms: Mapping[str, Mapping[float, ArmResult]], images: Mapping[float, int], *, below: float
) -> dict[str, Any] | None:
    """The reason to stop trying larger synthetic sets: no arm has clearly gained enough in the last step.

    Validation accuracies decide, compared between trainings with the same seed.

    Args:
        arms: results so far by arm and size; every arm has the same sizes.
        images: number of synthetic images by size.
        below: the smallest gain that justifies a larger set, in percentage points of validation accuracy per
            doubling.

    Returns:
        ``arm`` (the arm with the largest gain), ``at`` (its size), ``gain`` (``mean``, ``low``, ``high``,
        fractions per doubling), ``rule`` and ``sentence``; None with fewer than two sizes, or if an arm
        gained enough.
    """
    if len(images) < 2:
        return None
    before, last = sorted(images)[-2:]
    gains = dict[str, dict[str, float]]()
    for name, results in arms.items():
        values = np.stack([results[before].val_accuracy, results[last].val_accuracy], axis=-1)
        sizes = np.array([images[before], images[last]])
        # If a folder of ready-made images is exhausted, the set has not grown and gains nothing.
        grew = images[last] > images[before]
        ends, gains[name] = stops(
            gains_per_doubling(sizes, values)[:, 0] if grew else np.zeros(len(values)), below=below / 100
        )
        if not ends:
            return None
    arm = max(gains, key=lambda name: gains[name]["mean"])
    mean, low, high = (f"{100 * gains[arm][end]:+.1f}" for end in ("mean", "low", "high"))
    where = f"at {last:g} times the real images"
    return {
        "arm": arm,
        "at": float(last),
        "gain": gains[arm],
        "rule": f"the low end of the last step's gain in validation accuracy per doubling is below {below:g} "
        "points for every arm",
        "sentence": f"stopped {where}: the last step gained {arm} {mean} [{low}, {high}] points of "
        "validation accuracy per doubling",
    }


def _marginal(times: list[float], numbers: np.ndarray, curve: np.ndarray) -> list[dict[str, Any]]:
    """The gain per doubling between neighbouring sizes, without steps that added no image."""
    steps = [index for index in range(len(times) - 1) if numbers[index + 1] > numbers[index]]
    return [
        {"from": float(times[index]), "to": float(times[index + 1])}
        | {"per_doubling": _combined(curve[index : index + 2], _gain(numbers[index : index + 2]))}
        for index in steps
    ]


def _gain(sizes: np.ndarray) -> np.ndarray:
    """The weights of the accuracies at two sizes in the gain per doubling."""
    return gains_per_doubling(sizes, np.eye(2))[:, 0]


def _next_doubling(times: list[float], numbers: np.ndarray, curve: np.ndarray) -> dict[str, Any] | None:
    """Predict the gain from twice the largest set, by extending the line through the last sizes.

    The gain is limited so that accuracy does not exceed 100%.
    """
    last = slice(-_TREND_SIZES, None)
    fit = _log_fit(numbers[last], curve[last])
    if fit is None:
        return None
    room = 1 - float(curve[-1].mean())
    gain = {end: min(value, room) for end, value in fit["per_doubling"].items()}
    return {"times": 2 * float(times[-1]), "images": 2 * int(numbers[-1]), "gain": gain}


def _log_fit(sizes: np.ndarray, curve: np.ndarray) -> dict[str, Any] | None:
    if len(set(sizes.tolist())) < 2:
        return None
    # Intercept and slope are linear in the accuracies, so the mean over the fits for each training and test
    # image is the fit of the mean accuracies.
    weights = log_fit(sizes, np.eye(len(sizes)))
    return {
        name: _combined(curve, of_sizes)
        for name, of_sizes in zip(("intercept", "per_doubling"), weights, strict=True)
    }


def _combined(curve: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """The interval of a weighted sum of the predictions at K sizes, right or wrong, (K, S, N)."""
    limits = float(weights.clip(max=0).sum()), float(weights.clip(min=0).sum())
    return asdict(Interval.of(mean_interval(np.tensordot(weights, curve, axes=1), limits=limits)))


def _check(
    real: Mapping[int, ArmResult],
    synthetic: Mapping[str, Mapping[float, ArmResult]],
    images: Mapping[float, int],
) -> None:
    if not real or min(real) < 1:
        raise ValueError(f"real must have results by number of train images, at least 1, got {sorted(real)}")
    first = real[max(real)]
    named = [(f"real on {size} images", result) for size, result in real.items()]
    for arm, results in synthetic.items():
        unknown = sorted(set(results) - set(images))
        if unknown:
            raise ValueError(f"images must have every size of {arm!r}, got none for {unknown}")
        named += [(f"{arm} at {time} times", result) for time, result in results.items()]
    for name, result in named:
        if result.seeds != first.seeds or not np.array_equal(result.labels, first.labels):
            raise ValueError(f"all results must have the same seeds and test labels; {name} has others")


def _accuracy(correct: np.ndarray) -> dict[str, Any]:
    return asdict(Interval.of(accuracy_interval(correct))) | {"seeds": correct.mean(axis=1).tolist()}


def _finite(size: float) -> float | None:
    """None for infinity, which JSON lacks."""
    return size if np.isfinite(size) else None
