"""Diversity against scipy, and the Vendi score against its closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group

from understudy.functional.diversity import mean_distance, vendi_influence, vendi_score


@given(st.integers(0, 1000), st.integers(2, 30), st.integers(1, 5), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_mean_distance_agrees_with_scipy(seed, num, width, block):
    x = np.random.default_rng(seed).normal(3, 2, size=(num, width))
    assert mean_distance(x, block=block) == pytest.approx(pdist(x).mean(), rel=1e-9)


def test_equal_points_have_no_distance():
    assert mean_distance(np.full((50, 300), 123.4)) == 0


@pytest.mark.parametrize(("num", "width"), [(1, 3), (6, 2), (2, 6), (40, 40)])
def test_identical_points_are_one(num, width):
    assert vendi_score(np.ones((num, width))) == pytest.approx(1)
    assert vendi_score(np.zeros((num, width))) == pytest.approx(1)


@pytest.mark.parametrize("num", [2, 5, 30])
def test_orthogonal_points_are_all_different(num):
    directions = ortho_group.rvs(num, random_state=0)
    assert vendi_score(directions * np.arange(1, num + 1)[:, None]) == pytest.approx(num)
    # Each twice: as many different ones. One more at the origin is unlike all.
    assert vendi_score(np.repeat(directions, 2, axis=0)) == pytest.approx(num)
    assert vendi_score(np.concatenate([directions, np.zeros((1, num))])) == pytest.approx(num + 1)


def test_vendi_score_of_two_groups():
    """Shares p and 1 - p of two orthogonal directions have the entropy of a coin."""
    x = np.repeat(np.eye(2), [3, 1], axis=0)
    assert vendi_score(x) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_vendi_score_agrees_with_the_full_kernel(seed, num, width):
    x = np.random.default_rng(seed).normal(size=(num, width))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    eigenvalues = np.clip(np.linalg.eigvalsh(unit @ unit.T / num), 1e-300, None)
    assert vendi_score(x) == pytest.approx(np.exp(-(eigenvalues * np.log(eigenvalues)).sum()))
    assert 1 - 1e-9 <= vendi_score(x) <= min(num, width) + 1e-9


@given(st.integers(0, 1000), st.integers(1, 20), st.integers(1, 8), st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_weights_count_points_and_blocks_change_nothing(seed, num, width, block):
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=(num, width)), rng.integers(1, 4, size=num)
    assert vendi_score(x, weights, block=block) == pytest.approx(vendi_score(np.repeat(x, weights, axis=0)))
    assert vendi_score(x, 0.5 * weights) == pytest.approx(vendi_score(x, weights))


@pytest.mark.parametrize(("num", "width", "block"), [(30, 4, 7), (12, 20, 5), (25, 3, 100)])
def test_influence_is_the_derivative_by_the_share_of_a_point(num, width, block):
    x, step = np.random.default_rng(num).normal(1, 1, size=(num, width)), 1e-5
    influence = vendi_influence(x, block=block)
    weights = np.eye(num) * step * num + 1
    slopes = [np.log(vendi_score(x, w) / vendi_score(x)) / step for w in weights]
    np.testing.assert_allclose(slopes, influence - influence.mean(), atol=2e-3)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"weights must be \(2,\)"):
        vendi_score(np.zeros((2, 3)), np.ones(3))
    with pytest.raises(ValueError, match="at least 2 points"):
        mean_distance(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="at least 1 point"):
        vendi_score(np.zeros((0, 3)))
