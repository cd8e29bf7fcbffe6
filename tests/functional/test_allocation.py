import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.functional.allocation import allocate_to_weak, first_of_each_class, in_rounds

CLASSES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12
)


@given(CLASSES)
def test_the_sum_stays_and_no_class_vanishes(rows):
    quota, errors, right = np.array(rows).T
    shared = allocate_to_weak(quota, errors, errors + right)
    assert shared.dtype == np.int64
    assert shared.sum() == quota.sum()
    assert (shared[quota == 0] == 0).all()
    assert (shared >= np.minimum(quota, np.maximum(1, quota // 2))).all()


@given(CLASSES)
def test_shares_are_those_of_the_formula(rows):
    quota, errors, right = np.array(rows).T
    quota = quota + 3  # so that no share is below 1
    weak = quota * (errors + 1) / (errors + right + 2)
    ideal = quota.sum() * (quota / quota.sum() + weak / weak.sum()) / 2
    shared = allocate_to_weak(quota, errors, errors + right)
    assert (np.abs(shared - ideal) < 1).all()
    raised = shared > np.floor(ideal)
    assert (ideal % 1)[raised].min(initial=1) >= (ideal % 1)[~raised].max(initial=0) - 1e-9


@given(st.lists(st.integers(0, 4), max_size=40), st.lists(st.integers(0, 9), min_size=5, max_size=7))
def test_first_of_each_class_equals_its_definition(labels, counts):
    seen, wanted = [0] * len(counts), []
    for index, label in enumerate(labels):
        wanted += [index] if seen[label] < counts[label] else []
        seen[label] += 1
    found = first_of_each_class(np.array(labels, dtype=np.int64), np.array(counts))
    assert found.dtype == np.int64
    assert found.tolist() == wanted


@given(st.lists(st.integers(0, 60), min_size=1, max_size=9), st.integers(0, 5), st.integers(0, 5))
def test_equal_errors_change_nothing(quota, errors, right):
    num = len(quota)
    shared = allocate_to_weak(np.array(quota), np.full(num, errors), np.full(num, errors + right))
    np.testing.assert_array_equal(shared, quota)


def test_a_weaker_class_gets_more():
    shared = allocate_to_weak(np.full(3, 100), np.array([0, 9, 18]), np.full(3, 18))
    # Laplace: 1/20, 10/20, 19/20 of 1.5
    assert shared.tolist() == [55, 100, 145]
    assert allocate_to_weak(np.zeros(2, int), np.zeros(2, int), np.zeros(2, int)).tolist() == [0, 0]


def test_few_validation_images_shift_little():
    quota = np.full(2, 100)
    certain = allocate_to_weak(quota, np.array([0, 50]), np.array([50, 50]))
    unsure = allocate_to_weak(quota, np.array([0, 1]), np.array([1, 1]))
    assert certain[1] > unsure[1] > 100


@pytest.mark.parametrize(
    ("quota", "errors", "counts"), [([1], [2], [1]), ([-1], [0], [1]), ([1], [-1], [1]), ([1, 1], [0], [1])]
)
def test_allocation_checks_its_arguments(quota, errors, counts):
    with pytest.raises(ValueError, match="0 <= errors <= counts"):
        allocate_to_weak(np.array(quota), np.array(errors), np.array(counts))


@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_first_of_each_class(labels, counts):
    index = first_of_each_class(np.array(labels, dtype=np.int64), np.array(counts)).tolist()
    left, expected = list(counts), []
    for position, label in enumerate(labels):
        if left[label]:
            expected.append(position)
            left[label] -= 1
    assert index == expected


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(1, 7))
def test_rounds_add_up_to_the_quota(quota, rounds):
    sizes = in_rounds(np.array(quota), rounds)
    assert sizes.shape == (rounds, len(quota)) and sizes[-1].tolist() == quota
    steps = np.diff(sizes, axis=0, prepend=0)
    assert (steps >= 0).all() and (np.ptp(steps, axis=0) <= 1).all()
    assert (sizes[0] > 0).tolist() == [count > 0 for count in quota]
