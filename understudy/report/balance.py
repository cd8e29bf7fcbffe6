"""What the page and the terminal say about test sets with classes of different sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.evaluation.class_sizes import constant_answer, is_unbalanced, too_few_test_images


def baseline(results: Mapping[str, Any]) -> dict[str, Any]:
    """What always answering the largest class reaches; empty for a balanced or uncounted test set.

    Args:
        results: content of ``results.json``; runs of older versions have no numbers of images per class.
    """
    data = results["data"]
    counts = data.get("per_class", {}).get("test", ())
    return constant_answer(data["classes"], counts) if is_unbalanced(counts) else {}


def measure_of(results: Mapping[str, Any]) -> str:
    """The measure that the verdict is about; runs of older versions knew only accuracy."""
    return str(results["verdict"].get("measure", "accuracy"))


def small_classes(results: Mapping[str, Any]) -> str:
    """Name the classes with too few test images; empty if there are none, or they were not counted."""
    data = results["data"]
    counts = data.get("per_class", {}).get("test")
    return too_few_test_images(data["classes"], counts) if counts else ""
