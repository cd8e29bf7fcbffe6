"""Herding and covariances against brute force, step by step; matching against every assignment."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import rbf_kernel

from understudy.functional.mmd import median_bandwidth
from understudy.functional.selection import covariance_matching, kernel_herding, matched, mean_herding

EVERY = (kernel_herding, matched, mean_herding, covariance_matching)


def points(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def mmd2(x, y, h):
    """Biased, as the mean embeddings are those of the points."""

    def k(a, b):
        return rbf_kernel(a, b, gamma=1 / (2 * h**2)).mean()

    return k(x, x) + k(y, y) - 2 * k(x, y)


def bandwidth(y):
    """The mean of the two middle distances where there is no middle one; distances here are no ties."""
    distances = np.sort([float(np.linalg.norm(a - b)) for a, b in itertools.combinations(y, 2)])
    return float(np.median(distances))


@given(seed=st.integers(0, 10**6), q=st.integers(0, 9), block=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_every_step_reduces_the_discrepancy_most(seed, q, block):
    x, y = points(8, 3, seed=seed), points(7, 3, seed=seed + 1)
    h, expected = bandwidth(y), []
    for _ in range(min(q, 8)):
        left = [index for index in range(8) if index not in expected]
        expected.append(min(left, key=lambda index: mmd2(x[[*expected, index]], y, h)))
    assert kernel_herding(x, y, q, block=block).tolist() == expected


def test_the_bandwidth_is_that_of_the_package():
    y = torch.from_numpy(points(6, 3))  # 15 pairs, so there is a middle one
    assert bandwidth(y.numpy()) == pytest.approx(float(median_bandwidth(y)))


@given(seed=st.integers(0, 10**6), q=st.integers(1, 19))
@settings(max_examples=20, deadline=None)
def test_herded_points_lie_nearer_than_random_ones(seed, q):
    rng = np.random.default_rng(seed)
    # The small mode has few candidates.
    y = np.concatenate([points(20, 2, seed=seed), points(5, 2, seed=seed + 1) + 6])
    x = np.concatenate([points(18, 2, seed=seed + 2), points(2, 2, seed=seed + 3) + 6])
    h = bandwidth(y)
    random = [mmd2(x[rng.choice(20, q, replace=False)], y, h) for _ in range(20)]
    assert mmd2(x[kernel_herding(x, y, q)], y, h) <= np.mean(random) + 1e-12


def test_a_mode_that_drawing_neglects_is_covered():
    """Half of the real points are far away, of the candidates one in twenty."""
    y = np.concatenate([points(10, 2), points(10, 2, seed=1) + 10])
    x = np.concatenate([points(95, 2, seed=2), points(5, 2, seed=3) + 10])
    assert (kernel_herding(x, y, 10) >= 95).sum() == 5
    assert (kernel_herding(x[::-1], y, 10) < 5).sum() == 5


@given(seed=st.integers(0, 10**6), num=st.integers(0, 7), real=st.integers(1, 6), q=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_all_choose_different_candidates_up_to_the_number(seed, num, real, q):
    x, y = points(num, 2, seed=seed), points(real, 2, seed=seed + 1)
    for choose in EVERY:
        chosen = choose(x, y, q)
        assert len(set(chosen.tolist())) == len(chosen) == min(q, num)
        assert set(chosen.tolist()) <= set(range(num))
        np.testing.assert_array_equal(choose(4 * x, 4 * y, q), chosen)
    for choose in (kernel_herding, mean_herding, covariance_matching):
        np.testing.assert_array_equal(choose(x, y, num)[:q], choose(x, y, q))


@given(seed=st.integers(0, 10**6), q=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_every_step_of_herding_brings_the_mean_nearest(seed, q):
    x, y = points(8, 3, seed=seed) + 1, points(7, 3, seed=seed + 1)
    expected = stepwise(x, q, lambda chosen: np.linalg.norm(chosen.mean(axis=0) - y.mean(axis=0)))
    assert mean_herding(x, y, q).tolist() == expected


@given(seed=st.integers(0, 10**6), q=st.integers(0, 9), d=st.integers(1, 5), real=st.integers(2, 9))
@settings(max_examples=40, deadline=None)
def test_every_step_brings_the_covariance_nearest(seed, q, d, real):
    """In scikit-learn's principal components."""
    x, y = 3 * points(8, 5, seed=seed) + 1, points(real, 5, seed=seed + 1)
    pca = PCA(min(d, real - 1)).fit(y)
    x_d, y_d = pca.transform(x), pca.transform(y)
    wanted = np.cov(y_d.T)

    def distance(chosen):
        if len(chosen) == 1:
            return np.linalg.norm(chosen - y_d.mean(axis=0))
        return np.linalg.norm(np.cov(chosen.T) - wanted)

    assert covariance_matching(x, y, q, d=d).tolist() == stepwise(x_d, q, distance)


def stepwise(x, q, distance):
    """Add the candidate with the smallest distance, one by one."""
    chosen = []
    for _ in range(min(q, len(x))):
        left = [index for index in range(len(x)) if index not in chosen]
        chosen.append(min(left, key=lambda index: distance(x[[*chosen, index]])))
    return chosen


@given(seed=st.integers(0, 10**6), spread=st.sampled_from([1e2, 1e3, 1e4]), first=st.booleans())
@settings(max_examples=20, deadline=None)
def test_one_far_candidate_does_not_hide_the_others(seed, spread, first):
    """Whether it is left or has been taken; against brute force in longer numbers."""
    x, y = points(12, 3, seed=seed), points(9, 3, seed=seed + 1)
    x[5] *= spread
    if first:  # then it is the nearest to the real mean, and the others are far from it
        x, y = x + 10 * spread, y + 10 * spread + x[5]
    axes = np.linalg.svd(y - y.mean(axis=0), full_matrices=False)[2].T
    x_d, y_d = ((of - y.mean(axis=0)).astype(np.longdouble) @ axes for of in (x, y))

    def covariance(chosen):
        return (chosen - chosen.mean(axis=0)).T @ (chosen - chosen.mean(axis=0)) / (len(chosen) - 1)

    def distance(chosen):
        if len(chosen) == 1:
            return np.square(chosen).sum()
        return np.square(covariance(chosen) - covariance(y_d)).sum()

    assert covariance_matching(x, y, 8).tolist() == stepwise(x_d, 8, distance)


def test_a_shift_of_the_candidates_does_not_change_their_covariance():
    """Only the choice of the first point depends on the mean."""
    x, y = points(200, 3), 1.3 * points(60, 3, seed=1)
    for shift in (0, 5):
        found = np.cov(x[covariance_matching(x + shift, y, 40)].T)
        assert np.linalg.norm(found - np.cov(y.T)) < 0.2 * np.linalg.norm(np.cov(x[:40].T) - np.cov(y.T))


def test_covariance_and_mean_are_different_aims():
    x, y = points(300, 4), 1.5 * points(50, 4, seed=1) + 0.3
    by_mean, by_covariance = x[mean_herding(x, y, 50)], x[covariance_matching(x, y, 50)]
    off = [np.linalg.norm(chosen.mean(axis=0) - y.mean(axis=0)) for chosen in (by_mean, by_covariance)]
    assert off[0] < 0.1 * off[1]
    spread = [np.linalg.norm(np.cov(chosen.T) - np.cov(y.T)) for chosen in (by_mean, by_covariance)]
    assert spread[1] < 0.3 * spread[0]


@given(seed=st.integers(0, 10**6), real=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_matching_is_the_best_of_all_assignments(seed, real):
    x, y = points(6, 2, seed=seed), points(real, 2, seed=seed + 1)
    distance = cdist(y, x)
    best = min(
        itertools.permutations(range(6), real),
        key=lambda order: sum(distance[i, j] for i, j in enumerate(order)),
    )
    assert matched(x, y, real).tolist() == list(best)


def test_matching_continues_in_rounds():
    y = np.array([[0.0], [10.0]])
    x = np.array([[0.3], [10.1], [9.8], [-0.1], [0.2]])
    assert matched(x, y, 2).tolist() == [3, 1]
    assert matched(x, y, 4).tolist() == [3, 1, 4, 2]
    assert sorted(matched(x, y, 5)) == [0, 1, 2, 3, 4]


def test_few_matches_represent_all_real_points():
    """Of three real points in one place and three in another, one in each gets a candidate."""
    y = np.array([[0.0], [0.1], [0.2], [50.0], [50.1], [50.2]])
    x = np.array([[0.1], [0.0], [-1.0], [51.0], [0.2]])
    assert (matched(x, y, 2) == 3).sum() == 1


def test_equal_candidates_come_in_order():
    same = np.ones((5, 2))
    for choose in (kernel_herding, mean_herding, covariance_matching):
        assert choose(same, points(4, 2), 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("real", [np.array([[1.0, 1.0]]), np.ones((4, 2))])
def test_one_real_point_is_enough(real):
    x = np.array([[5.0, 5.0], [1.0, 1.5], [1.0, 0.9]])
    for choose in EVERY:
        assert choose(x, real, 1).tolist() == [2]
    for choose in (kernel_herding, mean_herding, covariance_matching):
        assert sorted(choose(np.ones((3, 2)), real, 3)) == [0, 1, 2]


def test_the_bandwidth_of_many_points_is_that_of_a_subset(monkeypatch):
    monkeypatch.setattr("understudy.functional.selection._MEDIAN_POINTS", 50)
    x, y = points(40, 3), points(501, 3, seed=1)
    chosen = x[kernel_herding(x, y, 10)]
    assert mmd2(chosen, y, bandwidth(y[:60])) < mmd2(x[:10], y, bandwidth(y[:60]))


@pytest.mark.parametrize("choose", EVERY)
@pytest.mark.parametrize(("x", "y"), [((3, 2), (0, 2)), ((3, 2), (3, 1)), ((3,), (3, 1))])
def test_selection_checks_shapes(choose, x, y):
    with pytest.raises(ValueError, match=r"must be \(M, D\) and \(N, D\) with N > 0, got"):
        choose(np.zeros(x), np.zeros(y), 1)
