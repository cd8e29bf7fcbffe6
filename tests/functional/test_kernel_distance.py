"""Means of kernels against torch-fidelity, torchmetrics and scikit-learn, and MMD^2 against our own of all
pairs at once.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel
from sklearn.preprocessing import normalize
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torchmetrics.image.kid import poly_mmd

from understudy.functional.kernel_distance import (
    cubic_kernel,
    direction_kernel,
    gaussian_kernel,
    mean_kernels,
)
from understudy.functional.mmd import mmd2_unbiased

WIDTH = 6
KERNELS = [cubic_kernel(WIDTH), gaussian_kernel(2.5), direction_kernel(10.0)]


def _points(num, seed=0, *, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, size=(num, WIDTH))


def _mmd2(x, y, **options):
    w, v = np.ones((len(x), 1)), np.ones((len(y), 1))
    within = mean_kernels(x, w, kernels=KERNELS, **options) + mean_kernels(y, v, kernels=KERNELS, **options)
    return (within - 2 * mean_kernels(x, w, y, v, kernels=KERNELS, **options))[:, 0]


def _references(x, y):
    """Kernel values of scikit-learn, of the three kernels."""
    unit = normalize(x), normalize(y)
    return [
        polynomial_kernel(x, y, degree=3, gamma=1 / WIDTH, coef0=1),
        rbf_kernel(x, y, gamma=1 / (2 * 2.5**2)) - 1,
        rbf_kernel(*unit, gamma=1 / (2 * 10.0**2)) - 1,
    ]


def test_kid_is_that_of_torch_fidelity_and_torchmetrics():
    x, y = (torch.from_numpy(_points(80, seed, shift=0.3 * seed)) for seed in (0, 1))
    # One subset of all images: nothing is left to chance.
    theirs = kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=80, verbose=False)[
        KEY_METRIC_KID_MEAN
    ]
    assert _mmd2(x.numpy(), y.numpy())[0] == pytest.approx(theirs, rel=1e-10)
    assert _mmd2(x.numpy(), y.numpy())[0] == pytest.approx(poly_mmd(x, y).item(), rel=1e-10)


@given(st.integers(0, 1000), st.integers(2, 25), st.integers(1, 25), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_means_are_those_of_scikit_learns_kernels(seed, num_x, num_y, block):
    rng = np.random.default_rng(seed)
    x, y, w, v = (
        rng.normal(size=(num_x, WIDTH)),
        rng.normal(size=(num_y, WIDTH)),
        rng.random((num_x, 3)),
        rng.random((num_y, 3)),
    )
    across = [
        np.einsum("mr,mn,nr->r", w, values, v) / w.sum(axis=0) / v.sum(axis=0) for values in _references(x, y)
    ]
    np.testing.assert_allclose(mean_kernels(x, w, y, v, kernels=KERNELS, block=block), across, rtol=1e-9)
    pairs = np.einsum("ir,jr->ijr", w, w) * (1 - np.eye(num_x))[..., None]
    within = [np.einsum("ijr,ij->r", pairs, values) / pairs.sum(axis=(0, 1)) for values in _references(x, x)]
    np.testing.assert_allclose(mean_kernels(x, w, kernels=KERNELS, block=block), within, rtol=1e-9)


def test_agrees_with_mmd_of_all_pairs_at_once():
    x, y = _points(50), _points(70, 1, shift=0.2)
    expected = mmd2_unbiased(
        torch.from_numpy(x), torch.from_numpy(y), torch.tensor([2.5], dtype=torch.float64)
    ).item()
    assert _mmd2(x, y, block=16)[1] == pytest.approx(expected, rel=1e-9)


def test_float32_is_near_float64():
    x, y = _points(300), _points(200, 1, shift=0.2)
    np.testing.assert_allclose(
        _mmd2(x.astype(np.float32), y.astype(np.float32), block=64), _mmd2(x, y), rtol=2e-3
    )


def test_mmd_of_equal_distributions_is_zero_on_average():
    values = np.array([_mmd2(_points(20, seed), _points(20, 1000 + seed)) for seed in range(300)])
    assert (np.abs(values.mean(axis=0)) < 3 * values.std(axis=0) / np.sqrt(300)).all()


def test_direction_kernel_ignores_length_and_the_origin():
    x, w = _points(5), np.ones((5, 1))
    scaled = x * np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    kernel = [direction_kernel(1.0)]
    np.testing.assert_allclose(mean_kernels(scaled, w, kernels=kernel), mean_kernels(x, w, kernels=kernel))
    origin = np.zeros((1, WIDTH))
    np.testing.assert_allclose(mean_kernels(origin, w[:1], x, w, kernels=kernel), np.expm1(-0.5))
    np.testing.assert_allclose(mean_kernels(origin, w[:1], origin, w[:1], kernels=kernel), 0)


def test_cmmd_is_close_to_the_distance_of_mean_directions():
    """A thousandth of ten times its square, and 0.04 for opposite directions: what the documentation says."""
    x, y = _points(100), _points(100, 1, shift=1.0)
    apart = np.square(normalize(x).mean(axis=0) - normalize(y).mean(axis=0)).sum()
    assert _mmd2(x, y)[2] == pytest.approx(apart / 100, rel=0.1)
    assert _mmd2(np.ones((2, WIDTH)), -np.ones((2, WIDTH)))[2] == pytest.approx(0.04, rel=0.02)


def test_arguments_are_checked():
    ones = np.ones((3, 1))
    for x, y in ((np.zeros((3, 2)), np.zeros((3, 4))), (np.zeros(3), np.zeros((3, 2)))):
        with pytest.raises(ValueError, match="at least 1"):
            mean_kernels(x, ones, y, ones, kernels=KERNELS)
    with pytest.raises(ValueError, match="at least 2"):
        mean_kernels(np.zeros((1, 2)), ones[:1], kernels=KERNELS)
    with pytest.raises(ValueError, match=r"weights must be \(3, R\) and \(3, R\), got \(2, 1\)"):
        mean_kernels(np.zeros((3, 2)), ones[:2], np.zeros((3, 2)), ones, kernels=KERNELS)
