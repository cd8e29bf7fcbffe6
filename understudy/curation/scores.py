"""Scores of drawn images: higher is better, 0 to 1. An image of score 0 is not kept at any threshold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.registry import Registry
from understudy.curation.settings import CurateSettings
from understudy.data.labelled_set import LabelledSet


class Classifier(Protocol):
    """Anything that gives class probabilities."""

    def predict(self, data: LabelledSet) -> np.ndarray:
        """Probabilities, float64 of shape (N, num_classes), rows sum to 1."""


JudgeName = Literal["real", "clip", "none"]
ScoreFunction = Callable[[LabelledSet, Classifier], np.ndarray]


@final
@dataclass(frozen=True, kw_only=True)
class Judges:
    """Classifiers that scores may ask, each made when it is first needed.

    Attributes:
        real: gives the one trained on real train images only.
        clip: gives the zero-shot one.
    """

    real: Callable[[], Classifier]
    clip: Callable[[], Classifier]

    def get(self, name: JudgeName) -> Classifier:
        """The judge that a score asks; ``none`` agrees to everything."""
        return _Agreeing() if name == "none" else getattr(self, name)()


@final
@dataclass(frozen=True)
class Score:
    """How images are scored.

    Attributes:
        function: N images, whose labels are what they are meant to show, and a judge to float64 (N,), 0 to 1.
        judge: whom it asks.
        threshold: lowest score that is kept unless settings say otherwise.
    """

    function: ScoreFunction
    judge: JudgeName
    threshold: float | Literal["validation"]

    def __call__(self, drawn: LabelledSet, judge: Classifier) -> np.ndarray:
        """Scores, float64 of shape (N,)."""
        return self.function(drawn, judge)


SCORES: Registry[Score] = Registry("score")


def asks(judge: JudgeName, *, threshold: float | Literal["validation"]) -> Callable[[ScoreFunction], Score]:
    """Decorator that makes a score of a function; for the arguments see :class:`Score`."""
    return lambda function: Score(function, judge, threshold)


@SCORES.register(
    "agreement",
    summary="a classifier trained on the real train split gives the intended class this probability, "
    "relative "
    "to its first choice",
)
@asks("real", threshold=0.5)
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
    return np.asarray(_of_intended(probabilities, drawn) / probabilities.max(axis=1))


@SCORES.register(
    "confidence",
    summary="probability of the intended class, if a classifier trained on the real train split names that "
    "class first; else 0",
)
@asks("real", threshold="validation")
def confidence(drawn: LabelledSet, judge: Classifier) -> np.ndarray:
    """Probability of the intended class where it is the judge's first choice, 0 elsewhere.

    The dynamic sample filter of GaFi (Lampis et al. 2023, arXiv:2305.10118). There a sample must lie above
    the threshold, here at it or above; a threshold of 0 keeps what the judge names as intended.

    Args:
        drawn: N synthetic images.
        judge: classifier trained on real train images only.

    Returns:
        float64 of shape (N,), in [0, 1].
    """
    probabilities = judge.predict(drawn)
    return np.where(probabilities.argmax(axis=1) == drawn.labels, _of_intended(probabilities, drawn), 0.0)


@SCORES.register(
    "clip",
    summary="probability of the intended class under zero-shot CLIP, if it is above chance; else 0",
)
@asks("clip", threshold=0.0)
def clip(drawn: LabelledSet, judge: Classifier) -> np.ndarray:
    """Probability of the intended class where it is above one over the number of classes, 0 elsewhere.

    The CLIP filter of He et al. 2023 (arXiv:2210.07574); a probability of exactly chance is rejected.

    Args:
        drawn: N synthetic images.
        judge: zero-shot classifier over one prompt per class.

    Returns:
        float64 of shape (N,), in [0, 1].
    """
    probabilities = judge.predict(drawn)
    intended = _of_intended(probabilities, drawn)
    return np.where(intended > 1 / probabilities.shape[1], intended, 0.0)


# A judge that agrees to everything gives every image 1.
SCORES.register("none", summary="every image scores 1: nothing is rejected for its looks")(
    Score(agreement, "none", 0.0)
)


def lowest_kept(val: LabelledSet, judge: Classifier, *, settings: CurateSettings) -> float:
    """The threshold that settings ask for.

    Args:
        val: real validation images; used only if the threshold comes from them.
        judge: that of the score.
        settings: score, threshold, and the share of validation images that is to pass.

    Returns:
        The setting, the score's own if it is not set, or the largest score that at least ``validation_pass``
        of the real validation images reach.

    Raises:
        InputError: for a set of another split, or one without images.
    """
    score = SCORES[settings.score]
    threshold = score.threshold if settings.threshold is None else settings.threshold
    if threshold != "validation":
        return threshold
    val.require("val", purpose="taking a threshold from real images")
    if not len(val):
        raise InputError(
            "curate.threshold 'validation' needs real validation images, got none: set curate.threshold "
            "to a number"
        )
    passing = math.ceil(round(settings.validation_pass * len(val), 9))
    return float(np.sort(score(val, judge))[len(val) - passing])


def _of_intended(probabilities: np.ndarray, drawn: LabelledSet) -> np.ndarray:
    return np.asarray(probabilities[np.arange(len(drawn)), drawn.labels])


@final
class _Agreeing:
    """Names every image as intended."""

    def predict(self, data: LabelledSet) -> np.ndarray:
        return np.asarray(np.eye(data.num_classes)[data.labels])
