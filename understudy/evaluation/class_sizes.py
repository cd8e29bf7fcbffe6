"""What the numbers of images per class mean for a comparison: measure, baseline, and classes with too few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from understudy.core.listing import listed

FEWEST_TEST_IMAGES = 5
"""With fewer test images of a class, one image changes the recall of the class by more than 20 points."""

_BALANCED_UP_TO = 1.5
_ACCURACY_UP_TO = 3.0

MEASURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
"""Measures that a verdict can be about, with their words."""


def size_ratio(counts: Sequence[int]) -> float:
    """Images of the largest class per image of the smallest; classes without images do not count.

    Example:
        >>> size_ratio([40, 2, 0])
        20.0
    """
    sizes = [count for count in counts if count]
    return max(sizes) / min(sizes) if sizes else 1.0


def is_unbalanced(counts: Sequence[int]) -> bool:
    """Whether the largest class has more than 1.5 times as many images as the smallest."""
    return size_ratio(counts) > _BALANCED_UP_TO


def measure_of_verdict(setting: str, arms: Mapping[str, Mapping[str, Any]], counts: Sequence[int]) -> str:
    """The measure that a verdict is about.

    Args:
        setting: ``compare.verdict``.
        arms: the result of :func:`understudy.evaluation.accuracy.summarise`; runs of older versions have no
            balanced accuracy.
        counts: test images of each class; empty for runs of older versions.

    Returns:
        A key of :data:`MEASURES`.
    """
    if not all("balanced_accuracy" in arm for arm in arms.values()):
        return "accuracy"
    if setting != "auto":
        return setting
    return "balanced_accuracy" if size_ratio(counts) > _ACCURACY_UP_TO else "accuracy"


def constant_answer(class_names: Sequence[str], counts: Sequence[int]) -> dict[str, Any]:
    """What a classifier reaches that names the largest class for every image.

    Args:
        class_names: names by label.
        counts: test images of each class, at least one in all.

    Returns:
        ``class`` (its name), ``accuracy``, ``balanced_accuracy`` and ``macro_f1``, fractions.

    Example:
        >>> constant_answer(["good", "faulty"], [30, 10])["accuracy"]
        0.75
    """
    share, num_classes = max(counts) / sum(counts), np.count_nonzero(counts)
    return {
        "class": class_names[int(np.argmax(counts))],
        "accuracy": share,
        "balanced_accuracy": 1 / num_classes,
        "macro_f1": 2 * share / (1 + share) / num_classes,
    }


def too_few_test_images(class_names: Sequence[str], counts: Sequence[int]) -> str:
    """Name the classes with fewer than five test images in a sentence; empty if there are none.

    Example:
        >>> too_few_test_images(["good", "faulty"], [40, 2])[:42]
        'The test set is too small for faulty (2): '
    """
    small = [
        f"{name} ({count})"
        for name, count in zip(class_names, counts, strict=True)
        if count < FEWEST_TEST_IMAGES
    ]
    if not small:
        return ""
    return (
        f"The test set is too small for {listed(small)}: with fewer than {FEWEST_TEST_IMAGES} test images, "
        "one image changes the recall of a class by more than 20 points, so add test images."
    )


def classes_without_synthetic(class_names: Sequence[str], counts: Sequence[int]) -> str:
    """Name the classes without a synthetic image in a sentence; empty if there are none.

    Example:
        >>> classes_without_synthetic(["good", "scratch", "dent"], [9, 0, 0])
        'No synthetic image of: scratch, dent (2 of 3 classes).'
    """
    empty = [name for name, count in zip(class_names, counts, strict=True) if not count]
    return f"No synthetic image of: {listed(empty)} ({len(empty)} of {len(counts)} classes)." if empty else ""
