import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from understudy.functional.distances import nearest_neighbours, unit_vectors


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_equals_scikit_learn_for_every_block_size(seed, block):
    rng = np.random.default_rng(seed)
    queries, references = rng.normal(size=(8, 5)), rng.normal(size=(11, 5))
    distance, index = NearestNeighbors(n_neighbors=1).fit(references).kneighbors(queries)
    found, measured = nearest_neighbours(queries, references, block=block)
    np.testing.assert_array_equal(found, index[:, 0])
    np.testing.assert_allclose(measured, distance[:, 0] / np.sqrt(5))


def test_a_copy_is_at_distance_zero():
    points = np.random.default_rng(0).normal(size=(4, 3)) * 1e4
    index, distance = nearest_neighbours(points, points)
    np.testing.assert_array_equal(index, np.arange(4))
    np.testing.assert_array_equal(distance, 0)


def test_shapes_are_checked():
    with pytest.raises(
        ValueError, match=r"must be \(N, D\) and \(M, D\) with M > 0, got \(1, 2\) and \(0, 2\)"
    ):
        nearest_neighbours(np.zeros((1, 2)), np.zeros((0, 2)))


def test_unit_vectors_equal_scikit_learn():
    points = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    points[1] = 0
    np.testing.assert_allclose(unit_vectors(points), normalize(points.astype(float)))
    np.testing.assert_array_equal(unit_vectors(points)[1], 0)
