"""Choose among the good images of a class if there are more than its quota."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.registry import Registry
from understudy.curation.settings import CurateSettings
from understudy.data.labelled_set import LabelledSet
from understudy.functional.selection import covariance_matching, kernel_herding, matched, mean_herding

Features = Callable[[LabelledSet], np.ndarray]
"""Maps N images to their features in a frozen network or in the judge, float (N, D)."""


@final
@dataclass(frozen=True)
class Selection:
    """A way to choose among the good images of a class.

    Attributes:
        choose: takes the features of the M candidates (M, D), the features of the real images of the class
            (N, D) and a quota of at most M; returns the indices of the chosen candidates, int64 (quota,).
            None if images of all classes are chosen together, see :mod:`understudy.curation.deliberate`.
        compares: whether ``choose`` uses features; if not, it gets arrays of width 0.
    """

    choose: Callable[[np.ndarray, np.ndarray, int], np.ndarray] | None
    compares: bool = True


SELECTIONS: Registry[Selection] = Registry("selection")
SELECTIONS.register("first", summary="the first ones drawn")(
    Selection(lambda drawn, real, quota: np.arange(quota), compares=False)
)
SELECTIONS.register(
    "coverage", summary="images whose features are jointly distributed like the real ones (kernel herding)"
)(Selection(kernel_herding))
SELECTIONS.register(
    "matched", summary="for each real image, the nearest drawn one in feature space; each is used once"
)(Selection(matched))
SELECTIONS.register(
    "covariance", summary="images whose features jointly have the covariance of the real ones (Rezaei et al.)"
)(Selection(covariance_matching))
SELECTIONS.register("herding", summary="images whose features jointly have the mean of the real ones")(
    Selection(mean_herding)
)
SELECTIONS.register(
    "deliberate", summary="in rounds, images of which a classifier of those chosen so far is most unsure"
)(Selection(None, compares=False))


def candidates_wanted(quota: np.ndarray, settings: CurateSettings) -> np.ndarray:
    """Good images per class that a selection chooses from, int64 (num_classes,).

    If the first ones are kept, that is the quota.
    """
    if settings.keeps_first:
        return quota
    return np.ceil(np.round(quota * settings.candidates, 9)).astype(np.int64)


def choose(
    good: np.ndarray,
    drawn: LabelledSet,
    train: LabelledSet,
    quota: np.ndarray,
    *,
    selection: str,
    features: Features,
) -> np.ndarray:
    """Choose as many good images of each class as its quota, or all of them if there are fewer.

    Args:
        good: which images may be chosen, bool (N,).
        drawn: N synthetic images.
        train: real train images.
        quota: wanted images per class, int (num_classes,).
        selection: a key of ``SELECTIONS`` that chooses class by class.
        features: called only for classes with a choice, and only by selections that compare features.

    Returns:
        Which images are chosen, bool (N,).

    Raises:
        InputError: for an unknown selection, or a class without the real images that it compares with.
    """
    chosen, how = good.copy(), SELECTIONS[selection]
    assert how.choose is not None, f"{selection} does not choose class by class"
    num_good = np.bincount(drawn.labels[good], minlength=len(quota))
    for label in np.flatnonzero(num_good > quota).tolist():
        candidates = np.flatnonzero(good & (drawn.labels == label))
        real = np.flatnonzero(train.labels == label)
        if not quota[label]:
            taken = np.empty(0, dtype=np.int64)
        elif not how.compares:
            taken = how.choose(np.empty((len(candidates), 0)), np.empty((len(real), 0)), int(quota[label]))
        elif not len(real):
            raise InputError(
                f"curate.select {selection!r} compares with real train images, but class "
                f"{train.class_names[label]!r} has none: use curate.select=first"
            )
        else:
            compared = features(drawn.select(candidates)), features(train.select(real))
            taken = how.choose(*compared, int(quota[label]))
        chosen[np.delete(candidates, taken)] = False
    return chosen


def extreme(good: np.ndarray, labels: np.ndarray, scores: np.ndarray, quota: np.ndarray) -> np.ndarray:
    """Choose the good images with the highest scores of each class, as many as its quota.

    Args:
        good: which images may be chosen, bool (N,).
        labels: classes, int64 (N,).
        scores: float (N,); of equal scores, the first drawn are chosen.
        quota: wanted images per class, int (num_classes,).

    Returns:
        Which images are chosen, bool (N,).

    Example:
        >>> good, scores = np.array([True, True, False, True]), np.array([0.1, 0.3, 0.9, 0.2])
        >>> extreme(good, np.zeros(4, dtype=int), scores, np.array([2]))
        array([False,  True, False,  True])
    """
    chosen = np.zeros(len(good), dtype=bool)
    for label, wanted in enumerate(quota.tolist()):
        candidates = np.flatnonzero(good & (labels == label))
        order = np.argsort(-scores[candidates], kind="stable")
        chosen[candidates[order[:wanted]]] = True
    return chosen
