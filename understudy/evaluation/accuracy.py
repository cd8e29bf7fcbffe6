"""Accuracy of arms on real test images: intervals, differences to ``real``, accuracy per class, verdict."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from understudy.functional.intervals import Interval, bootstrap_mean, paired_bootstrap_difference
from understudy.training.records import ArmResult

_BASELINE = "real"
_LONG = "real-long"


def summarise(results: Sequence[ArmResult], *, num_resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Summarise every arm for ``results.json``.

    Args:
        results: one result per arm, including ``real``, all with the same test images and seeds.
        num_resamples: bootstrap resamples behind each interval.
        seed: seed of the resamples; the intervals of an arm do not depend on the other arms.

    Returns:
        By arm name: ``accuracy`` (``mean``, ``low``, ``high``, and one value per training in ``seeds``),
        ``val_accuracy`` (mean over trainings), ``per_class`` (mean over trainings; None for a class without
        test images), ``minus_real`` (``mean``, ``low``, ``high``; zeros for ``real``), ``steps`` per
        training, and ``seconds``. Accuracies are fractions. If an arm has as many steps as the arm
        ``real-long`` but not as many as ``real``, it also has ``minus_real_long``. An arm with strategies
        also has ``minus_plain``, the difference to the same arm without them, if that arm exists.

    Raises:
        ValueError: if ``real`` is missing, or seeds or labels differ.
    """
    by_name = {result.arm: result for result in results}
    if _BASELINE not in by_name:
        raise ValueError(f"the arm {_BASELINE!r} must be among the results, got {sorted(by_name)}")
    real = by_name[_BASELINE]
    for result in results:
        if result.seeds != real.seeds or not np.array_equal(result.labels, real.labels):
            raise ValueError(
                f"arms must have the seeds and test labels of {_BASELINE!r}, but {result.arm!r} has others"
            )
    long = by_name.get(_LONG)
    summarise_one = partial(_summarise_one, real=real, long=long, num_resamples=num_resamples, seed=seed)
    return {
        result.arm: summarise_one(result, plain=by_name.get(result.arm.split("@")[0])) for result in results
    }


def confusion(result: ArmResult) -> np.ndarray:
    """Count how often each true class was predicted as each class, over all trainings.

    Returns:
        int64 of shape (C, C), true classes in rows; the sum is trainings times test images.
    """
    num_seeds, _, num_classes = result.probabilities.shape
    cells = np.tile(result.labels, num_seeds) * num_classes + result.probabilities.argmax(axis=-1).ravel()
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def verdict(
    arms: Mapping[str, Mapping[str, Any]], *, uses_synthetic: Collection[str], num_test: int
) -> dict[str, Any]:
    """Decide whether synthetic images help, and say so in one sentence.

    The arm is chosen by validation accuracy and judged by test accuracy, so the choice does not bias the
    result. It is compared with ``real``, or with ``real-long`` if it was trained for longer and that arm has
    the same number of steps.

    Args:
        arms: the result of :func:`summarise`.
        uses_synthetic: names of the arms that use synthetic images.
        num_test: number of test images.

    Returns:
        ``best`` (among the arms with synthetic images, the first one with the highest mean validation
        accuracy; ``real`` if there is none), ``chosen_on`` (``val``), ``helps`` (whether the 95% interval of
        the difference lies above 0) and ``sentence``.
    """
    candidates = [name for name in arms if name in uses_synthetic]
    real = arms[_BASELINE]["accuracy"]
    terms = f"on {num_test:,} real test images ({len(real['seeds'])} seeds)"
    if not candidates:
        sentence = (
            "No arm used synthetic images, so nothing is known of their worth: "
            f"real images alone give {real['mean']:.1%} {terms}."
        )
        return {"best": _BASELINE, "chosen_on": "val", "helps": False, "sentence": sentence}
    best = max(candidates, key=lambda name: arms[name]["val_accuracy"])
    equal_steps = "minus_real_long" in arms[best]
    difference = arms[best]["minus_real_long" if equal_steps else "minus_real"]
    mean, low, high = (100 * difference[end] for end in ("mean", "low", "high"))
    against = arms[_LONG if equal_steps else _BASELINE]["accuracy"]["mean"]
    figures = f"{arms[best]['accuracy']['mean']:.1%} against {against:.1%} {terms}."
    alone = f"the real images alone{f' for as many steps ({_LONG})' if equal_steps else ''}"
    if low > 0:
        claim = f"{best} beats training on {alone} by {mean:.1f} points [{low:.1f}, {high:.1f}]"
    elif high < 0:
        claim = (
            f"Synthetic images do not help here: {best} is worse than {alone} "
            f"by {-mean:.1f} points [{-high:.1f}, {-low:.1f}]"
        )
    else:
        claim = (
            f"This test shows no difference between {best} and {alone}, "
            f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]"
        )
    if arms[best]["steps"] != arms[_BASELINE]["steps"] and not equal_steps:
        lengths = f"{arms[best]['steps']:,} steps, {_BASELINE} {arms[_BASELINE]['steps']:,}"
        figures += f" It made {lengths}: add the arm {_LONG} to see what the images add."
    return {"best": best, "chosen_on": "val", "helps": low > 0, "sentence": f"{claim}: {figures}"}


def _summarise_one(
    result: ArmResult,
    *,
    real: ArmResult,
    long: ArmResult | None,
    plain: ArmResult | None,
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    correct = result.correct

    def minus(other: ArmResult) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        return asdict(
            Interval.of(paired_bootstrap_difference(correct, other.correct, rng, num_resamples=num_resamples))
        )

    accuracy = bootstrap_mean(correct, np.random.default_rng(seed), num_resamples=num_resamples)
    is_longer = long is not None and result.arm != _LONG and result.steps == long.steps != real.steps
    counts = np.bincount(result.labels, minlength=result.probabilities.shape[-1])
    hits = np.bincount(result.labels, weights=correct.mean(axis=0), minlength=len(counts))
    return {
        "accuracy": asdict(Interval.of(accuracy)) | {"seeds": correct.mean(axis=1).tolist()},
        "val_accuracy": float(np.mean(result.val_accuracy)),
        "per_class": [float(hit / count) if count else None for hit, count in zip(hits, counts, strict=True)],
        "minus_real": asdict(Interval.of((0.0, 0.0, 0.0))) if result.arm == _BASELINE else minus(real),
        **({"minus_real_long": minus(long)} if is_longer and long is not None else {}),
        **({"minus_plain": minus(plain)} if plain is not None and plain is not result else {}),
        "steps": result.steps,
        "seconds": result.seconds,
    }
