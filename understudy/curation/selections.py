"""Which of the good images of a class are taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.registry import Registry
from understudy.curation.settings import CurateSettings
from understudy.data.labelled_set import LabelledSet
from understudy.functional.selection import kernel_herding, matched

Features = Callable[[LabelledSet], np.ndarray]
"""N images to what a frozen network or the judge sees in them, float (N, D)."""


@final
@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The good images of one class, in the order in which they were drawn.

    Attributes:
        num: how many, M.
        drawn: gives their features, float (M, D).
        real: gives those of the real train images of the class, float (N, D).
    """

    num: int
    drawn: Callable[[], np.ndarray]
    real: Callable[[], np.ndarray]


Selection = Callable[[Candidates, int], np.ndarray]
"""Candidates and a quota below their number to the indices of those taken, int64 (quota,)."""

SELECTIONS: Registry[Selection] = Registry("selection")


@SELECTIONS.register("first", summary="the first that were drawn")
def first(candidates: Candidates, quota: int) -> np.ndarray:
    """The first ones; nothing is measured."""
    return np.arange(min(quota, candidates.num))


@SELECTIONS.register(
    "coverage", summary="those that together lie as the real ones in feature space (kernel herding)"
)
def coverage(candidates: Candidates, quota: int) -> np.ndarray:
    """Images whose features are jointly distributed like the real ones.

    See :func:`understudy.functional.selection.kernel_herding`.
    """
    return kernel_herding(candidates.drawn(), candidates.real(), quota)


@SELECTIONS.register(
    "matched", summary="for each real image the nearest one in feature space, each used once"
)
def nearest(candidates: Candidates, quota: int) -> np.ndarray:
    """For each real image one of its own, near to it; see :func:`understudy.functional.selection.matched`."""
    return matched(candidates.drawn(), candidates.real(), quota)


def candidates_wanted(quota: np.ndarray, settings: CurateSettings) -> np.ndarray:
    """Good images per class that a selection chooses from, int64 (num_classes,); ``first`` needs just the quota."""
    if settings.select == "first":
        return quota
    return np.ceil(np.round(quota * settings.candidates, 9)).astype(np.int64)


def take(
    good: np.ndarray,
    drawn: LabelledSet,
    train: LabelledSet,
    quota: np.ndarray,
    *,
    selection: str,
    features: Features,
) -> np.ndarray:
    """Take as many good images of each class as its quota, or all, if there are no more.

    Args:
        good: which images may be taken, bool (N,).
        drawn: N synthetic images.
        train: real train images.
        quota: wanted images per class, int (num_classes,).
        selection: a key of ``SELECTIONS``.
        features: asked only for classes with a choice, and only by selections that look at them.

    Returns:
        Which images are taken, bool (N,).

    Raises:
        InputError: for an unknown selection, or a class without the real images that it compares with.
    """
    chosen, select = good.copy(), SELECTIONS[selection]
    num_good = np.bincount(drawn.labels[good], minlength=len(quota))
    for label in np.flatnonzero(num_good > quota).tolist():
        own = np.flatnonzero(good & (drawn.labels == label))
        real = partial(_real_features, train, label, features, selection)
        candidates = Candidates(num=len(own), drawn=partial(_features, drawn, own, features), real=real)
        taken = select(candidates, int(quota[label])) if quota[label] else np.empty(0, dtype=np.int64)
        chosen[np.delete(own, taken)] = False
    return chosen


def _features(data: LabelledSet, index: np.ndarray, features: Features) -> np.ndarray:
    return features(data.select(index))


def _real_features(train: LabelledSet, label: int, features: Features, selection: str) -> np.ndarray:
    of_class = np.flatnonzero(train.labels == label)
    if not len(of_class):
        raise InputError(
            f"curate.select {selection!r} compares with real train images, and class "
            f"{train.class_names[label]!r} has none: "
            "use curate.select=first"
        )
    return _features(train, of_class, features)
