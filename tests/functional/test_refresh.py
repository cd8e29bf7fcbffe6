"""Dynamic refresh: who stays, who comes, and in which order."""

from itertools import islice, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.functional.allocation import first_of_each_class
from understudy.functional.refresh import refreshed, replaced_per_class

POOLS = st.lists(st.integers(0, 2), min_size=3, max_size=60).map(np.array)
QUOTAS = st.lists(st.integers(0, 8), min_size=3, max_size=3).map(np.array)


def sets_of(labels, quota, share, count, seed=0):
    return list(
        islice(refreshed(labels, np.array(quota), share=share, rng=np.random.default_rng(seed)), count)
    )


@given(labels=POOLS, quota=QUOTAS, share=st.floats(0, 1), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_every_refresh_replaces_its_share_by_others(labels, quota, share, seed):
    sets = sets_of(labels, quota, share, 6, seed)
    in_pool = np.bincount(labels, minlength=3)
    used = np.minimum(quota, in_pool)
    replaced = np.minimum(np.rint(share * used), in_pool - used)
    np.testing.assert_array_equal(sets[0], first_of_each_class(labels, quota))
    for before, after in pairwise(sets):
        assert len(np.unique(after)) == len(after) == used.sum()
        np.testing.assert_array_equal(labels[before], labels[after])
        gone = np.setdiff1d(before, after)
        np.testing.assert_array_equal(np.bincount(labels[gone], minlength=3), replaced)
        assert (before != after).sum() == len(gone)  # who stays keeps the place


def test_replacements_are_the_next_unused_images():
    labels = np.tile([0, 1], 40)
    seen = set()
    for in_use in sets_of(labels, [4, 6], 0.5, 8):
        fresh = [index for index in in_use if index not in seen]
        for label, count in ((0, 4), (1, 6)):
            ours = sorted(index for index in fresh if labels[index] == label)
            assert len(ours) == (count if not seen else count // 2)
            assert (
                ours == [index for index in np.flatnonzero(labels == label) if index not in seen][: len(ours)]
            )
        seen.update(in_use.tolist())


def test_replacing_nothing_and_replacing_everything():
    labels = np.tile([0, 1, 1], 20)
    kept = sets_of(labels, [3, 5], 0.0, 4)
    assert all(np.array_equal(in_use, kept[0]) for in_use in kept)
    everything = np.concatenate(sets_of(labels, [3, 5], 1.0, 6))
    for label in (0, 1):  # on the fly: each set is the next stretch of the pool
        ours = everything[labels[everything] == label]
        np.testing.assert_array_equal(ours, np.flatnonzero(labels == label)[: len(ours)])


def test_the_pool_starts_again_at_its_end():
    used = [sorted(in_use.tolist()) for in_use in sets_of(np.zeros(5, np.int64), [2], 1.0, 5)]
    assert used == [[0, 1], [2, 3], [0, 4], [1, 2], [3, 4]]
    assert [in_use.tolist() for in_use in sets_of(np.zeros(2, np.int64), [4], 1.0, 3)] == [[0, 1]] * 3


def test_the_generator_chooses_the_removed_images():
    labels = np.zeros(60, np.int64)
    assert np.array_equal(sets_of(labels, [9], 0.3, 4), sets_of(labels, [9], 0.3, 4))
    assert not np.array_equal(sets_of(labels, [9], 0.3, 4), sets_of(labels, [9], 0.3, 4, seed=1))
    gone = [np.setdiff1d(*sets_of(np.zeros(20, np.int64), [4], 0.25, 2, seed)).item() for seed in range(400)]
    assert np.bincount(gone).min() > 70  # each of the four about 100 times


def test_replaced_per_class():
    np.testing.assert_array_equal(replaced_per_class(np.array([0, 1, 10, 25]), 0.1), [0, 0, 1, 2])
    np.testing.assert_array_equal(replaced_per_class(np.array([3, 7]), 1.0), [3, 7])
