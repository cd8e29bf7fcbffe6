"""The unpaired interval against Welch's, the paired one, and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from understudy.functional.intervals import mean_interval
from understudy.functional.unpaired import unpaired_difference


def test_is_welch_with_one_training_and_many_images():
    rng = np.random.default_rng(0)
    a, b = rng.random((1, 900)) < 0.7, rng.random((1, 700)) < 0.4
    mean, low, high = unpaired_difference(a, b)
    welch = stats.ttest_ind(a[0], b[0], equal_var=False).confidence_interval(0.95)
    assert mean == pytest.approx(a.mean() - b.mean())
    assert (low, high) == pytest.approx((welch.low, welch.high), abs=0.002)


def test_is_the_interval_of_agresti_and_caffo():
    """They take the normal quantile and divide by n + 2: 1 of 30 against 4 of 25."""
    a, b = (np.arange(30) < 1)[None], (np.arange(25) < 4)[None]
    p, q = 2 / 32, 5 / 27
    half = 1.96 * np.sqrt(p * (1 - p) / 32 + q * (1 - q) / 27)
    _, low, high = unpaired_difference(a, b)
    assert (low, high) == pytest.approx((p - q - half, p - q + half), abs=0.01)


@pytest.mark.parametrize("rate", [0.8, 0.99, 1.0])
def test_covers_the_truth(rate):
    """Trainings and images both vary; different numbers of either."""
    rng, covered = np.random.default_rng(1), 0
    for _ in range(300):
        a, b = (
            rng.random((seeds, images)) < np.minimum(1, rng.normal(rate, 0.2 * (1 - rate), (seeds, 1)))
            for seeds, images in ((4, 60), (3, 80))
        )
        _, low, high = unpaired_difference(a, b)
        covered += low <= 0 <= high
    assert covered >= 0.93 * 300


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4))
def test_symmetry_and_order(seed, seeds_a, seeds_b):
    rng = np.random.default_rng(seed)
    a, b = rng.random((seeds_a, 9)) < 0.7, rng.random((seeds_b, 12)) < 0.4
    mean, low, high = unpaired_difference(a, b)
    assert -1 <= low <= mean <= high <= 1
    assert unpaired_difference(b, a) == pytest.approx((-mean, -high, -low))


def test_against_many_constant_images_it_is_the_interval_of_the_mean():
    values = np.random.default_rng(2).random((3, 200)) < 0.8
    against_none = unpaired_difference(values, np.zeros((1, 10**6)))
    assert against_none == pytest.approx(mean_interval(values, limits=(0, 1)), abs=1e-4)


def test_equal_predictions_are_not_certain():
    mean, low, high = unpaired_difference(np.ones((2, 500)), np.zeros((3, 700)))
    assert (mean, high) == (1, 1)
    assert 0.99 < low < 0.998
    mean, low, high = unpaired_difference(np.ones((2, 500)), np.ones((3, 700)))
    assert mean == 0
    assert low < -0.002
    assert high > 0.002


@pytest.mark.parametrize("shape", [(3,), (0, 4), (2, 1)])
def test_shapes_are_checked(shape):
    with pytest.raises(ValueError, match=r"values must be of shape \(seeds, images\)"):
        unpaired_difference(np.zeros((2, 4)), np.zeros(shape))
