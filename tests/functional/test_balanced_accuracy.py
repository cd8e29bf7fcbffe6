"""The interval of balanced accuracy in simulated experiments with a known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.functional.balanced_accuracy import balanced_accuracy_interval, balanced_standard_error
from understudy.functional.intervals import accuracy_interval, standard_error

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


def _answers(rights, sizes):
    """Right answers first in each class, and the labels."""
    right = [np.arange(size) < number for number, size in zip(rights, sizes, strict=True)]
    return np.concatenate(right)[None], np.repeat(np.arange(len(sizes)), sizes)


@pytest.mark.parametrize(
    ("rights", "sizes", "variance", "images", "expected"),
    [
        ((198, 6), (200, 8), (0.99 * 0.01 / 199 + 0.75 * 0.25 / 7) / 4, 30.769, 0.0805),
        ((270, 12), (300, 20), (0.9 * 0.1 / 299 + 0.6 * 0.4 / 19) / 4, 75, 0.0558),
        ((200, 8), (200, 8), 0, 30.769, 0.0395),  # all right is no certainty
    ],
)
def test_the_standard_error_of_classes_of_different_sizes(rights, sizes, variance, images, expected):
    mean = np.mean(np.array(rights) / sizes)
    with_four = (images * mean + 2) / (images + 4)
    squares = images * (mean - with_four) ** 2 + 2 * with_four**2 + 2 * (1 - with_four) ** 2
    by_hand = np.sqrt(images**2 * variance + squares) / (images + 4)
    assert balanced_standard_error(*_answers(rights, sizes)) == pytest.approx(by_hand, rel=1e-4)
    assert by_hand == pytest.approx(expected, abs=1e-4)


@given(st.integers(0, 40), st.integers(1, 5))
def test_classes_of_equal_size_and_recall_are_images_of_one(right, num_classes):
    found = balanced_standard_error(*_answers((right,) * num_classes, (40,) * num_classes))
    assert found == pytest.approx(standard_error(right / 40, num_classes * 40), rel=0.015)


@pytest.mark.parametrize(("sizes", "rates"), [cell for cell in CELLS if {*cell[1]} != {1}])
def test_the_standard_error_is_that_of_simulated_classes(sizes, rates):
    """Mean of 300 experiments. A class of one or two images beside a large one shows too little of itself."""
    rng, labels = np.random.default_rng(3), np.repeat(np.arange(len(sizes)), sizes)
    rate = np.array(rates)[labels]
    mean = np.mean([balanced_standard_error(rng.random((1, len(rate))) < rate, labels) for _ in range(300)])
    true = np.sqrt((np.array(rates) * (1 - np.array(rates)) / sizes).sum()) / len(sizes)
    assert (0.5 if len(sizes) == 2 and min(sizes) < 3 else 0.9) < mean / true < 1.2


def test_one_image_has_a_standard_error():
    found = balanced_standard_error(np.ones((1, 1)), np.zeros(1, dtype=int))
    assert found == pytest.approx(standard_error(1, 1))
