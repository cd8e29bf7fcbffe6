"""Scores of drawn images: higher is better, 0 to 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from understudy.data import LabelledSet
from understudy.nouns import Classifier
from understudy.registry import Registry

Score = Callable[[LabelledSet, Classifier], np.ndarray]

SCORES: Registry[Score] = Registry("score")


@SCORES.register(
    "agreement",
    summary="a classifier trained on the real train split gives the intended class this probability, relative to its first choice",
)
def agreement(drawn: LabelledSet, judge: Classifier) -> np.ndarray:
    """Probability of the intended class over that of the judge's first choice.

    1 where the judge would have named the intended class; below, how far it was from doing so.

    Args:
        drawn: N synthetic images.
        judge: classifier trained on real train images only.

    Returns:
        float64 of shape (N,), in [0, 1].
    """
    probabilities = judge.predict(drawn)
    return np.asarray(probabilities[np.arange(len(drawn)), drawn.labels] / probabilities.max(axis=1))


@SCORES.register("none", summary="every image scores 1: nothing is rejected for its looks")
def _none(drawn: LabelledSet, judge: Classifier) -> np.ndarray:
    return np.ones(len(drawn))
