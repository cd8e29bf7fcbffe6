"""Find copies of real train images, with a threshold from the distances between real images."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np
from PIL import Image, ImageOps

from understudy.data.copy_search import CopySearch
from understudy.data.labelled_set import LabelledSet
from understudy.functional.copies import copy_distances, copy_threshold, nearest_copies

DISTANCE_UNIT = (
    "square root of 2 - 2 x correlation of grey thumbnails, mirrored and moved to fit best; 0 to 2"
)
FALSE_ALARMS = 0.01
"""Share of real images that may be mistaken for copies."""
SAME_IMAGE = 0.05
"""Two real images closer than this count as the same image; re-encoding alone can cause a larger distance."""
SIDE = 32
"""Pixels per thumbnail side; at 16, digits shifted by half a pixel look as far apart as different digits."""


@final
@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The nearest train image of each of N images.

    Attributes:
        ids: id of the nearest train image.
        distances: distance to it, float64 of shape (N,), in ``DISTANCE_UNIT``.
        exact: whether any train image has the same pixels, bool of shape (N,).
        used_index: whether any of the images was compared only with the train images that an index found.
    """

    ids: list[str]
    distances: np.ndarray
    exact: np.ndarray
    used_index: bool


@final
@dataclass(frozen=True, kw_only=True)
class CopyThreshold:
    """The distance below which an image counts as a copy, and its origin.

    Attributes:
        distance: the threshold.
        basis: the images it was computed from, in words.
        images: number of those images.
        duplicates: number of held-out images left out because they are train images.
        false_alarms: upper bound on the probability that a new real image counts as a copy; None if train
            images were used, because the bound does not hold then.
        held_out: share of the remaining held-out images that count as copies.
    """

    distance: float
    basis: str
    images: int
    duplicates: int
    false_alarms: float | None
    held_out: float


@final
@dataclass(frozen=True, eq=False)
class CopyFinder:
    """Finds copies of train images; results are cached by pixels, so no image is searched for twice.

    Attributes:
        train: the real images that may have been copied.
        held_out: real images that no generator has seen; they show how close two different images can be.
    """

    train: LabelledSet
    held_out: LabelledSet
    _found: dict[str, tuple[int, float, bool]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.train.check_split("train", purpose="looking for copies")
        self.held_out.check_split("val", purpose="setting the threshold for copies")

    def nearest(self, data: LabelledSet, thumbnails: np.ndarray | None = None) -> Neighbours:
        """Find the nearest train image of each of N images, in any class.

        Args:
            data: the images.
            thumbnails: their grey thumbnails, float32 of shape (N, SIDE, SIDE), if they are known already.
        """
        hashes = [data.pixel_hash(index) for index in range(len(data))]
        new = {name: index for index, name in enumerate(hashes) if name not in self._found}
        if new:
            rows = [*new.values()]
            x = grey_thumbnails(data.select(rows))[0] if thumbnails is None else thumbnails[rows]
            search = CopySearch()
            index, distances = nearest_copies(x, self._thumbnails, search=search)
            for name, *nearest in zip(new, index.tolist(), distances.tolist(), strict=True):
                self._found[name] = (*nearest, search.used_index)
        found, ids = [self._found[name] for name in hashes], self.train.ids
        return Neighbours(
            ids=[ids[index] for index, _, _ in found],
            distances=np.array([distance for _, distance, _ in found], dtype=np.float64),
            exact=np.array([name in self._hashes for name in hashes], dtype=bool),
            used_index=any(used_index for _, _, used_index in found),
        )

    def flags(self, neighbours: Neighbours) -> list[str]:
        """Label each image ``exact copy``, ``copy`` or an empty string."""
        is_copy = neighbours.distances < self.threshold.distance
        return [str(flag) for flag in np.select([neighbours.exact, is_copy], ["exact copy", "copy"], "")]

    @cached_property
    def held_out_distances(self) -> np.ndarray:
        """Distance of each held-out image to its nearest train image, float64 of shape (N,)."""
        return self.nearest(self.held_out).distances

    @cached_property
    def threshold(self) -> CopyThreshold:
        """The distance that at most one new real image in a hundred would fall below.

        Split conformal prediction on the held-out images. If there are too few of them, the distances between
        train images are added; if there are still too few, half the smallest distance is used. Pairs of real
        images that are the same image are left out.
        """
        held_out = self.held_out_distances
        distances = held_out = held_out[held_out >= SAME_IMAGE]
        basis, certified = "held-out real images", True
        distance = copy_threshold(distances, rate=FALSE_ALARMS)
        if distance is None and len(self.train) > 1:
            own = self._thumbnails
            within = nearest_copies(own, own, skip_own=True, search=CopySearch())[1]
            distances = np.concatenate([held_out, within[within >= SAME_IMAGE]])
            basis = "held-out real and train images"
            # One train image enters many distances, so they are not exchangeable with a new image's distance.
            certified = False
            distance = copy_threshold(distances, rate=FALSE_ALARMS)
        false_alarms = FALSE_ALARMS
        if distance is None:
            distance = float(distances.min()) / 2 if len(distances) else 0.0
            basis, false_alarms = f"half the smallest distance of {basis}", 1 / (len(distances) + 1)
        return CopyThreshold(
            distance=distance,
            basis=basis,
            images=len(distances),
            duplicates=len(self.held_out) - len(held_out),
            false_alarms=false_alarms if certified else None,
            held_out=float((held_out < distance).mean()) if len(held_out) else 0.0,
        )

    @cached_property
    def _thumbnails(self) -> np.ndarray:
        return grey_thumbnails(self.train)[0]

    @cached_property
    def _hashes(self) -> frozenset[str]:
        return frozenset(self.train.pixel_hash(index) for index in range(len(self.train)))


def paired_distances(data: LabelledSet, others: LabelledSet) -> np.ndarray:
    """Distances between the images at the same index in two sets of N images.

    Returns:
        float64 of shape (N,), in ``DISTANCE_UNIT``.
    """
    return copy_distances(grey_thumbnails(data)[0], grey_thumbnails(others)[0])


def grey_thumbnails(data: LabelledSet, *sizes: int) -> list[np.ndarray]:
    """Thumbnails of all images in one or several sizes, from one decoding of each image.

    Args:
        data: N images.
        sizes: width and height in pixels; ``SIDE`` if none is given.

    Returns:
        For each size s, grey levels in [0, 1], float32 of shape (N, s, s): short side averaged down, centre
        cropped.
    """
    levels = [np.empty((len(data), size, size), dtype=np.float32) for size in sizes or (SIDE,)]
    for index in range(len(data)):
        grey = data.image(index).convert("L")
        data.pixel_hash(index)  # finds the hash while the decoded image is remembered
        for part in levels:
            fitted = ImageOps.fit(grey, part.shape[1:], Image.Resampling.BOX)
            part[index] = np.asarray(fitted) / np.float32(255)
    return levels
