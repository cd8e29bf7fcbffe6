"""Memorisation: how close synthetic images come to train images, compared with held-out real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from understudy.data.copies import DISTANCE_UNIT, FALSE_ALARMS, CopyFinder, Neighbours, paired_distances
from understudy.data.labelled_set import LabelledSet
from understudy.functional.copies import share_closer
from understudy.functional.distances import nearest_neighbours, unit_vectors
from understudy.functional.intervals import Interval

FEATURE_UNIT = "distance of features of length 1, square root of 2 - 2 x cosine; 0 to 2"
_PAIRS = 20
# most images of each kind that are measured if the firewall is off, because the search takes long
_MAX_UNFLAGGED = 2000

Features = Callable[[LabelledSet], np.ndarray]
"""Computes the features of N images, float (N, D)."""


def measure_memorisation(
    synthetic: LabelledSet,
    copies: CopyFinder,
    *,
    features: Features | None,
    firewall: str,
    removed: int,
    seed: int,
    num_resamples: int,
) -> dict[str, Any]:
    """Measure the distances of synthetic images to train images and to their sources, and count copies.

    Synthetic images should not be closer to the train images than held-out real images are (Alaa et al. 2022,
    arXiv:2102.08921; Meehan et al. 2020, arXiv:2004.05675).

    Args:
        synthetic: curated images; the provenance column ``source_id`` names the real image that drawing
            started from.
        copies: finder with the train images, and with held-out images for comparison.
        features: features of an encoder; None to compare pixels only.
        firewall: the setting ``curate.firewall``; if ``off``, nothing is flagged, and at most 2,000 random
            images of each kind are measured.
        removed: number of drawn images that the firewall replaced or left out.
        seed: seed of the random choice and of the resamples.
        num_resamples: bootstrap resamples behind each interval.

    Returns:
        The section ``memorisation`` of ``docs/results_json.md``; ``spaces`` is empty without synthetic
        images.

    Raises:
        InputError: if ``synthetic`` is not a synthetic set.
    """
    synthetic.check_split("synthetic", purpose="measuring memorisation")
    rng, held_out = np.random.default_rng(seed), copies.held_out
    if firewall == "off":
        synthetic, held_out = _some(synthetic, rng), _some(held_out, rng)
    neighbours = copies.nearest(synthetic)
    flags = [""] * len(synthetic) if firewall == "off" else copies.flags(neighbours)
    found: dict[str, Any] = {
        "firewall": {
            "setting": firewall,
            **_threshold(copies, firewall),
            **_counts(flags),
            "removed": removed,
            "compared": "those of an index" if neighbours.used_index else "all",
        },
        "images": {"synthetic": len(synthetic), "held_out": len(held_out)},
        "spaces": {},
        "closest": [],
    }
    if not len(synthetic) or not len(held_out):
        return found
    held_out_distances = copies.nearest(held_out).distances
    spaces = {"pixel": _pixel_distances(synthetic, copies, neighbours.distances, held_out_distances)}
    if features is not None:
        spaces["feature"] = _feature_distances(synthetic, copies.train, held_out, features)
    found["spaces"] = {name: distances.summary(rng, num_resamples) for name, distances in spaces.items()}
    found["closest"] = _closest(synthetic, neighbours, flags, held_out_distances)
    return found


@dataclass(frozen=True, eq=False)
class _Distances:
    """Distances in one space: to the nearest train image, and from synthetic images to their sources."""

    unit: str
    synthetic: np.ndarray
    held_out: np.ndarray
    to_source: np.ndarray

    def summary(self, rng: np.random.Generator, num_resamples: int) -> dict[str, Any]:
        closer = share_closer(self.synthetic, self.held_out, rng, num_resamples=num_resamples)
        return {
            "unit": self.unit,
            "synthetic_to_train": _summary(self.synthetic),
            "held_out_to_train": _summary(self.held_out),
            "synthetic_to_source": _summary(self.to_source) if len(self.to_source) else None,
            "closer_than_held_out": asdict(Interval.of(closer)),
        }


def _pixel_distances(
    synthetic: LabelledSet, copies: CopyFinder, nearest: np.ndarray, held_out: np.ndarray
) -> _Distances:
    drawn, sources = _with_source(synthetic, copies.train)
    to_source = paired_distances(synthetic.select(drawn), copies.train.select(sources))
    return _Distances(DISTANCE_UNIT, nearest, held_out, to_source)


def _feature_distances(
    synthetic: LabelledSet, train: LabelledSet, held_out: LabelledSet, features: Features
) -> _Distances:
    drawn, sources = _with_source(synthetic, train)
    real, others, made = (unit_vectors(features(data)) for data in (train, held_out, synthetic))
    scale = np.sqrt(real.shape[1])  # turns the root mean square of nearest_neighbours into a length
    synthetic_nearest, held_out_nearest = (
        nearest_neighbours(points, real)[1] * scale for points in (made, others)
    )
    to_source = np.linalg.norm(made[drawn] - real[sources], axis=1)
    return _Distances(FEATURE_UNIT, synthetic_nearest, held_out_nearest, to_source)


def _closest(
    synthetic: LabelledSet, neighbours: Neighbours, flags: list[str], held_out_distances: np.ndarray
) -> list[dict[str, Any]]:
    """The synthetic images with the smallest distance to a train image, in ascending order."""
    ordered = np.sort(held_out_distances)
    rank = np.searchsorted(ordered, neighbours.distances, side="right")
    return [
        {
            "id": synthetic.ids[index],
            "nearest": neighbours.ids[index],
            "distance": float(neighbours.distances[index]),
            "held_out_percentile": 100 * float(rank[index] / len(ordered)),
            "flag": flags[index],
        }
        for index in np.argsort(neighbours.distances, kind="stable")[:_PAIRS].tolist()
    ]


def _some(data: LabelledSet, rng: np.random.Generator) -> LabelledSet:
    return (
        data.select(np.sort(rng.choice(len(data), _MAX_UNFLAGGED, replace=False)))
        if len(data) > _MAX_UNFLAGGED
        else data
    )


def _counts(flags: list[str]) -> dict[str, int]:
    return {"flagged": sum(map(bool, flags)), "exact": flags.count("exact copy")}


def _threshold(copies: CopyFinder, firewall: str) -> dict[str, Any]:
    if firewall == "off":
        return {"threshold": None, "basis": None, "false_alarms": None}
    threshold = copies.threshold
    alarms = {
        "allowed": FALSE_ALARMS,
        "certified": threshold.false_alarms,
        "held_out": threshold.held_out,
        "images": len(copies.held_out) - threshold.duplicates,
        "duplicates": threshold.duplicates,
    }
    return {
        "threshold": threshold.distance,
        "basis": f"{threshold.basis} ({threshold.images})",
        "false_alarms": alarms,
    }


def _with_source(synthetic: LabelledSet, train: LabelledSet) -> tuple[np.ndarray, np.ndarray]:
    """Indices of synthetic images drawn from a train image, and indices of those train images."""
    names = synthetic.provenance("source_id") if synthetic.has("source_id") else [None] * len(synthetic)
    place = train.place
    pairs = [(index, place[name]) for index, name in enumerate(names) if name in place]
    drawn, sources = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return drawn, sources


def _summary(values: np.ndarray) -> dict[str, float]:
    return {
        "median": float(np.median(values)),
        "p05": float(np.percentile(values, 5)),
        "min": float(values.min()),
    }
