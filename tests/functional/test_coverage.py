"""Density and coverage against scikit-learn's nearest neighbours and the closed forms of their authors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from understudy.functional.coverage import density_and_coverage


def _reference(real, synthetic, k):
    """The formulas, from scikit-learn's distances."""
    radii = NearestNeighbors(n_neighbors=k + 1).fit(real).kneighbors(real)[0][:, k]
    inside = pairwise_distances(real, synthetic) < radii[:, None]
    return inside.sum(axis=0).mean() / k, inside.any(axis=1).mean()


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 40), st.integers(1, 6), st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_agrees_with_nearest_neighbours(seed, num_real, num_synthetic, k, block):
    rng = np.random.default_rng(seed)
    real, synthetic = rng.normal(size=(num_real, 3)), rng.normal(0.5, 1.5, size=(num_synthetic, 3))
    found = density_and_coverage(real, synthetic, k=k, block=block)
    np.testing.assert_allclose(found, _reference(real, synthetic, min(k, num_real - 1)), rtol=1e-12)


def test_two_sets_of_one_distribution():
    """Lemma 2 of Naeem et al.: for any distribution, coverage is 1 - prod (N - j) / (N + M - j) over j = 1 ..
    k, and density is 1.
    """
    n, m, k = 30, 20, 3
    rng = np.random.default_rng(0)
    found = np.mean(
        [density_and_coverage(rng.normal(size=(n, 2)), rng.normal(size=(m, 2)), k=k) for _ in range(400)],
        axis=0,
    )
    j = np.arange(1, k + 1)
    np.testing.assert_allclose(found, [1, 1 - np.prod((n - j) / (n + m - j))], atol=0.02)


def test_a_dropped_mode_is_not_covered_and_not_less_dense():
    rng = np.random.default_rng(1)
    real = np.concatenate([rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 50])
    density, coverage = density_and_coverage(real, rng.normal(size=(200, 2)))
    assert density > 0.8 and coverage == pytest.approx(0.5, abs=0.02)
    assert density_and_coverage(real, rng.normal(size=(200, 2)) + 1000) == (0, 0)


def test_copies_of_the_real_points_have_full_coverage():
    """Large values far from the origin, like pixels: rounding must not hide that points are equal."""
    real = np.random.default_rng(2).normal(1000, 1, size=(20, 50))
    assert density_and_coverage(real, real, k=1) == (1, 1)
    doubled = np.concatenate([real, real[:1]])
    assert density_and_coverage(doubled, doubled, k=1)[1] == pytest.approx(19 / 21)
    assert density_and_coverage(doubled, doubled, k=2)[1] == 1


@pytest.mark.parametrize(
    ("real", "synthetic", "k", "message"),
    [
        ((1, 2), (3, 2), 5, "N > 1"),
        ((3, 2), (0, 2), 5, "M > 0"),
        ((3, 2), (3, 4), 5, "N, D"),
        ((3, 2), (3, 2), 0, "k must be at least 1"),
    ],
)
def test_arguments_are_checked(real, synthetic, k, message):
    with pytest.raises(ValueError, match=message):
        density_and_coverage(np.zeros(real), np.zeros(synthetic), k=k)
