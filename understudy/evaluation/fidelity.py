"""Fidelity: how close synthetic images come to real ones, compared with other real images.

Intervals are 95%, over the choice of images in both sets at fixed class shares. Those of precision, recall,
density, coverage and the Vendi score have a jackknife variance, with few degrees of freedom where few images
decide it; shares keep their width if all images are alike. The other measures use resamples in which value
and floor share the real images (:mod:`understudy.functional.resampling`). For a squared MMD between sets that
hardly differ, these intervals are slightly too wide (a degenerate U-statistic).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

import numpy as np
import torch

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.functional.coverage import balls, neighbour_interval, neighbour_measures
from understudy.functional.diversity import vendi_interval
from understudy.functional.frechet import frechet_distance, mean_and_root
from understudy.functional.intervals import Interval
from understudy.functional.kernel_distance import (
    Kernel,
    cubic_kernel,
    direction_kernel,
    gaussian_kernel,
    mean_kernels,
    mmd2_within_classes,
)
from understudy.functional.mmd import median_bandwidth
from understudy.functional.resampling import bootstrap_weights, centred_interval

MEASURES: Mapping[str, Literal["lower", "higher"]] = {
    **dict.fromkeys(("frechet_distance", "kid", "mmd", "cmmd"), "lower"),
    **dict.fromkeys(("precision", "recall", "density", "coverage", "vendi_score"), "higher"),
}
"""Every measure, and whether lower or higher values are better."""
KERNEL_MEASURES = ("kid", "mmd", "cmmd")
"""Measures that are also computed within classes."""
_MAX_SHARES = 0.05  # most that class shares of two sets may differ for their overall figures to be comparable
_CMMD_BANDWIDTH = 10.0
_CMMD_SCALE = 1000.0
_MAX_SUBSETS = 5  # synthetic subsets as large as the held-out set; more would only narrow the interval
_MAX_FOR_BANDWIDTH = 2000  # most real images whose median distance gives the bandwidth
_FEW = 50
_NUMBERS_PER_CELL = 5  # float64 arrays as large as a tile that are in memory at once

_Intervals = dict[str, tuple[float, float, float]]


@final
@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Features and classes of a set of images.

    Attributes:
        features: float of shape (N, D), preferably float32.
        labels: int of shape (N,).
    """

    features: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    def of_class(self, label: int) -> EncodedImages:
        """The images of one class."""
        return self.select(self.labels == label)

    def select(self, rows: np.ndarray) -> EncodedImages:
        """The images that a mask or an array of indices selects."""
        return EncodedImages(self.features[rows], self.labels[rows])


@dataclass(frozen=True)
class _Options:
    neighbours: int
    num_resamples: int
    block: int


@dataclass(frozen=True, eq=False)
class _Sides:
    """Real images, and by role (``value`` or ``floor``) the sets of n images that are compared with them."""

    real: EncodedImages
    tests: Mapping[str, Sequence[EncodedImages]]

    def each(self) -> Iterator[tuple[tuple[str, int], np.ndarray]]:
        """Role, number and features of every set."""
        for role, sets in self.tests.items():
            for number, part in enumerate(sets):
                yield (role, number), part.features


def measure_fidelity(
    real: EncodedImages,
    held_out: EncodedImages,
    synthetic: EncodedImages,
    *,
    class_names: Sequence[str],
    neighbours: int,
    num_resamples: int,
    max_bytes: float,
    seed: int,
) -> dict[str, Any]:
    """Measure distance, precision, recall and variety of synthetic images, overall and within each class.

    ``value`` compares synthetic images with ``real``, and ``floor`` compares held-out real images with
    ``real``; no generator needs to be better than the floor. Most measures depend on the number of images, so
    both compare n images, the size of the smaller set. From a larger synthetic set, at most five disjoint
    subsets with the class shares of the whole are measured and averaged.

    The three squared MMDs also have ``within_classes``, the mean over classes, which is unbiased.

    Args:
        real: train images.
        held_out: other real images.
        synthetic: images to judge.
        class_names: names by label.
        neighbours: k of precision, recall, density and coverage.
        num_resamples: bootstrap resamples.
        max_bytes: size of the largest block of distances or kernel values, not counting the features.
        seed: seed of subsets and resamples.

    Returns:
        The section ``fidelity`` of ``results.json`` without the encoder. A class is None if it has too few
        images for k neighbours, or if its real images are all equal; ``within_classes`` is None if a class
        has fewer than two images of a kind.

    Raises:
        InputError: if there are fewer than k + 1 images, or features differ in width, are infinite or equal.
    """
    _check(real, held_out, synthetic, neighbours)
    options = _Options(neighbours, num_resamples, _block_side(max_bytes))
    sides = _sides(real, held_out, synthetic, np.random.default_rng(seed))
    overall = _measure(sides, options, np.random.default_rng([seed, 1]))
    within = _within_classes(
        real, {"value": synthetic, "floor": held_out}, options, np.random.default_rng([seed, 3])
    )
    classes, compared = _measure_classes((real, held_out, synthetic), class_names, options, seed)
    return {
        "images": {"real": len(real), "held_out": len(held_out), "synthetic": len(synthetic)},
        "compared": len(sides.tests["floor"][0]),
        "neighbours": neighbours,
        "same_shares": _same_shares(held_out.labels, synthetic.labels),
        "measures": {
            name: _by_role(overall, name)
            | ({"within_classes": within and _by_role(within, name)} if name in KERNEL_MEASURES else {})
            | {"better": better}
            | {"per_class": {c: _of_class(classes.get(c), name, compared.get(c, 0)) for c in class_names}}
            for name, better in MEASURES.items()
        },
        "warnings": _warnings(sides, compared, class_names, neighbours),
    }


def _same_shares(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two sets have about the same share of every class (total variation distance)."""
    counts = _counts(a, b)
    shares = counts / counts.sum(axis=1, keepdims=True)
    return bool(np.abs(shares[0] - shares[1]).sum() / 2 <= _MAX_SHARES)


def _counts(*labels: np.ndarray) -> np.ndarray:
    """Images of every class, a row per set."""
    num_classes = 1 + max(int(of_set.max()) for of_set in labels)
    return np.stack([np.bincount(of_set, minlength=num_classes) for of_set in labels])


def _within_classes(
    real: EncodedImages, tests: Mapping[str, EncodedImages], options: _Options, rng: np.random.Generator
) -> dict[str, _Intervals] | None:
    """The squared MMDs as means over classes, by role; None if a class has fewer than two images.

    Unlike the other measures they do not depend on the number of images, so all images of a set count, up to
    a multiple of the held-out ones.
    """
    most = _MAX_SUBSETS * len(tests["floor"])
    parts = {role: part.select(_in_shares(part.labels, rng)[:most]) for role, part in tests.items()}
    counts = _counts(real.labels, *(part.labels for part in parts.values()))
    if counts[:, counts.any(axis=0)].min() < 2:
        return None
    kernels = _kernels(real.features, rng)
    real_weights = bootstrap_weights(real.labels, options.num_resamples, rng)
    found: dict[str, _Intervals] = {}
    for role, part in parts.items():
        distances = mmd2_within_classes(
            real.features,
            part.features,
            labels=(real.labels, part.labels),
            weights=(real_weights, bootstrap_weights(part.labels, options.num_resamples, rng)),
            kernels=kernels,
            block=options.block,
        )
        scaled = distances * np.array([[1], [1], [_CMMD_SCALE]])
        found[role] = {name: centred_interval(one) for name, one in zip(KERNEL_MEASURES, scaled, strict=True)}
    return found


def _block_side(max_bytes: float) -> int:
    return max(1, math.isqrt(int(max_bytes / (8 * _NUMBERS_PER_CELL))))


def _measure_classes(
    sets: tuple[EncodedImages, EncodedImages, EncodedImages],
    class_names: Sequence[str],
    options: _Options,
    seed: int,
) -> tuple[dict[str, dict[str, _Intervals]], dict[str, int]]:
    """For each class with enough images: every measure by role, and the number of compared images."""
    classes, compared = {}, {}
    for label, name in enumerate(class_names):
        real, held_out, synthetic = (part.of_class(label) for part in sets)
        if min(len(real), len(held_out), len(synthetic)) <= options.neighbours or not _varies(real.features):
            continue
        rng = np.random.default_rng([seed, 2, label])
        sides = _sides(real, held_out, synthetic, rng)
        classes[name] = _measure(sides, options, rng)
        compared[name] = len(sides.tests["floor"][0])
    return classes, compared


def _of_class(measured: Mapping[str, _Intervals] | None, name: str, images: int) -> dict[str, Any] | None:
    return None if measured is None else _by_role(measured, name) | {"images": images}


def _by_role(measured: Mapping[str, _Intervals], name: str) -> dict[str, Any]:
    return {role: asdict(Interval.of(measured[role][name])) for role in ("value", "floor")}


def _check(real: EncodedImages, held_out: EncodedImages, synthetic: EncodedImages, neighbours: int) -> None:
    sets = {"real train": real, "held-out": held_out, "synthetic": synthetic}
    if min(map(len, sets.values())) <= neighbours:
        counts = ", ".join(f"{len(part)} {name}" for name, part in sets.items())
        raise InputError(
            f"fidelity.neighbours={neighbours} needs at least {neighbours + 1} images of each kind, "
            f"got {counts}: lower fidelity.neighbours, or set fidelity.measure=false"
        )
    for name, part in sets.items():
        if part.features.shape[1:] != real.features.shape[1:] or part.labels.shape != part.features.shape[:1]:
            raise InputError(
                "features must come from one encoder and have one label each, "
                f"got {part.features.shape} for {name} images"
            )
        if not np.isfinite(part.features).all():
            raise InputError(
                f"features of {name} images must be finite, but some are not: choose another fidelity.encoder"
            )
    if not _varies(real.features):
        raise InputError(
            f"features of real train images must differ, got {len(real)} equal ones: "
            "choose another fidelity.encoder"
        )


def _varies(features: np.ndarray) -> bool:
    return bool((features != features[:1]).any())


def _sides(
    real: EncodedImages, held_out: EncodedImages, synthetic: EncodedImages, rng: np.random.Generator
) -> _Sides:
    count = min(len(held_out), len(synthetic))
    subsets = min(len(synthetic) // count, _MAX_SUBSETS)
    return _Sides(
        real, {"value": _subsets(synthetic, count, subsets, rng), "floor": _subsets(held_out, count, 1, rng)}
    )


def _subsets(part: EncodedImages, count: int, times: int, rng: np.random.Generator) -> list[EncodedImages]:
    if count == len(part):
        return [part]
    return [part.select(rows) for rows in np.split(_in_shares(part.labels, rng)[: times * count], times)]


def _in_shares(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order in which every part of the sequence has the class shares of the whole."""
    order = rng.permutation(len(labels))
    position = np.empty(len(labels))
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        position[of_class] = (np.arange(len(of_class)) + rng.random()) / len(of_class)
    return np.argsort(position, kind="stable")


def _measure(sides: _Sides, options: _Options, rng: np.random.Generator) -> dict[str, _Intervals]:
    """Every measure, by role."""
    parts = [_by_neighbours(sides, options), _by_moments(sides, options, rng)]
    return {
        role: {name: interval for part in parts for name, interval in part[role].items()}
        for role in sides.tests
    }


def _by_neighbours(sides: _Sides, options: _Options) -> dict[str, _Intervals]:
    """Precision, recall, density and coverage."""
    k, block = options.neighbours, options.block
    real = sides.real.features
    of_real = balls(real, k=k, block=block)
    found: dict[str, _Intervals] = {}
    for role, sets in sides.tests.items():
        measured = [
            neighbour_measures(
                real, part.features, of_real, balls(part.features, k=k, block=block), block=block
            )
            for part in sets
        ]
        found[role] = {
            name: neighbour_interval(
                name,
                [one[name] for one in measured],
                real_groups=sides.real.labels,
                synthetic_groups=[part.labels for part in sets],
            )
            for name in measured[0]
        }
    return found


def _by_moments(sides: _Sides, options: _Options, rng: np.random.Generator) -> dict[str, _Intervals]:
    """Kernel distances and Fréchet distance on shared resamples, and the Vendi score."""
    real_weights = bootstrap_weights(sides.real.labels, options.num_resamples, rng)
    weights = {
        (role, number): bootstrap_weights(part.labels, options.num_resamples, rng)
        for role, sets in sides.tests.items()
        for number, part in enumerate(sets)
    }
    kernels = _kernel_distances(sides, real_weights, weights, options, rng)
    gaussians = _frechet_distances(sides, real_weights, weights, options)
    found: dict[str, _Intervals] = {}
    for role, sets in sides.tests.items():
        numbers = range(len(sets))
        kid, mmd, cmmd = np.mean([kernels[role, number] for number in numbers], axis=0)
        distance = np.mean([gaussians[role, number] for number in numbers], axis=0)
        found[role] = {
            "frechet_distance": centred_interval(distance, least=0),
            "kid": centred_interval(kid),
            "mmd": centred_interval(mmd),
            "cmmd": centred_interval(_CMMD_SCALE * cmmd),
            "vendi_score": vendi_interval(
                [(part.features, part.labels) for part in sets], block=options.block
            ),
        }
    return found


def _kernel_distances(
    sides: _Sides,
    real_weights: np.ndarray,
    weights: Mapping[tuple[str, int], np.ndarray],
    options: _Options,
    rng: np.random.Generator,
) -> dict[tuple[str, int], np.ndarray]:
    """Squared MMD of each set under the three kernels, as published, (3, 1 + R)."""
    real = sides.real.features
    kernels = _kernels(real, rng)
    within_real = mean_kernels(real, real_weights, kernels=kernels, block=options.block)
    return {
        key: within_real
        + mean_kernels(features, weights[key], kernels=kernels, block=options.block)
        - 2 * mean_kernels(real, real_weights, features, weights[key], kernels=kernels, block=options.block)
        for key, features in sides.each()
    }


def _kernels(real: np.ndarray, rng: np.random.Generator) -> list[Kernel]:
    """The kernels of :data:`KERNEL_MEASURES`; the bandwidth of the second follows the real images."""
    some = (
        real
        if len(real) <= _MAX_FOR_BANDWIDTH
        else real[rng.choice(len(real), _MAX_FOR_BANDWIDTH, replace=False)]
    )
    bandwidth = median_bandwidth(torch.from_numpy(np.ascontiguousarray(some))).item()
    return [cubic_kernel(real.shape[1]), gaussian_kernel(bandwidth), direction_kernel(_CMMD_BANDWIDTH)]


def _frechet_distances(
    sides: _Sides, real_weights: np.ndarray, weights: Mapping[tuple[str, int], np.ndarray], options: _Options
) -> dict[tuple[str, int], np.ndarray]:
    """Fréchet distance of each set, (1 + R,)."""
    distances = {key: np.empty(w.shape[1]) for key, w in weights.items()}
    for resample, real_weight in enumerate(real_weights.T):
        real = mean_and_root(sides.real.features, real_weight, block=options.block)
        for key, features in sides.each():
            other = mean_and_root(features, weights[key][:, resample], block=options.block)
            distances[key][resample] = frechet_distance(*real, *other)
    return distances


def _warnings(
    sides: _Sides, compared: Mapping[str, int], class_names: Sequence[str], neighbours: int
) -> list[str]:
    """Warnings about too few images for precise measures."""
    found = []
    count, width = len(sides.tests["floor"][0]), sides.real.features.shape[1]
    if min(count, len(sides.real)) <= width:
        found.append(
            f"{count} images are compared with {len(sides.real)} real ones, with {width} features each: with "
            "fewer images than features the Fréchet distance is far too large; read it beside its floor only"
        )
    if count < _FEW:
        found.append(
            f"only {count} images are compared: no measure is precise, and the intervals themselves are rough"
        )
    few = [name for name, images in compared.items() if images < _FEW]
    if few:
        found.append(
            f"fewer than {_FEW} images are compared of {_named(few)}: figures of a class are rough there"
        )
    missing = [name for name in class_names if name not in compared]
    if missing:
        found.append(
            f"no figures of {_named(missing)}: fidelity.neighbours={neighbours} needs {neighbours + 1} real "
            "train, held-out and synthetic images of a class, and real ones that are not all equal"
        )
    return found


def _named(names: Sequence[str]) -> str:
    return f"{'class' if len(names) == 1 else 'the classes'} {listed(names)}"
