"""Decide which drawn images are kept, and say why the others are not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps

from understudy.curation.scores import SCORES, Judges, lowest_kept
from understudy.curation.selections import Features, take
from understudy.data import LabelledSet, near_duplicates
from understudy.functional.distances import nearest_neighbours
from understudy.settings import CurateSettings

_CONSTANT_STD = 1.0  # grey levels; black images of safety checkers and failed draws lie below
_COMPARISON_SIZE = 16  # pixels; images are compared as grey thumbnails
DISTANCE_UNIT = "root mean squared difference of 16 x 16 grey thumbnails, 0 to 1"


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What was decided about each drawn image.

    Attributes:
        ids: names, N.
        labels: classes, int64 (N,).
        kept: bool (N,).
        reasons: empty where kept; else ``constant``, ``low score``, ``copy`` or ``over quota``.
        scores: float64 (N,), 0 to 1, higher is better.
        threshold: the lowest score that was kept; 0 never was.
        num_good: images per class that are kept or over quota, int64 (num_classes,).
        flags: ``exact copy``, ``near copy`` or empty.
        nearest_ids: the nearest real train image of the same class.
        nearest_distances: to it, in ``DISTANCE_UNIT``.
    """

    ids: list[str]
    labels: np.ndarray
    kept: np.ndarray
    reasons: list[str]
    scores: np.ndarray
    threshold: float
    num_good: np.ndarray
    flags: list[str]
    nearest_ids: list[str]
    nearest_distances: np.ndarray

    @property
    def rejected(self) -> np.ndarray:
        """Not kept, and not because they were too many; bool (N,)."""
        return np.array([reason not in ("", "over quota") for reason in self.reasons], dtype=bool)

    @property
    def rejections(self) -> dict[str, int]:
        """Rejected images per reason, without those that were good but too many."""
        return dict(Counter(reason for reason, rejected in zip(self.reasons, self.rejected, strict=True) if rejected))

    def table(self) -> pa.Table:
        """One row per drawn image, for ``decisions.parquet``."""
        return pa.table({"id": self.ids, "label": self.labels, "kept": self.kept, "reason": self.reasons, **self._columns()})

    def curated(self, drawn: LabelledSet) -> LabelledSet:
        """The kept images, with scores and neighbours as provenance."""
        table = drawn.table
        for name, values in self._columns().items():
            table = table.append_column(name, pa.array(values))
        kept = LabelledSet(table, drawn.class_names, drawn.split)
        return kept.select(np.flatnonzero(self.kept))

    def _columns(self) -> dict[str, Any]:
        return {
            "score": self.scores,
            "flag": self.flags,
            "nearest_id": self.nearest_ids,
            "nearest_distance": self.nearest_distances,
        }


def decide(
    drawn: LabelledSet,
    train: LabelledSet,
    quota: np.ndarray,
    *,
    val: LabelledSet,
    judges: Judges,
    features: Features,
    settings: CurateSettings,
    near_copy_distance: int,
) -> Decisions:
    """Judge drawn images one by one, then keep good ones of each class up to its quota.

    Args:
        drawn: synthetic images, in the order in which they were drawn.
        train: real train images.
        quota: wanted images per class, int (num_classes,).
        val: real validation images, from which the threshold comes if settings say so.
        judges: classifiers that the score may ask.
        features: what the selection compares, if it compares anything.
        settings: score, threshold, treatment of copies, selection.
        near_copy_distance: bits of perceptual hash up to which an image is a near copy; -1 for exact copies only.

    Returns:
        The decisions, in the order of ``drawn``.

    Raises:
        InputError: for sets of the wrong split, or a threshold or selection without the real images that it needs.
    """
    drawn.require("synthetic", purpose="curating")
    train.require("train", purpose="looking for copies")
    score = SCORES[settings.score]
    judge = judges.get(score.judge)
    scores, threshold = score(drawn, judge), lowest_kept(val, judge, settings=settings)
    constant = _thumbnails(drawn).std(axis=1) * 255 < _CONSTANT_STD
    flags = _copy_flags(drawn, train, near_copy_distance)
    nearest_ids, nearest_distances = nearest_real(drawn, train)

    # Asked this way round, so that NaN is refused as well.
    low = ~((scores >= threshold) & (scores > 0))
    copies = np.array(flags, dtype=bool) & (settings.copies == "drop")
    good = ~(constant | low | copies)
    kept = take(good, drawn, train, quota, selection=settings.select, features=features)
    reasons = np.select([constant, low, copies, ~kept], ["constant", "low score", "copy", "over quota"], "")
    return Decisions(
        ids=drawn.ids,
        labels=drawn.labels,
        kept=kept,
        reasons=reasons.tolist(),
        scores=scores,
        threshold=threshold,
        num_good=np.bincount(drawn.labels[good], minlength=len(quota)),
        flags=flags,
        nearest_ids=nearest_ids,
        nearest_distances=nearest_distances,
    )


def nearest_real(data: LabelledSet, train: LabelledSet) -> tuple[list[str], np.ndarray]:
    """The nearest train image of the same class.

    Args:
        data: N images.
        train: real train images.

    Returns:
        Its id, or an empty string where the class has no train image, and its distance in ``DISTANCE_UNIT``,
        float64 of shape (N,), NaN there.
    """
    queries, references, train_ids = _thumbnails(data), _thumbnails(train), np.array(train.ids)
    nearest_ids, distances = np.full(len(data), "", dtype=object), np.full(len(data), np.nan)
    for label in np.unique(data.labels):
        own, real = np.flatnonzero(data.labels == label), np.flatnonzero(train.labels == label)
        if len(real):
            index, distances[own] = nearest_neighbours(queries[own], references[real])
            nearest_ids[own] = train_ids[real[index]]
    return [str(name) for name in nearest_ids], distances


def paired_distances(data: LabelledSet, others: LabelledSet) -> np.ndarray:
    """Distance of image i to image i of another set of the same size, float64 of shape (N,), in ``DISTANCE_UNIT``."""
    return np.asarray(np.sqrt(np.square(_thumbnails(data) - _thumbnails(others)).mean(axis=1)))


def _copy_flags(drawn: LabelledSet, train: LabelledSet, near_copy_distance: int) -> list[str]:
    closest: dict[str, int] = {}
    for name, _, distance in near_duplicates(drawn, train, max_distance=near_copy_distance):
        closest[name] = min(distance, closest.get(name, distance))
    return ["" if name not in closest else "exact copy" if closest[name] < 0 else "near copy" for name in drawn.ids]


def _thumbnails(data: LabelledSet) -> np.ndarray:
    """Grey thumbnails as float64 of shape (N, 256), 0 to 1."""
    features = np.empty((len(data), _COMPARISON_SIZE**2))
    for index in range(len(data)):
        thumbnail = ImageOps.fit(data.image(index).convert("L"), (_COMPARISON_SIZE, _COMPARISON_SIZE), Image.Resampling.BOX)
        features[index] = np.asarray(thumbnail, dtype=np.float64).reshape(-1) / 255
    return features
