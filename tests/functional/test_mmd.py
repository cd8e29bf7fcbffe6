"""MMD against closed forms for Gaussians, a double loop and scikit-learn."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import rbf_kernel

from understudy.functional.mmd import (
    gaussian_kernel,
    median_bandwidth,
    mmd2_paired,
    mmd2_per_class,
    mmd2_unbiased,
    moment_kernel,
    moment_mmd2_per_class,
)

H = torch.tensor([1.5], dtype=torch.float64)
MANY_H = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _expected_kernel(shift, h, variance, dim):
    """E k(x, y) for x - y normal with mean of squared length ``shift`` and covariance ``variance`` times the
    identity.
    """
    return (h**2 / (h**2 + variance)) ** (dim / 2) * np.exp(-shift / (2 * (h**2 + variance)))


def _loop(x, y, h, weight):
    """Gretton et al. 2012, eq. 4, pair by pair."""

    def k(a, b):
        return float(np.mean([np.exp(-float((a - b).square().sum()) / (2 * float(one) ** 2)) for one in h]))

    total = norm = 0.0
    for i, j in itertools.permutations(range(len(x)), 2):
        product = float(weight[i] * weight[j])
        total += product * (k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]))
        norm += product
    return total / norm


def test_kernel_agrees_with_sklearn():
    x, y = _normal(7, 3), _normal(5, 3, seed=1)
    theirs = np.mean([rbf_kernel(x, y, gamma=1 / (2 * float(h) ** 2)) for h in MANY_H], axis=0)
    np.testing.assert_allclose(gaussian_kernel(x, y, MANY_H), theirs, atol=1e-12)


def test_the_moment_kernel_is_that_of_first_and_second_moments():
    """Written out: the squared length of the difference of (x / s^0.5, x x^T / s) in the mean."""
    x, y, s = _normal(9, 3), 2 * _normal(9, 3, seed=1) + 1, torch.tensor(1.7, dtype=torch.float64)

    def mean_map(points):
        second = torch.einsum("na,nb->nab", points, points).flatten(1) / s
        return torch.cat([points / s.sqrt(), second], dim=1).mean(dim=0)

    within = [moment_kernel(one, one, s).mean() for one in (x, y)]
    found = sum(within) - 2 * moment_kernel(x, y, s).mean()
    torch.testing.assert_close(found, (mean_map(x) - mean_map(y)).square().sum())


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_moments_of_classes_are_compared_without_bias(seed):
    """Against a loop over pairs of one class; and about 0 in the mean over many sets of one distribution."""
    x, y = _normal(6, 2, seed=seed), _normal(6, 2, seed=seed + 1)
    labels, weight = torch.tensor([0, 1, 0, 1, 0, 2]), _normal(6, seed=seed + 2).exp()
    s = torch.tensor(2.0, dtype=torch.float64)

    def k(a, b):
        return float(a @ b / s + (a @ b / s) ** 2)

    total = norm = 0.0
    for i, j in itertools.permutations(range(6), 2):
        if labels[i] == labels[j]:
            product = float(weight[i] * weight[j])
            total += product * (k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]))
            norm += product
    assert float(moment_mmd2_per_class(x, y, labels, s, weight)) == pytest.approx(total / norm)


def test_moments_that_agree_have_distance_0_in_the_mean():
    """Gaussian points against points from two places with the same mean and covariance."""
    s, labels, found = torch.tensor(1.0, dtype=torch.float64), torch.zeros(8, dtype=torch.long), []
    for seed in range(600):
        x, y = _normal(8, 1, seed=seed), _normal(8, 1, seed=10_000 + seed).sign()
        found.append(float(moment_mmd2_per_class(x, y, labels, s)))
    assert abs(np.mean(found)) < 3 * np.std(found) / 600**0.5
    wide = np.mean(
        [
            float(
                moment_mmd2_per_class(
                    _normal(8, 1, seed=seed), 2 * _normal(8, 1, seed=seed + 9999), labels, s
                )
            )
            for seed in range(200)
        ]
    )
    assert wide == pytest.approx(9, rel=0.25)  # (4 - 1)^2


@pytest.mark.parametrize("dim", [1, 4])
def test_two_gaussians_have_the_exact_mmd(dim):
    """x is N(0, 1), y is N(m, 0.6^2) in each of d dimensions."""
    h, shift, sigma = float(H), 0.25 * dim, 0.6
    exact = (
        _expected_kernel(0, h, 2, dim)
        + _expected_kernel(0, h, 2 * sigma**2, dim)
        - 2 * _expected_kernel(shift, h, 1 + sigma**2, dim)
    )
    x = _normal(60, 25, dim)
    y = 0.5 + sigma * _normal(60, 25, dim, seed=1)
    for estimate in (mmd2_unbiased, mmd2_paired):
        values = torch.stack([estimate(a, b, H) for a, b in zip(x, y, strict=True)])
        assert float(values.mean()) == pytest.approx(exact, abs=4 * float(values.std()) / 60**0.5)
        assert exact > 8 * float(values.std()) / 60**0.5  # so the test tells this from 0


def test_unbiased_for_equal_distributions():
    x, y = _normal(400, 6, 2), _normal(400, 6, 2, seed=1)
    values = torch.stack([mmd2_unbiased(a, b, MANY_H) for a, b in zip(x, y, strict=True)])
    assert abs(float(values.mean())) < 4 * float(values.std()) / 20
    assert float(values.min()) < 0


def test_pairing_removes_the_bias_of_dependent_points():
    """y_i is x_i with a part drawn anew, so that y has the distribution of x."""
    x = _normal(400, 6, 2)
    y = 0.8 * x + 0.6 * _normal(400, 6, 2, seed=1)
    weight = torch.rand(6, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.1
    paired = torch.stack([mmd2_paired(a, b, H, weight) for a, b in zip(x, y, strict=True)])
    plain = torch.stack([mmd2_unbiased(a, b, H) for a, b in zip(x, y, strict=True)])
    assert abs(float(paired.mean())) < 4 * float(paired.std()) / 20
    assert float(plain.mean()) < -4 * float(plain.std()) / 20


def test_agrees_with_a_double_loop():
    x, y = _normal(6, 3), _normal(6, 3, seed=1)
    weight = torch.tensor([0.1, 1.0, 0.5, 0.7, 0.0, 0.3], dtype=torch.float64)
    assert float(mmd2_paired(x, y, MANY_H, weight)) == pytest.approx(_loop(x, y, MANY_H, weight), abs=1e-12)
    labels = torch.tensor([2, 0, 2, 0, 2, 5])
    parts = [
        _loop(x[labels == label], y[labels == label], MANY_H, weight[labels == label]) for label in (0, 2)
    ]
    pairs = [
        float(weight[labels == label].sum() ** 2 - weight[labels == label].square().sum()) for label in (0, 2)
    ]
    assert float(mmd2_per_class(x, y, labels, MANY_H, weight)) == pytest.approx(
        np.average(parts, weights=pairs), abs=1e-12
    )


def test_a_class_with_small_weights_hardly_counts():
    x, y = torch.zeros(4, 1), torch.tensor([[0.0], [0.0], [100.0], [100.0]])
    labels, bandwidths = torch.tensor([0, 0, 1, 1]), torch.tensor([1.0])
    assert float(mmd2_per_class(x, y, labels, bandwidths)) == pytest.approx(1.0)
    assert float(mmd2_per_class(x, y, labels, bandwidths, torch.tensor([1.0, 1.0, 0.01, 0.01]))) < 1e-3


def test_paired_and_unbiased_differ_by_the_pairs_alone():
    x, y = _normal(5, 2), _normal(5, 2, seed=1)
    across = gaussian_kernel(x, y, MANY_H)
    without = (across.sum() - across.trace()) / 20
    torch.testing.assert_close(
        mmd2_paired(x, y, MANY_H), mmd2_unbiased(x, y, MANY_H) + 2 * across.mean() - 2 * without
    )


@given(seed=st.integers(0, 1000), num=st.integers(2, 8), dim=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_properties(seed, num, dim):
    x, y = _normal(num, dim, seed=seed), _normal(num, dim, seed=seed + 1) + 1
    order = torch.randperm(num, generator=torch.Generator().manual_seed(seed))
    labels, weight = torch.arange(num) // 2, torch.arange(1, num + 1)
    torch.testing.assert_close(mmd2_unbiased(x[order], y, MANY_H), mmd2_unbiased(x, y, MANY_H))
    torch.testing.assert_close(mmd2_unbiased(y, x, MANY_H), mmd2_unbiased(x, y, MANY_H))
    torch.testing.assert_close(
        mmd2_paired(x[order], y[order], MANY_H, weight[order]), mmd2_paired(x, y, MANY_H, weight)
    )
    torch.testing.assert_close(
        mmd2_per_class(x[order], y[order], labels[order], MANY_H, weight[order]),
        mmd2_per_class(x, y, labels, MANY_H, weight),
    )
    torch.testing.assert_close(
        mmd2_per_class(x, y, 0 * labels, MANY_H, weight), mmd2_paired(x, y, MANY_H, weight)
    )
    torch.testing.assert_close(mmd2_paired(x, x.clone(), MANY_H), torch.zeros((), dtype=x.dtype))
    torch.testing.assert_close(mmd2_paired(3 * x, 3 * y, 3 * MANY_H), mmd2_paired(x, y, MANY_H))
    torch.testing.assert_close(median_bandwidth(3 * x[order]), 3 * median_bandwidth(x))
    assert float(mmd2_paired(x, y, MANY_H)) <= 2


def test_gradients():
    x, y = _normal(4, 2).requires_grad_(), _normal(4, 2, seed=1)
    y[1] = x[1].detach()  # at distance 0
    y[2] = x[3].detach()
    y.requires_grad_()
    weight, labels = torch.tensor([1.0, 0.2, 0.5, 0.9]), torch.tensor([0, 1, 0, 1])
    assert torch.autograd.gradcheck(lambda a, b: gaussian_kernel(a, b, MANY_H), (x, y))
    assert torch.autograd.gradcheck(lambda a, b: mmd2_unbiased(a, b, MANY_H), (x, y))
    assert torch.autograd.gradcheck(lambda a, b: mmd2_paired(a, b, MANY_H, weight), (x, y))
    assert torch.autograd.gradcheck(lambda a, b: mmd2_per_class(a, b, labels, MANY_H, weight), (x, y))


def test_precision_does_not_depend_on_autocast_or_on_the_origin():
    x, y = _normal(6, 64).float(), _normal(6, 64, seed=1).float()
    plain = mmd2_paired(x, y, 8 * H)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(mmd2_paired(x, y, 8 * H), plain, rtol=0, atol=0)
    assert mmd2_paired(x.bfloat16(), y.bfloat16(), 8 * H).dtype == torch.float32
    torch.testing.assert_close(mmd2_paired(x + 100, y + 100, 8 * H), plain, rtol=0, atol=1e-5)


def test_median_agrees_with_numpy_and_ignores_copies():
    x = _normal(6, 3)  # 15 pairs
    distances = [float((a - b).norm()) for a, b in itertools.combinations(x, 2)]
    assert float(median_bandwidth(x)) == pytest.approx(np.median(distances))
    assert float(median_bandwidth(torch.cat([x[:2]] * 50))) == pytest.approx(distances[0])
    assert not median_bandwidth(x.clone().requires_grad_()).requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: gaussian_kernel(x, x[:, :1], H), "x and y must be"),
        (lambda x: gaussian_kernel(x, x, H[0]), "bandwidths must be"),
        (lambda x: gaussian_kernel(x, x, H[:0]), "bandwidths must be"),
        (lambda x: median_bandwidth(x[:1]), "M > 1"),
        (lambda x: median_bandwidth(torch.ones(5, 2)), "distinct points, got 5 equal"),
        (lambda x: mmd2_unbiased(x, x[:1], H), "at least 2 points each, got 3 and 1"),
        (lambda x: mmd2_paired(x[:1], x[:1], H), "at least 2 points, got 1"),
        (lambda x: mmd2_paired(x, x[:2], H), "same shape"),
        (lambda x: mmd2_paired(x, x, H, torch.ones(2)), "weight must be"),
        (lambda x: mmd2_per_class(x, x, torch.tensor([0, 1, 2]), H), r"at least 2 images, got \[0, 1, 2\]"),
        (lambda x: mmd2_per_class(x, x, torch.tensor([0, 1]), H), "labels must be"),
    ],
)
def test_arguments_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call(_normal(3, 2))
