"""Precision and recall against torch-fidelity, and balls against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from understudy.functional.coverage import neighbour_terms, squared_radii


def _terms(real, synthetic, k, **options):
    radii = [squared_radii(points, k=k, **options) for points in (real, synthetic)]
    return neighbour_terms(real, synthetic, *radii, k=k, **options)


@pytest.mark.parametrize("save_cpu_ram", [False, True])
@pytest.mark.parametrize(("num_real", "num_synthetic", "k"), [(80, 60, 3), (30, 90, 5), (12, 12, 1)])
def test_agrees_with_torch_fidelity(num_real, num_synthetic, k, save_cpu_ram):
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(num_real, 5)), rng.normal(0.5, 0.8, size=(num_synthetic, 5))
    theirs = prc_features_to_metric(
        torch.from_numpy(synthetic), torch.from_numpy(real), prc_neighborhood=k, save_cpu_ram=save_cpu_ram, verbose=False
    )
    ours = _terms(real, synthetic, k, block=17)
    assert ours.precision.mean() == pytest.approx(theirs[KEY_METRIC_PRECISION], abs=1e-6)
    assert ours.recall.mean() == pytest.approx(theirs[KEY_METRIC_RECALL], abs=1e-6)


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 6), st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_radii_are_those_of_scikit_learn(seed, num, k, block):
    k = min(k, num - 1)
    x = np.random.default_rng(seed).normal(size=(num, 4))
    expected = NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[0][:, k]
    np.testing.assert_allclose(np.sqrt(squared_radii(x, k=k, block=block)), expected, rtol=1e-7)


@given(st.integers(0, 1000), st.integers(4, 30), st.integers(4, 30), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_precision_and_recall_change_places_with_the_sets(seed, num_real, num_synthetic, block):
    rng = np.random.default_rng(seed)
    real, synthetic = rng.normal(size=(num_real, 3)), rng.normal(size=(num_synthetic, 3))
    there, back = _terms(real, synthetic, 3, block=block), _terms(synthetic, real, 3)
    np.testing.assert_array_equal(there.precision, back.recall)
    np.testing.assert_array_equal(there.recall, back.precision)


def test_faults_show():
    """Narrow points are precise and recall little; scattered ones the other way round; copies are perfect."""
    rng = np.random.default_rng(1)
    real = rng.normal(size=(200, 4))
    narrow, wide = (_terms(real, scale * rng.normal(size=(200, 4)), 3) for scale in (0.2, 3.0))
    assert narrow.precision.mean() > 0.95 and narrow.recall.mean() < 0.3
    assert wide.precision.mean() < 0.4 and wide.recall.mean() > 0.9
    copies = _terms(real, real, 3)
    assert copies.precision.all() and copies.recall.all()


def test_refusals():
    for shape, k in (((3, 2), 3), ((3, 2), 0), ((3,), 1)):
        with pytest.raises(ValueError, match="N > k and k at least 1"):
            squared_radii(np.zeros(shape), k=k)
    with pytest.raises(ValueError, match="points and radii"):
        neighbour_terms(np.zeros((3, 2)), np.zeros((4, 2)), np.zeros(3), np.zeros(3), k=1)
