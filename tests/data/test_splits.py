from __future__ import annotations

import hashlib
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from data_pictures import picture
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.data.sources.split_names import RealSplit
from understudy.data.splits import (
    largest_remainder,
    stratified_split,
    take_at_most,
    take_share,
    take_shots,
)

NAMES = ("a", "b", "c")


@st.composite
def labelled_ids(draw: st.DrawFn) -> tuple[list[str], np.ndarray]:
    counts = draw(st.lists(st.integers(3, 30), min_size=3, max_size=3))
    labels = np.repeat(np.arange(3), counts)
    return [f"image-{index}" for index in range(len(labels))], labels


@settings(max_examples=40, deadline=None)
@given(labelled_ids(), st.floats(0.05, 0.45), st.floats(0.05, 0.45), st.integers(0, 99))
def test_split_is_disjoint_complete_and_stratified(
    data: tuple[list[str], np.ndarray], val: float, test: float, seed: int
) -> None:
    ids, labels = data
    parts = stratified_split(ids, labels, {"val": val, "test": test}, class_names=NAMES, seed=seed)
    assert set(parts) == {"train", "val", "test"}
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(ids)))
    sizes = np.bincount(labels)
    for split, fraction in (("val", val), ("test", test)):
        counts = np.bincount(labels[parts[split]], minlength=3)
        assert (counts >= 1).all()
        # One image for the share, half an image for rounding the total.
        assert (np.abs(counts - fraction * sizes) <= 1.5).all()
    assert (np.bincount(labels[parts["train"]], minlength=3) >= 1).all()


@settings(max_examples=20, deadline=None)
@given(labelled_ids(), st.randoms(use_true_random=False))
def test_split_does_not_depend_on_the_order(data: tuple[list[str], np.ndarray], random: object) -> None:
    ids, labels = data
    order = list(range(len(ids)))
    random.shuffle(order)  # type: ignore[attr-defined]
    one = stratified_split(ids, labels, {"val": 0.2, "test": 0.2}, class_names=NAMES, seed=1)
    mixed = [ids[index] for index in order]
    two = stratified_split(mixed, labels[order], {"val": 0.2, "test": 0.2}, class_names=NAMES, seed=1)
    for split in one:
        assert {ids[index] for index in one[split]} == {mixed[index] for index in two[split]}


@settings(max_examples=20, deadline=None)
@given(labelled_ids(), st.integers(1, 5), st.integers(0, 99))
def test_groups_are_ranked_within_their_class(
    data: tuple[list[str], np.ndarray], size: int, seed: int
) -> None:
    """Straight from the words: the units of a class in the order of their hash, val first, then test. A group
    with images of several classes stays together, and counts for the class that fewest groups have.
    """
    ids, labels = data
    groups = [index // size for index in range(len(ids))]
    shares = {"val": 0.2, "test": 0.25}
    members = {group: [i for i in range(len(ids)) if groups[i] == group] for group in groups}
    counts = {group: Counter(labels[of].tolist()) for group, of in members.items()}
    having = Counter(label for of in counts.values() for label in of)
    label_of = {
        group: min(of, key=lambda label: (having[label], -of[label], label)) for group, of in counts.items()
    }
    units = {
        label: sorted(
            {(group, min(ids[i] for i in of)) for group, of in members.items() if label_of[group] == label},
            key=lambda unit: hashlib.sha256(f"{seed}:{unit[1]}".encode()).digest(),
        )
        for label in range(3)
    }
    if min(map(len, units.values())) < 3:
        return
    parts = stratified_split(ids, labels, shares, class_names=NAMES, seed=seed, groups=groups)
    split_of = {group: split for split, indices in parts.items() for group in {groups[i] for i in indices}}
    assert sum(len({groups[i] for i in indices}) for indices in parts.values()) == len(members)
    for ranked in units.values():
        order = [split_of[group] for group, _ in ranked]
        assert order == sorted(order, key=["val", "test", "train"].index)


def test_groups_stay_together() -> None:
    ids, labels = [f"{index}" for index in range(40)], np.repeat([0, 1], 20)
    groups = [index // 4 for index in range(40)]
    parts = stratified_split(
        ids, labels, {"val": 0.2, "test": 0.2}, class_names=("a", "b"), seed=0, groups=groups
    )
    assert {split: len(indices) for split, indices in parts.items()} == {"train": 24, "val": 8, "test": 8}
    where = {groups[index]: split for split, indices in parts.items() for index in indices}
    assert all(where[groups[index]] == split for split, indices in parts.items() for index in indices)


def test_many_images_of_many_classes_take_no_table_of_both() -> None:
    """A row of 1,000 classes for each of 20,000 images would take 160 MB."""
    ids, labels = [f"{index}" for index in range(20_000)], np.arange(20_000) % 1000
    names = tuple(map(str, range(1000)))
    tracemalloc.start()
    stratified_split(ids, labels, {"val": 0.2, "test": 0.2}, class_names=names, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_seeds_differ_and_repeat() -> None:
    ids, labels = [f"{index}" for index in range(40)], np.repeat([0, 1], 20)
    first, again, other = (
        stratified_split(ids, labels, {"val": 0.3}, class_names=("a", "b"), seed=seed)["val"].tolist()
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_too_few_images_and_fractions() -> None:
    with pytest.raises(InputError, match=r"at least 3 different images .*'b' has 2"):
        stratified_split(
            list("uvwxy"),
            np.array([0, 0, 0, 1, 1]),
            {"val": 0.2, "test": 0.2},
            class_names=("a", "b"),
            seed=0,
        )
    with pytest.raises(InputError, match=r"sum below 1, got 1.1"):
        stratified_split(
            list("uv"), np.array([0, 1]), {"val": 0.5, "test": 0.6}, class_names=("a", "b"), seed=0
        )


@given(st.integers(0, 500), st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any))
def test_largest_remainder_keeps_total_and_quota(total: int, weights: list[int]) -> None:
    shares = largest_remainder(total, np.array(weights))
    assert shares.sum() == total
    assert (np.abs(shares - total * np.array(weights) / sum(weights)) < 1).all()


def shots_set() -> LabelledSet:
    return LabelledSet.from_images([picture(0)] * 20, [0, 1] * 10, class_names=("a", "b"), split="train")


def test_shots_are_nested_seeded_and_balanced() -> None:
    data = shots_set()
    chosen = [set(take_shots(data, shots, seed=3).ids) for shots in (1, 2, 5)]
    assert chosen[0] < chosen[1] < chosen[2]
    assert take_shots(data, 4, seed=3).counts.tolist() == [4, 4]
    assert take_shots(data, 4, seed=3).ids != take_shots(data, 4, seed=4).ids
    reversed_set = data.select(np.arange(20)[::-1])
    assert set(take_shots(reversed_set, 5, seed=3).ids) == chosen[2]


def test_shots_name_the_small_classes() -> None:
    with pytest.raises(InputError, match=r"at least 9 .*for 9 shots, but 'b' has 8"):
        take_shots(shots_set().select(np.arange(17)), 9, seed=0)
    assert take_at_most(shots_set().select(np.arange(17)), 9, seed=0).counts.tolist() == [9, 8]


@given(st.lists(st.integers(0, 20), min_size=2, max_size=2).filter(any), st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_shares_are_nested_and_stratified(counts: list[int], seed: int) -> None:
    labels = np.repeat([0, 1], counts)
    data = shots_set().select(
        np.concatenate(
            [np.flatnonzero(shots_set().labels == label)[:count] for label, count in enumerate(counts)]
        )
    )
    chosen: set[str] = set()
    for share in (0.01, 0.125, 0.3, 0.5, 0.9, 1.0):
        part = take_share(data, share, seed=seed)
        assert chosen <= set(part.ids)
        chosen = set(part.ids)
        sizes = np.bincount(data.labels, minlength=2)
        assert (part.counts == np.where(sizes, np.maximum(1, np.round(sizes * share)), 0)).all()
        assert part.ids == [name for name in data.ids if name in chosen], "in the order of the set"
    assert len(chosen) == len(data) <= len(labels)


def test_shares_follow_the_seed_and_not_the_order() -> None:
    data = shots_set()
    mixed = data.select(np.random.default_rng(0).permutation(20))
    assert set(take_share(data, 0.4, seed=1).ids) == set(take_share(mixed, 0.4, seed=1).ids)
    assert set(take_share(data, 0.4, seed=1).ids) != set(take_share(data, 0.4, seed=2).ids)


@given(labelled_ids(), st.integers(0, 5), st.integers(0, 5))
def test_a_seed_of_its_own_keeps_the_test_images(
    data: tuple[list[str], np.ndarray], seed: int, test_seed: int
) -> None:
    ids, labels = data
    shares: dict[RealSplit, float] = {"val": 0.2, "test": 0.3}
    plain = stratified_split(ids, labels, shares, class_names=NAMES, seed=test_seed)
    found = stratified_split(ids, labels, shares, class_names=NAMES, seed=seed, test_seed=test_seed)
    assert found["test"].tolist() == plain["test"].tolist()
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(ids)))
    for split, part in plain.items():
        assert len(found[split]) == len(part)
        assert seed != test_seed or found[split].tolist() == part.tolist()


def test_the_seed_divides_the_rest() -> None:
    ids, labels = [f"{number}.png" for number in range(60)], np.repeat([0, 1], 30)
    shares: dict[RealSplit, float] = {"val": 0.2, "test": 0.2}
    found = [
        stratified_split(ids, labels, shares, class_names=("a", "b"), seed=seed, test_seed=7)
        for seed in range(3)
    ]
    assert len({tuple(parts["val"].tolist()) for parts in found}) == 3
    given_test: dict[RealSplit, float] = {"val": 0.2}
    alone = [
        stratified_split(ids, labels, given_test, class_names=("a", "b"), seed=0, test_seed=number)
        for number in (None, 7)
    ]
    assert alone[0]["val"].tolist() == alone[1]["val"].tolist()
