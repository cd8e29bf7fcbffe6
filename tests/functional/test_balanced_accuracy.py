"""The interval of balanced accuracy in simulated experiments with a known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.functional.balanced_accuracy import balanced_accuracy_interval
from understudy.functional.intervals import accuracy_interval

CELLS = [
    ((200, 8), (0.99, 0.8)),
    ((300, 20), (1, 0.92)),
    ((300, 20), (0.9, 0.6)),
    ((300, 20), (1, 1)),
    ((100, 100, 100, 5), (1, 1, 1, 0.75)),
    ((100, 1), (1, 0.5)),
    ((40, 2), (0.9, 0.5)),
    ((5,) * 20, (0.95,) * 20),
    ((1,) * 30, (0.8,) * 30),
]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("sizes", "rates"), CELLS)
def test_covers_the_truth_with_small_classes(sizes, rates, seeds):
    """300 experiments: standard error of the coverage 1.3 points. Trainings differ on a quarter of images."""
    rng, hits, labels = np.random.default_rng(7), 0, np.repeat(np.arange(len(sizes)), sizes)
    rate = np.array(rates)[labels]
    for _ in range(300):
        correct = np.tile(rng.random(len(labels)) < rate, (seeds, 1))
        if seeds > 1:
            differs = rng.random(correct.shape) < 0.25
            correct = np.where(differs, rng.random(correct.shape) < rate, correct)
        _, low, high = balanced_accuracy_interval(correct, labels)
        hits += low <= np.mean(rates) <= high
    assert hits / 300 >= 0.93


@pytest.mark.parametrize(("num_classes", "share"), [(1, 0.95), (4, 0.6), (4, 0.95), (20, 0.95)])
def test_classes_of_equal_size_are_about_as_wide_as_accuracy(num_classes, share):
    labels = np.arange(400) % num_classes
    correct = np.random.default_rng(1).random((1, 400)) < share
    mean, *ends = accuracy_interval(correct)
    found, *found_ends = balanced_accuracy_interval(correct, labels)
    assert found == pytest.approx(mean)
    np.testing.assert_allclose(np.diff(found_ends), np.diff(ends), rtol=0.15)


def test_seeds_that_differ_widen_the_interval():
    labels = np.repeat([0, 1], [300, 100])
    place = np.concatenate([np.arange(300) / 300, np.arange(100) / 100])
    widths = [
        np.diff(balanced_accuracy_interval(np.array([place < share for share in shares]), labels)[1:])
        for shares in ([0.8, 0.8, 0.8], [0.7, 0.8, 0.9])
    ]
    assert widths[1] > 2 * widths[0]


@given(
    correct=st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=3),
    labels=st.lists(st.integers(0, 3), min_size=7, max_size=7),
)
@settings(max_examples=50, deadline=None)
def test_properties(correct, labels):
    """The ends enclose the mean, never coincide with it on both sides, and swap with right and wrong."""
    values, classes = np.array(correct), np.array(labels)
    mean, low, high = balanced_accuracy_interval(values, classes)
    assert 0 <= low <= mean <= high <= 1
    assert low < high
    swapped = balanced_accuracy_interval(~values, classes)
    np.testing.assert_allclose(swapped, [1 - mean, 1 - high, 1 - low], atol=1e-9)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="must be of shape"):
        balanced_accuracy_interval(np.zeros((3, 1)), np.zeros(1, dtype=int))
