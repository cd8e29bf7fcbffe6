"""Scores of drawn images, from 0 to 1; higher is better. An image of score 0 is rejected at any threshold."""

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
        """Probabilities, float64 (N, num_classes); rows sum to 1."""


class Networks(Protocol):
    """The networks that curation may use; each is built when it is first used."""

    @property
    def judge(self) -> Classifier:
        """A classifier trained on the real train images alone."""

    @property
    def clip(self) -> Classifier:
        """A zero-shot classifier that knows the classes by their names."""

    def features(self, data: LabelledSet) -> np.ndarray:
        """The features that selections compare, float (N, D)."""

    def trained_on(self, synthetic: LabelledSet) -> Classifier:
        """A new classifier, trained on these synthetic images alone."""


JudgeName = Literal["real", "clip", "none"]
ScoreFunction = Callable[[LabelledSet, Classifier], np.ndarray]


@final
@dataclass(frozen=True)
class Score:
    """How images are scored.

    Attributes:
        function: computes scores, float64 (N,) in [0, 1], from N images, labelled with their intended
            classes, and a judge.
        judge: the classifier that judges the images: ``real`` is :attr:`Networks.judge`, ``clip`` is
            :attr:`Networks.clip`, and ``none`` gives every image its intended class.
        threshold: default of the lowest score to keep.
    """

    function: ScoreFunction
    judge: JudgeName
    threshold: float | Literal["validation"]

    def __call__(self, drawn: LabelledSet, judge: Classifier) -> np.ndarray:
        """Scores, float64 (N,)."""
        return self.function(drawn, judge)

    def find_judge(self, networks: Networks) -> Classifier:
        """The classifier that judges the images."""
        if self.judge == "none":
            return _Agreeing()
        return networks.judge if self.judge == "real" else networks.clip


SCORES: Registry[Score] = Registry("score")


def asks(judge: JudgeName, *, threshold: float | Literal["validation"]) -> Callable[[ScoreFunction], Score]:
    """Decorator that turns a function into a score; for the arguments see :class:`Score`."""
    return lambda function: Score(function, judge, threshold)


@SCORES.register(
    "agreement",
    summary="probability of the intended class / highest probability, by a classifier of real images",
)
@asks("real", threshold=0.5)
def agreement(drawn: LabelledSet, judge: Classifier) -> np.ndarray:
    """Probability of the intended class, divided by that of the judge's first choice.

    It is 1 if the judge's first choice is the intended class, and lower the less likely the judge finds it.

    Args:
        drawn: N synthetic images.
        judge: classifier trained on the real train images alone.

    Returns:
        float64 (N,), in [0, 1].
    """
    probabilities = judge.predict(drawn)
    return np.asarray(_of_intended(probabilities, drawn) / probabilities.max(axis=1))


@SCORES.register(
    "confidence",
    summary="probability of the intended class if a classifier of real images ranks it first; else 0",
)
@asks("real", threshold="validation")
def confidence(drawn: LabelledSet, judge: Classifier) -> np.ndarray:
    """Probability of the intended class if it is the judge's first choice, otherwise 0.

    The dynamic sample filter of GaFi (Lampis et al. 2023, arXiv:2305.10118). GaFi keeps scores above its
    threshold; here a score equal to the threshold passes too. A threshold of 0 keeps every image that the
    judge assigns to its intended class. Arguments and result are those of :func:`agreement`.
    """
    probabilities = judge.predict(drawn)
    return np.where(probabilities.argmax(axis=1) == drawn.labels, _of_intended(probabilities, drawn), 0.0)


@SCORES.register(
    "clip",
    summary="probability of the intended class by zero-shot CLIP if it is above chance; else 0",
)
@asks("clip", threshold=0.0)
def clip(drawn: LabelledSet, judge: Classifier) -> np.ndarray:
    """Probability of the intended class if it is above chance, which is 1 / num_classes; otherwise 0.

    The CLIP filter of He et al. 2023 (arXiv:2210.07574); a probability of exactly chance is rejected.

    Args:
        drawn: N synthetic images.
        judge: zero-shot classifier with one prompt per class.

    Returns:
        float64 (N,), in [0, 1].
    """
    probabilities = judge.predict(drawn)
    intended = _of_intended(probabilities, drawn)
    return np.where(intended > 1 / probabilities.shape[1], intended, 0.0)


# With a judge that always agrees, every image scores 1.
SCORES.register("none", summary="every image scores 1, so none is rejected by its score")(
    Score(agreement, "none", 0.0)
)


def lowest_kept(val: LabelledSet, judge: Classifier, *, settings: CurateSettings) -> float:
    """The lowest score to keep.

    Args:
        val: real validation images; used only for the threshold ``validation``.
        judge: the judge of the score.
        settings: score, threshold, and the share of validation images that should pass.

    Returns:
        ``settings.threshold``, or the score's threshold if that is not set. For ``validation``, the largest
        value that at least ``settings.validation_pass`` of the real validation images reach.

    Raises:
        InputError: for a set of another split, or without images.
    """
    score = SCORES[settings.score]
    threshold = score.threshold if settings.threshold is None else settings.threshold
    if threshold != "validation":
        return threshold
    val.check_split("val", purpose="deriving a threshold from real images")
    if not len(val):
        raise InputError(
            "curate.threshold 'validation' needs real validation images, got none: "
            "set curate.threshold to a number"
        )
    passing = math.ceil(round(settings.validation_pass * len(val), 9))
    return float(np.sort(score(val, judge))[len(val) - passing])


def _of_intended(probabilities: np.ndarray, drawn: LabelledSet) -> np.ndarray:
    return np.asarray(probabilities[np.arange(len(drawn)), drawn.labels])


@final
class _Agreeing:
    """A judge that gives every image its intended class."""

    def predict(self, data: LabelledSet) -> np.ndarray:
        return np.asarray(np.eye(data.num_classes)[data.labels])
