"""The report's panel on classes: recall and precision of every arm, beside the numbers of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.data.labelled_set import LabelledSet


def class_table(
    results: Mapping[str, Any], train: LabelledSet, synthetic: LabelledSet
) -> list[dict[str, Any]]:
    """Return images, agreement, recall (None without test images) and precision of every arm per class.

    Runs of older versions have neither ``test`` nor ``precision``, and no ``intervals`` of the recall.

    Args:
        results: content of ``results.json``.
        train: real train images.
        synthetic: synthetic images of the same classes.
    """
    arms, test = results["arms"], results["data"].get("per_class", {}).get("test")
    agreement = results.get("fidelity", {}).get("agreement", {}).get("per_class")
    return [
        {
            "name": name,
            "train": int(train.counts[label]),
            "synthetic": int(synthetic.counts[label]),
            "agreement": agreement[label] if agreement else None,
            "recall": {arm: measured["per_class"][label] for arm, measured in arms.items()},
            "intervals": {
                arm: measured["per_class_intervals"][label]
                for arm, measured in arms.items()
                if measured.get("per_class_intervals")
            },
            "precision": {
                arm: measured["precision_per_class"][label]
                for arm, measured in arms.items()
                if "precision_per_class" in measured
            },
            **({"test": test[label]} if test else {}),
        }
        for label, name in enumerate(train.class_names)
    ]
