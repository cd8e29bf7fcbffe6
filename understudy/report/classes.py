"""The report's panel on classes: accuracy of every arm on each class, beside its numbers of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.data.labelled_set import LabelledSet


def class_table(
    results: Mapping[str, Any], train: LabelledSet, synthetic: LabelledSet
) -> list[dict[str, Any]]:
    """Return images, agreement and accuracy of every arm per class (None without test images).

    Args:
        results: content of ``results.json``.
        train: real train images.
        synthetic: synthetic images of the same classes.
    """
    agreement = results.get("fidelity", {}).get("agreement", {}).get("per_class")
    return [
        {
            "name": name,
            "train": int(train.counts[label]),
            "synthetic": int(synthetic.counts[label]),
            "agreement": agreement[label] if agreement else None,
            "accuracy": {arm: measured["per_class"][label] for arm, measured in results["arms"].items()},
        }
        for label, name in enumerate(train.class_names)
    ]
