"""MMD^2 within classes: against loops over all pairs, and centred on 0 where nothing differs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import polynomial_kernel

from understudy.functional.kernel_distance import (
    cubic_kernel,
    direction_kernel,
    gaussian_kernel,
    mean_kernels,
    mmd2_within_classes,
)

WIDTH = 4


def brute_force(x, y, a, b, w, v):
    """The definition, pair by pair, with the cubic kernel."""
    found = []
    for label in np.unique(a):
        here, there = np.flatnonzero(a == label), np.flatnonzero(b == label)
        total = 0.0
        for points, weights, rows in ((x, w, here), (y, v, there)):
            pairs = [(i, j) for i in rows for j in rows if i != j]
            share = np.array([weights[i] * weights[j] for i, j in pairs])
            values = np.array([(points[i] @ points[j] / WIDTH + 1) ** 3 for i, j in pairs])
            total += (share * values).sum() / share.sum()
        kernel = polynomial_kernel(x[here], y[there], degree=3, gamma=1 / WIDTH, coef0=1)
        total -= 2 * w[here] @ kernel @ v[there] / (w[here].sum() * v[there].sum())
        found.append(total)
    return np.mean(found)


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_agrees_with_loops_over_all_pairs(seed, num_classes, block):
    rng = np.random.default_rng(seed)
    a, b = (
        rng.permutation(np.repeat(np.arange(num_classes), rng.integers(2, 6, num_classes))) for _ in range(2)
    )
    x, y = (rng.normal(size=(len(labels), WIDTH)) + labels[:, None] for labels in (a, b))
    w, v = rng.random((len(a), 2)) + 0.1, rng.random((len(b), 2)) + 0.1
    found = mmd2_within_classes(
        x, y, labels=(a, b), weights=(w, v), kernels=[cubic_kernel(WIDTH)], block=block
    )
    expected = [brute_force(x, y, a, b, w[:, column], v[:, column]) for column in range(2)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-9, atol=1e-9)


def test_one_class_is_the_distance_of_all_points():
    rng = np.random.default_rng(0)
    x, y, ones = rng.normal(size=(9, WIDTH)), rng.normal(size=(7, WIDTH)), (np.ones((9, 1)), np.ones((7, 1)))
    kernels = [cubic_kernel(WIDTH), gaussian_kernel(2.0), direction_kernel(10.0)]
    labels = np.zeros(9, dtype=int), np.zeros(7, dtype=int)
    found = mmd2_within_classes(x, y, labels=labels, weights=ones, kernels=kernels)
    np.testing.assert_allclose(found, _of_all(x, y, kernels), rtol=1e-9, atol=1e-12)


def _of_all(x, y, kernels):
    w, v = np.ones((len(x), 1)), np.ones((len(y), 1))
    within = mean_kernels(x, w, kernels=kernels) + mean_kernels(y, v, kernels=kernels)
    return within - 2 * mean_kernels(x, w, y, v, kernels=kernels)


def test_is_centred_on_0_for_equal_distributions_in_fixed_numbers_per_class():
    """Ten classes, 60 and 20 points each. The distance of all points at once is centred far below 0."""
    rng, within, at_once = np.random.default_rng(1), [], []
    centres = 3 * rng.normal(size=(10, WIDTH))
    kernels = [cubic_kernel(WIDTH), gaussian_kernel(3.0), direction_kernel(10.0)]
    labels = np.repeat(np.arange(10), 60), np.repeat(np.arange(10), 20)
    weights = np.ones((600, 1)), np.ones((200, 1))
    for _ in range(100):
        x, y = (centres[of] + rng.normal(size=(len(of), WIDTH)) for of in labels)
        within.append(mmd2_within_classes(x, y, labels=labels, weights=weights, kernels=kernels)[:, 0])
        at_once.append(_of_all(x, y, kernels)[:, 0])
    for found, centred in ((within, True), (at_once, False)):
        error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
        assert ((np.abs(np.mean(found, axis=0)) < 3 * error) == centred).all()
    assert (np.mean(at_once, axis=0) < 0).all()


def test_a_class_with_a_single_point_is_refused():
    x, ones, labels = np.zeros((3, WIDTH)), np.ones((3, 1)), np.array([0, 0, 1])
    with pytest.raises(ValueError, match="at least 2"):
        mmd2_within_classes(
            x, x, labels=(labels, labels), weights=(ones, ones), kernels=[cubic_kernel(WIDTH)]
        )
