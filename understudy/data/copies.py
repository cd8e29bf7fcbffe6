"""Copies of real train images among others, and how near two real images come to being copies."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np
from PIL import Image, ImageOps

from understudy.data.labelled_set import LabelledSet, pixel_hash
from understudy.functional.copies import copy_distances, copy_threshold, nearest_copies

DISTANCE_UNIT = (
    "square root of 2 - 2 x correlation of grey thumbnails, mirrored and moved to fit best; 0 to 2"
)
FALSE_ALARMS = 0.01
"""Share of real images that may be taken for copies of others."""
SAME_IMAGE = 0.05
"""Distance below which two real images are one: re-encoding alone can make more."""
_SIDE = 32  # pixels of a thumbnail; digits half a pixel of 16 apart are no nearer than different ones


@final
@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The nearest train image of each of N images.

    Attributes:
        ids: of the train images.
        distances: to them, float64 of shape (N,), in ``DISTANCE_UNIT``.
        exact: whether some train image has the same pixels, bool (N,).
    """

    ids: list[str]
    distances: np.ndarray
    exact: np.ndarray


@final
@dataclass(frozen=True, kw_only=True)
class CopyThreshold:
    """Below which distance an image is a copy.

    Attributes:
        distance: the threshold.
        basis: where it comes from, in words.
        images: real images that it comes from.
        duplicates: held-out images that are left out, being a train image.
        false_alarms: probability, at most, with which one more image of their kind would be taken for a copy;
            None where train images joined the held-out ones, since that promises nothing.
        held_out: share of the other held-out images that are taken for copies.
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
    """Finds copies of train images. Images are looked for once: what was found is kept by their pixels.

    Attributes:
        train: the real images that may have been copied.
        held_out: real images that nothing was made from; they say how near two different images come.
    """

    train: LabelledSet
    held_out: LabelledSet
    _found: dict[str, tuple[int, float]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.train.require("train", purpose="looking for copies")
        self.held_out.require("val", purpose="taking the distance of copies from real images")

    def nearest(self, data: LabelledSet) -> Neighbours:
        """The nearest train image of each image, of whatever class."""
        hashes = [pixel_hash(data.image(index)) for index in range(len(data))]
        new = {name: index for index, name in enumerate(hashes) if name not in self._found}
        if new:
            index, distances = nearest_copies(grey_thumbnails(data.select([*new.values()])), self._thumbnails)
            self._found.update(zip(new, zip(index.tolist(), distances.tolist(), strict=True), strict=True))
        found, ids = [self._found[name] for name in hashes], self.train.ids
        return Neighbours(
            ids=[ids[index] for index, _ in found],
            distances=np.array([distance for _, distance in found], dtype=np.float64),
            exact=np.array([name in self._hashes for name in hashes], dtype=bool),
        )

    def flags(self, neighbours: Neighbours) -> list[str]:
        """``exact copy``, ``copy`` or nothing, for each image."""
        is_copy = neighbours.distances < self.threshold.distance
        return [str(flag) for flag in np.select([neighbours.exact, is_copy], ["exact copy", "copy"], "")]

    @cached_property
    def held_out_distances(self) -> np.ndarray:
        """Of the held-out images to the train images, float64 (N,)."""
        return self.nearest(self.held_out).distances

    @cached_property
    def threshold(self) -> CopyThreshold:
        """The distance below which at most one real image in a hundred would lie.

        Split conformal prediction on the held-out images; if they are too few for that, with the train
        images' distances to each other as well; if those are too few, half the smallest distance. Real images
        that are themselves one image twice do not count.
        """
        held_out = self.held_out_distances
        distances = held_out = held_out[held_out >= SAME_IMAGE]
        basis, certified = "held-out real images", True
        distance = copy_threshold(distances, rate=FALSE_ALARMS)
        if distance is None and len(self.train) > 1:
            own = nearest_copies(self._thumbnails, self._thumbnails, skip_own=True)[1]
            distances, basis = (
                np.concatenate([held_out, own[own >= SAME_IMAGE]]),
                "held-out real and train images",
            )
            # a train image is in many of these distances: they are not exchangeable with that of one more
            # image
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
        return grey_thumbnails(self.train)

    @cached_property
    def _hashes(self) -> frozenset[str]:
        return frozenset(pixel_hash(self.train.image(index)) for index in range(len(self.train)))


def paired_distances(data: LabelledSet, others: LabelledSet) -> np.ndarray:
    """Distances between the images at the same index in two sets of N images.

    Returns:
        float64 of shape (N,), in ``DISTANCE_UNIT``.
    """
    return copy_distances(grey_thumbnails(data), grey_thumbnails(others))


def grey_thumbnails(data: LabelledSet, *, size: int = _SIDE) -> np.ndarray:
    """Grey levels, float32 of shape (N, size, size), 0 to 1: short side averaged down, centre cropped."""
    levels = np.empty((len(data), size, size), dtype=np.float32)
    for index in range(len(data)):
        fitted = ImageOps.fit(data.image(index).convert("L"), (size, size), Image.Resampling.BOX)
        levels[index] = np.asarray(fitted) / np.float32(255)
    return levels
