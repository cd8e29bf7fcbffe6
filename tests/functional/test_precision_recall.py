"""Precision and recall against torch-fidelity, and balls against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from understudy.functional.coverage import balls, neighbour_measures


def _measured(real, synthetic, k, **options):
    return neighbour_measures(
        real, synthetic, *(balls(points, k=k, **options) for points in (real, synthetic)), **options
    )


def _values(real, synthetic, k, **options):
    return {name: one.value for name, one in _measured(real, synthetic, k, **options).items()}


@pytest.mark.parametrize("save_cpu_ram", [False, True])
@pytest.mark.parametrize(("num_real", "num_synthetic", "k"), [(80, 60, 3), (30, 90, 5), (12, 12, 1)])
def test_agrees_with_torch_fidelity(num_real, num_synthetic, k, save_cpu_ram):
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(num_real, 5)), rng.normal(0.5, 0.8, size=(num_synthetic, 5))
    theirs = prc_features_to_metric(
        torch.from_numpy(synthetic),
        torch.from_numpy(real),
        prc_neighborhood=k,
        save_cpu_ram=save_cpu_ram,
        verbose=False,
    )
    ours = _values(real, synthetic, k, block=17)
    assert ours["precision"] == pytest.approx(theirs[KEY_METRIC_PRECISION], abs=1e-6)
    assert ours["recall"] == pytest.approx(theirs[KEY_METRIC_RECALL], abs=1e-6)


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 6), st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_radii_are_those_of_scikit_learn(seed, num, k, block):
    k = min(k, num - 1)
    x = np.random.default_rng(seed).normal(size=(num, 4))
    expected = NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[0][:, k]
    np.testing.assert_allclose(np.sqrt(balls(x, k=k, block=block).radii), expected, rtol=1e-7)


@given(st.integers(0, 1000), st.integers(4, 30), st.integers(4, 30), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_swapping_the_sets_swaps_precision_and_recall(seed, num_real, num_synthetic, block):
    rng = np.random.default_rng(seed)
    real, synthetic = rng.normal(size=(num_real, 3)), rng.normal(size=(num_synthetic, 3))
    there, back = _measured(real, synthetic, 3, block=block), _measured(synthetic, real, 3)
    for one, other in (("precision", "recall"), ("recall", "precision")):
        assert there[one].value == back[other].value
        np.testing.assert_array_equal(there[one].without_real, back[other].without_synthetic)
        np.testing.assert_array_equal(there[one].without_synthetic, back[other].without_real)


@given(st.integers(0, 1000), st.integers(3, 20), st.integers(3, 20), st.integers(1, 4), st.integers(1, 25))
@example(4, 17, 5, 3, 2)
@settings(max_examples=60, deadline=None)
def test_values_without_a_point_agree_with_measuring_without_it(seed, num_real, num_synthetic, k, block):
    """Also with points that lie in no ball, and with doubles, by doing it."""
    rng = np.random.default_rng(seed)
    k = min(k, num_real - 2, num_synthetic - 2)
    real, synthetic = rng.normal(size=(num_real, 2)), rng.normal(1.0, 1.5, size=(num_synthetic, 2))
    real[-1] = synthetic[0] if seed % 3 else real[0]
    found = _measured(real, synthetic, k, block=block)
    for i in range(num_real):
        expected = _values(np.delete(real, i, axis=0), synthetic, k)
        assert {name: one.without_real[i] for name, one in found.items()} == pytest.approx(expected)
    for j in range(num_synthetic):
        expected = _values(real, np.delete(synthetic, j, axis=0), k)
        assert {name: one.without_synthetic[j] for name, one in found.items()} == pytest.approx(expected)


@given(st.integers(0, 1000), st.integers(4, 20), st.integers(4, 20), st.integers(1, 3), st.integers(1, 25))
@example(24, 17, 5, 3, 2)
@settings(max_examples=60, deadline=None)
def test_copies_of_neighbours_lie_on_the_edge_for_every_block_size(seed, num_real, num_synthetic, k, block):
    """A sum of products is rounded otherwise in a tile of another shape; a copied neighbour is no nearer for
    it.
    """
    rng = np.random.default_rng(seed)
    real, synthetic = rng.normal(size=(num_real, 2)), rng.normal(size=(num_synthetic, 2))
    synthetic[: num_synthetic // 2] = real[rng.integers(0, num_real, num_synthetic // 2)]
    difference = np.square(real[:, None] - real).sum(axis=-1)
    far = np.square(real[:, None] - synthetic).sum(axis=-1)
    radii = np.sort(difference, axis=1)[:, k, None]
    found = _values(real, synthetic, k, block=block)
    assert found["density"] == pytest.approx((far < radii).sum() / (k * num_synthetic))
    assert found["coverage"] == (far < radii).any(axis=1).mean()
    assert found["precision"] == (far <= radii).any(axis=0).mean()


def test_measures_react_to_known_faults():
    """Narrow points are precise and recall little; scattered ones the other way round; copies are perfect."""
    rng = np.random.default_rng(1)
    real = rng.normal(size=(200, 4))
    narrow, wide = (_values(real, scale * rng.normal(size=(200, 4)), 3) for scale in (0.2, 3.0))
    assert narrow["precision"] > 0.95 and narrow["recall"] < 0.3
    assert wide["precision"] < 0.4 and wide["recall"] > 0.9
    copies = _values(real, real, 3)
    assert copies["precision"] == copies["recall"] == 1


def test_arguments_are_checked():
    for shape, k in (((3, 2), 3), ((3, 2), 0), ((3,), 1)):
        with pytest.raises(ValueError, match="N > k and k at least 1"):
            balls(np.zeros(shape), k=k)
    with pytest.raises(ValueError, match="points and balls"):
        neighbour_measures(
            np.zeros((3, 2)), np.zeros((4, 2)), balls(np.zeros((3, 2)), k=1), balls(np.zeros((3, 2)), k=1)
        )
