"""The Fréchet distance against torch-fidelity and torchmetrics, and against closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torchmetrics.image.fid import _compute_fid

from understudy.functional.frechet import frechet_distance, mean_and_root


def _distance(x, y, **options):
    return frechet_distance(*mean_and_root(x, **options), *mean_and_root(y, **options))


def _points(num, width, seed=0, *, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, size=(num, width)) @ rng.normal(size=(width, width))


@pytest.mark.parametrize(
    ("num_x", "num_y", "width"),
    [(200, 150, 12), (40, 300, 12), (9, 300, 12), (300, 9, 12), (9, 7, 12), (13, 12, 12)],
)
def test_agrees_with_torch_fidelity_and_torchmetrics(num_x, num_y, width):
    x, y = _points(num_x, width), _points(num_y, width, 1, shift=0.5)
    statistics = [fid_features_to_statistics(torch.from_numpy(points)) for points in (x, y)]
    assert _distance(x, y) == pytest.approx(
        fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID], rel=1e-5
    )
    moments = [
        torch.from_numpy(part)
        for points in (x, y)
        for part in (points.mean(axis=0), np.cov(points, rowvar=False))
    ]
    assert _distance(x, y) == pytest.approx(_compute_fid(*moments).item(), rel=1e-5)


@given(st.integers(0, 1000), st.integers(2, 30), st.integers(2, 30), st.integers(1, 20), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_symmetric_not_negative_and_the_same_in_blocks(seed, num_x, num_y, width, block):
    x, y = _points(num_x, width, seed), _points(num_y, width, seed + 1)
    scale = x.var(axis=0).sum() + y.var(axis=0).sum()
    assert _distance(x, y, block=block) == pytest.approx(_distance(y, x), abs=1e-6 * scale, rel=1e-6)
    assert _distance(x, x) == pytest.approx(0, abs=1e-5 * scale)
    assert _distance(x, y) >= 0


def test_a_shift_and_a_stretch():
    """Equal up to a shift s and a factor a: |s|^2 + (1 - a)^2 Tr C."""
    x = _points(100, 6)
    y = 3 * (x - x.mean(axis=0)) + x.mean(axis=0) + 2
    assert _distance(x, y) == pytest.approx(6 * 4 + 4 * np.trace(np.cov(x, rowvar=False)))


def test_features_that_do_not_vary():
    x = np.concatenate([_points(50, 3), np.ones((50, 4))], axis=1)
    assert _distance(x, x + 1) == pytest.approx(7)


@pytest.mark.parametrize("num", [5, 60])
def test_weights_are_shares(num):
    """With integer weights the mean is that of repeated points, and the covariance up to the one factor."""
    x, weights = _points(num, 8), np.random.default_rng(2).integers(1, 4, size=num).astype(float)
    mean, root = mean_and_root(x, weights, block=7)
    repeated = np.repeat(x, weights.astype(int), axis=0)
    np.testing.assert_allclose(mean, repeated.mean(axis=0))
    freedom = weights.sum() - np.square(weights).sum() / weights.sum()
    np.testing.assert_allclose(
        root.T @ root, np.cov(repeated, rowvar=False, bias=True) * weights.sum() / freedom, atol=1e-10
    )
    np.testing.assert_allclose(mean_and_root(x, np.full(num, 5.0))[1], mean_and_root(x)[1])
    assert root.shape == (min(num, 8), 8)


def test_float32_features_are_computed_in_float64():
    x = _points(100, 6).astype(np.float32)
    assert _distance(x, x[::-1] + np.float32(1000)) == pytest.approx(6e6, rel=1e-6)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="N > 1"):
        mean_and_root(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"weights must be \(4,\)"):
        mean_and_root(np.zeros((4, 3)), np.ones(3))
    with pytest.raises(ValueError, match="same width"):
        frechet_distance(*mean_and_root(np.zeros((4, 3))), *mean_and_root(np.zeros((4, 2))))
