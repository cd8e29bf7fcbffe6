"""Stratified splits and few-shot subsets that do not depend on the order of the images.

Images of a class are sorted by a hash of seed and id, and splits take images from the front. So the order in
which a source lists its files does not matter, and a choice of k + 1 images per class contains that of k.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.labelled_set import LabelledSet
from understudy.data.sources.split_names import RealSplit
from understudy.functional.allocation import first_of_each_class

_Unit = tuple[str, int, list[int]]


def stratified_split(
    ids: Sequence[str],
    labels: np.ndarray,
    fractions: Mapping[RealSplit, float],
    *,
    class_names: Sequence[str],
    seed: int,
    groups: Sequence[int] | None = None,
    test_seed: int | None = None,
) -> dict[RealSplit, np.ndarray]:
    """Divide images into ``train`` and further splits, with every class in every split.

    Args:
        ids: unique names of N images.
        labels: int of shape (N,).
        fractions: share of each split except ``train``, which gets the rest; in (0, 1), with a sum below 1.
        class_names: names by label.
        seed: chooses the split.
        groups: group of each image; images of the same group stay together and count once, for the class that
            fewest groups have. If not given, every image is its own group.
        test_seed: chooses the test images in place of ``seed``, which then divides the rest.

    Returns:
        Sorted indices per split. Each class has its share of each split, to within one image; at least one.
        If groups have images of several classes, its share is that of the groups that count for it.

    Raises:
        InputError: if the fractions leave nothing for ``train``, a class has fewer images or groups than
            there are splits, or the groups leave a split without a class.
    """
    if sum(fractions.values()) >= 1:
        raise InputError(
            f"val and test fractions must have a sum below 1, got {sum(fractions.values()):g}: "
            "nothing is left to train on"
        )
    having, units = _units(ids, labels, groups, num_classes=len(class_names))
    ordered = _by_class(units, len(class_names), seed=seed)
    once = " (copies, and images of a group, count once)" if len(units) < len(ids) else ""
    purpose = f"to split off {' and '.join(fractions)}{once}"
    advice = "add images of these classes, or leave the classes out"
    _check_enough(having, len(fractions) + 1, class_names, purpose=purpose, advice=advice)
    places = _places(np.array([len(of_class) for of_class in ordered]), fractions)
    if test_seed is not None and "test" in places:
        others = _by_class(units, len(class_names), seed=test_seed)
        ordered = list(map(_with_part_of, ordered, others, places["test"]))
    parts = {
        split: [of_class[place] for of_class, place in zip(ordered, of_split, strict=True)]
        for split, of_split in places.items()
    }
    divided = {
        split: np.sort([index for of_class in classes for _, _, indices in of_class for index in indices])
        for split, classes in parts.items()
    }
    _check_all_classes(divided, labels, class_names)
    return divided


def _check_all_classes(
    divided: Mapping[RealSplit, np.ndarray], labels: np.ndarray, class_names: Sequence[str]
) -> None:
    """Check that groups with images of several classes leave no split without a class."""
    for split, indices in divided.items():
        counts = np.bincount(labels[indices], minlength=len(class_names))
        if empty := [name for name, count in zip(class_names, counts.tolist(), strict=True) if not count]:
            raise InputError(
                f"images of a group stay in one split, and this leaves no {split} images of {listed(empty)}: "
                "add groups with these classes, or take another --seed"
            )


def _places(counts: np.ndarray, fractions: Mapping[RealSplit, float]) -> dict[RealSplit, list[slice]]:
    """The places of each split among the units of each class; ``train`` has the rest."""
    places: dict[RealSplit, list[slice]] = {}
    taken = np.zeros_like(counts)
    for number, (split, fraction) in enumerate(fractions.items()):
        most = np.maximum(0, counts - taken - (len(fractions) - number))
        sizes = np.clip(largest_remainder(round(fraction * counts.sum()), counts), np.minimum(1, most), most)
        places[split] = list(map(slice, taken.tolist(), (taken + sizes).tolist()))
        taken = taken + sizes
    places["train"] = list(map(slice, taken.tolist(), counts.tolist()))
    return places


def largest_remainder(total: int, weights: np.ndarray) -> np.ndarray:
    """Divide a whole number in proportion to weights (Hamilton's method); ties go to the first.

    Args:
        total: number to divide, at least 0.
        weights: non-negative, of shape (C,), not all zero.

    Returns:
        int64 of shape (C,) with sum ``total``, each within one of its exact share.

    Example:
        >>> largest_remainder(5, np.array([10, 10, 5])).tolist()
        [2, 2, 1]
    """
    scaled = np.asarray(weights, dtype=np.int64) * total
    shares, remainders = np.divmod(scaled, np.sum(weights, dtype=np.int64))
    shares[np.argsort(-remainders, kind="stable")[: total - shares.sum()]] += 1
    return shares


def take_shots(data: LabelledSet, shots: int, *, seed: int) -> LabelledSet:
    """Take ``shots`` images of every class, in the order of the set.

    Args:
        data: the images.
        shots: images per class, at least 1.
        seed: chooses the images; with the same seed, more shots contain the images of fewer shots.

    Raises:
        InputError: naming the classes with too few images.
    """
    advice = "add images of these classes, or take fewer shots"
    _check_enough(data.counts, shots, data.class_names, purpose=f"for {shots} shots", advice=advice)
    return take_at_most(data, shots, seed=seed)


def take_at_most(data: LabelledSet, shots: int, *, seed: int) -> LabelledSet:
    """Like :func:`take_shots`, but a class with fewer images keeps all of them."""
    return _first_ranked(data, np.full(data.num_classes, shots), seed=seed)


def take_share(data: LabelledSet, share: float, *, seed: int) -> LabelledSet:
    """Take about ``share`` of the images of every class, at least one.

    With the same seed, a larger share contains a smaller one.

    Args:
        data: the images.
        share: in (0, 1].
        seed: chooses the images.
    """
    return _first_ranked(data, np.maximum(1, np.round(data.counts * share)).astype(np.int64), seed=seed)


def _first_ranked(data: LabelledSet, counts: np.ndarray, *, seed: int) -> LabelledSet:
    """Take the images of each class that the seed ranks first; they stay in the order of the set."""
    ids, labels = data.ids, data.labels
    order = np.array(sorted(range(len(ids)), key=lambda index: _rank(ids[index], seed)), dtype=np.int64)
    return data.select(np.sort(order[first_of_each_class(labels[order], counts)]))


def _units(
    ids: Sequence[str], labels: np.ndarray, groups: Sequence[int] | None, *, num_classes: int
) -> tuple[np.ndarray, list[_Unit]]:
    """The number of groups that have each class, and the units to split: (smallest id, label, indices).

    The label is that of the class that fewest groups have, so that rare classes are divided evenly; of
    several such classes, the one that most images of the group have.
    """
    unit_of = np.arange(len(ids)) if groups is None else np.unique(groups, return_inverse=True)[1]
    # Only classes that a unit has: a row of all classes for each of a million images would not fit.
    pairs, images = np.unique(unit_of * num_classes + labels, return_counts=True)
    unit, label = np.divmod(pairs, num_classes)
    having = np.bincount(label, minlength=num_classes)
    order = np.lexsort((label, -images, having[label], unit))
    chosen = label[order[np.unique(unit[order], return_index=True)[1]]].tolist()
    members: list[list[int]] = [[] for _ in chosen]
    for index, number in enumerate(unit_of.tolist()):
        members[number].append(index)
    names = [min(ids[index] for index in indices) for indices in members]
    return having, list(zip(names, chosen, members, strict=True))


def _by_class(units: Sequence[_Unit], num_classes: int, *, seed: int) -> list[list[_Unit]]:
    """The units of each class in the order of the seed."""
    ordered: list[list[_Unit]] = [[] for _ in range(num_classes)]
    for unit in sorted(units, key=lambda unit: _rank(unit[0], seed)):
        ordered[unit[1]].append(unit)
    return ordered


def _with_part_of(units: list[_Unit], others: list[_Unit], part: slice) -> list[_Unit]:
    """The units in their order, but with the same units in ``part`` as in another order of them."""
    names = {name for name, *_ in others[part]}
    rest = [unit for unit in units if unit[0] not in names]
    return rest[: part.start] + others[part] + rest[part.start :]


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _check_enough(
    counts: np.ndarray, least: int, class_names: Sequence[str], *, purpose: str, advice: str
) -> None:
    few = [
        f"{name!r} has {count}"
        for name, count in zip(class_names, counts.tolist(), strict=True)
        if count < least
    ]
    if few:
        raise InputError(
            f"every class needs at least {least} different images {purpose}, but {listed(few)}: {advice}"
        )
