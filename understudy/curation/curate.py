"""Decide which drawn images are kept, and record why the others are rejected."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import final

import numpy as np
import pyarrow as pa

from understudy.curation.deliberate import most_unsure
from understudy.curation.scores import SCORES, Networks, lowest_kept
from understudy.curation.selections import choose, extreme
from understudy.curation.settings import CurateSettings
from understudy.data.copies import SIDE, CopyFinder, grey_thumbnails
from understudy.data.labelled_set import LabelledSet

_CONSTANT_STD = 1.0  # grey levels; black images of safety checkers and failed draws lie below


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What is known of each drawn image by itself, before images are chosen.

    Attributes:
        ids: names of the N images.
        labels: classes, int64 (N,).
        reasons: why an image cannot be kept, ``constant``, ``low score`` or ``copy``; empty for good images.
        scores: float64 (N,) in [0, 1]; higher is better.
        threshold: lowest score to keep; a score of 0 is always too low.
        num_good: good images per class, int64 (num_classes,): kept, dropped as copies, or over quota.
        flags: ``exact copy``, ``copy`` or empty.
        nearest_ids: the nearest real train image; empty with ``firewall=off``, which does not search.
        nearest_distances: distance to it, in :data:`understudy.data.copies.DISTANCE_UNIT`; NaN with
            ``firewall=off``, and null in tables.
    """

    ids: list[str]
    labels: np.ndarray
    reasons: list[str]
    scores: np.ndarray
    threshold: float
    num_good: np.ndarray
    flags: list[str]
    nearest_ids: list[str]
    nearest_distances: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Decisions(Judgement):
    """What was decided about each drawn image.

    Attributes:
        kept: whether the image is kept, bool (N,).
        reasons: ``constant``, ``low score``, ``copy`` or ``over quota``; empty if the image is kept.
    """

    kept: np.ndarray

    @property
    def rejected(self) -> np.ndarray:
        """Images that were rejected, which does not include those over quota; bool (N,)."""
        return np.array([reason not in ("", "over quota") for reason in self.reasons], dtype=bool)

    @property
    def rejections(self) -> dict[str, int]:
        """The number of rejected images per reason."""
        return dict(
            Counter(reason for reason, rejected in zip(self.reasons, self.rejected, strict=True) if rejected)
        )

    @property
    def num_copies(self) -> int:
        """The number of kept images that are flagged as copies."""
        return sum(kept and bool(flag) for kept, flag in zip(self.kept.tolist(), self.flags, strict=True))

    def table(self) -> pa.Table:
        """One row per drawn image, for ``decisions.parquet``."""
        return pa.table(
            {"id": self.ids, "label": self.labels, "kept": self.kept, "reason": self.reasons}
            | self._columns()
        )

    def curated(self, drawn: LabelledSet) -> LabelledSet:
        """The kept images, with score, flag and nearest train image as provenance."""
        for name, values in self._columns().items():
            drawn = drawn.with_column(name, values)
        return drawn.select(np.flatnonzero(self.kept))

    def _columns(self) -> dict[str, pa.Array]:
        return {
            "score": pa.array(self.scores),
            "flag": pa.array(self.flags, pa.string()),
            "nearest_id": pa.array(self.nearest_ids, pa.string()),
            "nearest_distance": pa.array(self.nearest_distances, from_pandas=True),
        }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Curator:
    """Decides which drawn images are kept: :meth:`judge` them, then :meth:`choose` some of the good ones.

    Attributes:
        train: real train images.
        val: real validation images; the threshold may come from them.
        networks: the networks that scores and selections use.
        copies: finds copies of train images.
    """

    train: LabelledSet
    val: LabelledSet
    networks: Networks
    copies: CopyFinder

    def judge(self, drawn: LabelledSet, settings: CurateSettings) -> Judgement:
        """Judge drawn images one by one.

        Args:
            drawn: synthetic images, in the order in which they were drawn.
            settings: score, threshold, treatment of copies.

        Returns:
            The judgement, in the order of ``drawn``.

        Raises:
            InputError: for a set of the wrong split, or a threshold without the real images that it needs.
        """
        drawn.check_split("synthetic", purpose="curating")
        score = SCORES[settings.score]
        judge = score.find_judge(self.networks)
        scores, threshold = score(drawn, judge), lowest_kept(self.val, judge, settings=settings)
        thumbnails, small = grey_thumbnails(drawn, SIDE, 16)
        constant = small.std(axis=(1, 2)) * 255 < _CONSTANT_STD
        nearest_ids, flags = [""] * len(drawn), [""] * len(drawn)
        nearest_distances = np.full(len(drawn), np.nan)
        if settings.firewall != "off":
            neighbours = self.copies.nearest(drawn, thumbnails)
            nearest_ids, nearest_distances = neighbours.ids, neighbours.distances
            flags = self.copies.flags(neighbours)

        low = ~((scores >= threshold) & (scores > 0))  # in this form, NaN is rejected too
        replaced = np.array(flags, dtype=bool) & (settings.firewall == "redraw")
        good = ~(constant | low | replaced)
        return Judgement(
            ids=drawn.ids,
            labels=drawn.labels,
            reasons=np.select([constant, low, replaced], ["constant", "low score", "copy"], "").tolist(),
            scores=scores,
            threshold=threshold,
            num_good=np.bincount(drawn.labels[good], minlength=drawn.num_classes),
            flags=flags,
            nearest_ids=nearest_ids,
            nearest_distances=nearest_distances,
        )

    def choose(
        self, judged: Judgement, drawn: LabelledSet, quota: np.ndarray, settings: CurateSettings
    ) -> Decisions:
        """Keep the good images of each class up to its quota.

        Args:
            judged: what :meth:`judge` found with the same settings.
            drawn: the judged images.
            quota: wanted images per class, int (num_classes,).
            settings: selection, treatment of copies.

        Returns:
            The decisions, in the order of ``drawn``.

        Raises:
            InputError: for a selection without the real images that it needs.
        """
        good = np.array([not reason for reason in judged.reasons], dtype=bool)
        if settings.select == "deliberate":
            trained_on = self.networks.trained_on
            taken = most_unsure(good, drawn, quota, rounds=settings.rounds, trained_on=trained_on)
        elif settings.select == "first" and settings.direction is not None:
            sign = 1 if settings.direction == "most" else -1
            taken = extreme(good, drawn.labels, sign * judged.scores, quota)
        else:
            features = self.networks.features
            taken = choose(good, drawn, self.train, quota, selection=settings.select, features=features)
        dropped = taken & np.array(judged.flags, dtype=bool) & (settings.firewall == "drop")
        reasons = np.select(
            [~good, dropped, ~taken], [np.array(judged.reasons, dtype=str), "copy", "over quota"], ""
        ).tolist()
        return Decisions(**(vars(judged) | {"kept": taken & ~dropped, "reasons": reasons}))
