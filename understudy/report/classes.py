"""The report's section on classes: a table with the images behind each figure, and which classes are mistaken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from understudy.data.labelled_set import LabelledSet
from understudy.report import figures

MAX_CLASSES_SHOWN = 30


def class_table(results: Mapping[str, Any], train: LabelledSet, synthetic: LabelledSet) -> list[dict[str, Any]]:
    """Per class: images, agreement and accuracy of every arm (None without test images).

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


def matrices(confusions: Mapping[str, np.ndarray], class_names: Sequence[str], arms: Sequence[str]) -> dict[str, Markup]:
    """A confusion matrix per compared arm, none if there are too many classes to read one.

    Args:
        confusions: per arm, counts of shape (C, C), rows true.
        class_names: C names.
        arms: the arms to look at; those without a matrix are passed over.
    """
    if len(class_names) > MAX_CLASSES_SHOWN:
        return {}
    return {
        arm: Markup(figures.confusion_matrix(confusions[arm], class_names, title=f"Confusion matrix of the arm {arm}"))  # noqa: S704 - our own
        for arm in dict.fromkeys(arms)
        if arm in confusions
    }


def confused_pairs(
    confusions: Mapping[str, np.ndarray], class_names: tuple[str, ...], arms: list[str], *, count: int
) -> list[dict[str, Any]]:
    """The most frequent mistakes of the compared arms.

    Args:
        confusions: per arm, counts of shape (C, C), rows true.
        class_names: C names.
        arms: the arms to look at; those without a matrix are passed over.
        count: pairs at most.

    Returns:
        Per pair of classes ``true``, ``named``, ``labels`` (the two as numbers) and ``shares``: by arm, the share of the true class that
        is named so; largest first.
    """
    shares = {}
    for arm in arms:
        if arm in confusions:
            shares[arm] = confusions[arm] / np.maximum(confusions[arm].sum(axis=1, keepdims=True), 1)
            np.fill_diagonal(shares[arm], 0)
    if not shares:
        return []
    worst = np.max(list(shares.values()), axis=0)
    order = np.argsort(-worst, axis=None, kind="stable")[:count]
    pairs = [divmod(int(place), len(class_names)) for place in order if worst.flat[place] > 0]
    return [
        {
            "true": class_names[row],
            "named": class_names[column],
            "labels": (row, column),
            "shares": {arm: float(table[row, column]) for arm, table in shares.items()},
        }
        for row, column in pairs
    ]
