"""The Bayesian bootstrap: weights of the right spread, and intervals that hold the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from understudy.functional.resampling import (
    bootstrap_weights,
    centred_interval,
    freedom,
    jackknife_spread,
    jackknife_variance,
    share_interval,
)


@pytest.mark.parametrize(("num", "variance"), [(1, 0), (2, 1 / 2), (3, 2 / 2.5), (4, 1), (50, 1)])
def test_weights_have_the_moments_of_a_dirichlet_distribution(num, variance):
    weights = bootstrap_weights(np.repeat([3, 1], [num, 9]), 20_000, np.random.default_rng(0))
    assert (weights[:, 0] == 1).all() and (weights > 0).all()
    for group in (weights[:num], weights[num:]):
        np.testing.assert_allclose(group.mean(axis=0), 1)
    assert weights[:num, 1:].var() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize("num", [4, 20])
def test_the_variance_of_resampled_means_is_unbiased(num):
    x = np.random.default_rng(0).normal(size=num)
    means = bootstrap_weights(np.zeros(num), 50_000, np.random.default_rng(1))[:, 1:].T @ x / num
    assert means.var() == pytest.approx(x.var(ddof=1) / num, rel=0.03)


def test_intervals_of_a_mean_have_their_nominal_coverage():
    held = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x, weights = rng.exponential(size=60), bootstrap_weights(np.zeros(60), 300, rng)
        mean, low, high = centred_interval(weights.T @ x / 60)
        assert mean == pytest.approx(x.mean())
        held.append(low <= 1 <= high)
    assert 0.89 <= np.mean(held) <= 0.97


def test_the_bias_of_resamples_is_removed_and_ends_are_cut():
    values = np.concatenate([[5.0], norm.ppf((np.arange(2000) + 0.5) / 2000) + 100])
    mean, low, high = centred_interval(values)
    assert (mean, low, high) == pytest.approx((5, 5 - 1.96, 5 + 1.96), abs=0.01)
    assert centred_interval(values, least=4.5, most=5.5) == (5, 4.5, 5.5)


def test_arguments_are_checked():
    for values in (np.zeros(1), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="R > 0"):
            centred_interval(values)


def test_freedom_of_a_jackknife_variance_of_normal_values_is_about_their_number():
    values, groups = np.random.default_rng(0).normal(size=5000), np.zeros(5000, dtype=int)
    found = freedom(jackknife_variance(values, groups), jackknife_spread(values, groups))
    assert found == pytest.approx(5000, rel=0.1)
    one_decides = np.where(np.arange(50) == 0, 1.0, 0.0)
    assert freedom(*(of(one_decides, groups[:50]) for of in (jackknife_variance, jackknife_spread))) < 3


@given(st.floats(0, 1), st.floats(0, 0.1), st.floats(1, 100), st.integers(2, 500))
def test_intervals_of_shares_hold_the_share_and_have_width(share, variance, degrees, num):
    mean, low, high = share_interval(share, variance, degrees, num)
    assert mean == share and 0 <= low <= share <= high <= 1 and low < high
    wider = share_interval(share, 2 * variance, degrees, num)
    assert wider[1] <= low + 1e-12 and wider[2] >= high - 1e-12


@given(st.integers(2, 30), st.integers(0, 1000))
def test_jackknife_of_a_mean_is_the_variance_of_a_mean(num, seed):
    """Also of shares of classes that are given."""
    values = np.random.default_rng(seed).normal(size=num)
    without = (values.sum() - values) / (num - 1)
    assert jackknife_variance(without, np.zeros(num, dtype=int)) == pytest.approx(values.var(ddof=1) / num)
    assert jackknife_variance(without, np.arange(num)) == 0
