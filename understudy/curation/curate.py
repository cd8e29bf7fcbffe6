"""Decide which drawn images are kept, and say why the others are not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from understudy.curation.scores import SCORES, Judges, lowest_kept
from understudy.curation.selections import Features, take
from understudy.curation.settings import CurateSettings
from understudy.data.copies import CopyFinder, grey_thumbnails
from understudy.data.labelled_set import LabelledSet

_CONSTANT_STD = 1.0  # grey levels; black images of safety checkers and failed draws lie below


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
        num_good: images per class that are kept, dropped as copies or over quota, int64 (num_classes,).
        flags: ``exact copy``, ``copy`` or empty.
        nearest_ids: the nearest real train image; empty with the firewall ``off``, which looks for none.
        nearest_distances: to it, in :data:`understudy.data.copies.DISTANCE_UNIT`; NaN, and null in tables,
            with ``off``.
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
        return dict(
            Counter(reason for reason, rejected in zip(self.reasons, self.rejected, strict=True) if rejected)
        )

    @property
    def num_copies(self) -> int:
        """Images that are kept though they are marked as copies."""
        return sum(kept and bool(flag) for kept, flag in zip(self.kept.tolist(), self.flags, strict=True))

    def table(self) -> pa.Table:
        """One row per drawn image, for ``decisions.parquet``."""
        return pa.table(
            {"id": self.ids, "label": self.labels, "kept": self.kept, "reason": self.reasons}
            | self._columns()
        )

    def curated(self, drawn: LabelledSet) -> LabelledSet:
        """The kept images, with scores and neighbours as provenance."""
        table = drawn.table
        for name, values in self._columns().items():
            table = table.append_column(name, values)
        kept = LabelledSet(table, drawn.class_names, drawn.split)
        return kept.select(np.flatnonzero(self.kept))

    def _columns(self) -> dict[str, pa.Array]:
        return {
            "score": pa.array(self.scores),
            "flag": pa.array(self.flags, pa.string()),
            "nearest_id": pa.array(self.nearest_ids, pa.string()),
            "nearest_distance": pa.array(self.nearest_distances, from_pandas=True),
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
    copies: CopyFinder,
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
        copies: finds copies of train images.

    Returns:
        The decisions, in the order of ``drawn``.

    Raises:
        InputError: for sets of the wrong split, or a threshold or selection without the real images that it
            needs.
    """
    drawn.require("synthetic", purpose="curating")
    score = SCORES[settings.score]
    judge = judges.get(score.judge)
    scores, threshold = score(drawn, judge), lowest_kept(val, judge, settings=settings)
    constant = grey_thumbnails(drawn, size=16).std(axis=(1, 2)) * 255 < _CONSTANT_STD
    nearest_ids, nearest_distances, flags = [""] * len(drawn), np.full(len(drawn), np.nan), [""] * len(drawn)
    if settings.firewall != "off":
        neighbours = copies.nearest(drawn)
        nearest_ids, nearest_distances, flags = neighbours.ids, neighbours.distances, copies.flags(neighbours)
    is_copy = np.array(flags, dtype=bool)

    # Asked this way round, so that NaN is refused as well.
    low = ~((scores >= threshold) & (scores > 0))
    replaced = is_copy & (settings.firewall == "redraw")
    good = ~(constant | low | replaced)
    taken = take(good, drawn, train, quota, selection=settings.select, features=features)
    dropped = taken & is_copy & (settings.firewall == "drop")
    reasons = np.select(
        [constant, low, replaced | dropped, ~taken], ["constant", "low score", "copy", "over quota"], ""
    )
    return Decisions(
        ids=drawn.ids,
        labels=drawn.labels,
        kept=taken & ~dropped,
        reasons=reasons.tolist(),
        scores=scores,
        threshold=threshold,
        num_good=np.bincount(drawn.labels[good], minlength=len(quota)),
        flags=flags,
        nearest_ids=nearest_ids,
        nearest_distances=nearest_distances,
    )
