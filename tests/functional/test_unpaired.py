"""The unpaired interval against Welch's, the paired one, and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from understudy.functional.intervals import bootstrap_mean
from understudy.functional.unpaired import unpaired_bootstrap_difference


def difference(a, b, *, seed=0, num_resamples=4000):
    return unpaired_bootstrap_difference(a, b, np.random.default_rng(seed), num_resamples=num_resamples)


def test_is_welch_with_one_training_and_many_images():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 1, (1, 900)), rng.normal(0, 2, (1, 700))
    mean, low, high = difference(a, b, num_resamples=20_000)
    welch = stats.ttest_ind(a[0], b[0], equal_var=False).confidence_interval(0.95)
    assert mean == pytest.approx(a.mean() - b.mean())
    assert (low, high) == pytest.approx((welch.low, welch.high), abs=0.01)


def test_covers_the_truth():
    """Trainings and images both vary; different numbers of either."""
    rng, covered = np.random.default_rng(1), 0
    for trial in range(200):
        a, b = (
            rng.normal(0, 0.3, (seeds, 1)) + rng.normal(0, 1, images) + rng.normal(0, 1, (seeds, images))
            for seeds, images in ((4, 60), (3, 80))
        )
        _, low, high = difference(a, b, seed=trial, num_resamples=300)
        covered += low <= 0 <= high
    assert covered >= 0.93 * 200


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4))
def test_symmetry_and_order(seed, seeds_a, seeds_b):
    rng = np.random.default_rng(seed)
    a, b = rng.random((seeds_a, 9)) < 0.7, rng.random((seeds_b, 12)) < 0.4
    mean, low, high = difference(a, b, num_resamples=400)
    assert low <= mean <= high
    assert mean == pytest.approx(-difference(b, a, num_resamples=400)[0])
    assert difference(a, b, num_resamples=400) == (mean, low, high)


def test_against_a_constant_it_is_the_interval_of_the_mean():
    values = np.random.default_rng(2).random((3, 200)) < 0.8
    mean, low, high = difference(values, np.zeros((1, 2)), num_resamples=20_000)
    assert (mean, low, high) == pytest.approx(
        bootstrap_mean(values, np.random.default_rng(3), num_resamples=20_000), abs=0.003
    )
    assert difference(np.ones((2, 5)), np.zeros((3, 7))) == (1, 1, 1)


def test_the_interval_stays_within_the_possible_differences():
    """Student's factor for three trainings that disagree would give -2.2 to 2.2."""
    a, b = np.eye(3)[:, [0, 0]] == 1, np.eye(3)[:, [1, 1]] == 1
    assert difference(a, b) == (0, -1, 1)
    assert difference(3 * a, b - 5.0) == (pytest.approx(5.67, abs=0.01), 4, 8)


@pytest.mark.parametrize("shape", [(3,), (0, 4), (2, 1)])
def test_shapes_are_checked(shape):
    with pytest.raises(ValueError, match=r"values must be of shape \(seeds, images\)"):
        difference(np.zeros((2, 4)), np.zeros(shape))
