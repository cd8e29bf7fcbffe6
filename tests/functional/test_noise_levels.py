import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from torch.utils._python_dispatch import TorchDispatchMode

from understudy.functional.edm import SIGMA_DATA, lognormal_sigmas
from understudy.functional.noise_levels import (
    PUBLISHED,
    NoiseLevels,
    covariance_eigenvalues,
    explained_variance,
    hiding_sigma,
    measured_levels,
    noise_range,
)

GREY = 0.004
LABELS = torch.arange(40) % 4


def correlated(num_images=40, size=6, seed=0):
    """Images (N, 3, S, S) whose pixels depend on each other, of four classes with different means."""
    rng = torch.Generator().manual_seed(seed)
    coarse = (
        torch.randn(num_images, 3, 2, 2, generator=rng) + 2 * torch.randn(4, 3, 2, 2, generator=rng)[LABELS]
    )
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear").double()


def standardised(images):
    centred = images - images.mean(dim=(0, 2, 3), keepdim=True)
    return (SIGMA_DATA * centred / centred.square().mean().sqrt()).flatten(1)


def levels_of(images, labels=LABELS, grey_level=GREY):
    return measured_levels(standardised(images), labels, grey_level=grey_level)


def test_explained_variance_is_that_of_the_best_linear_denoiser():
    """The Wiener filter, written with matrices and the covariance itself."""
    y = standardised(correlated())
    covariance = torch.cov(y.T, correction=0)
    for sigma in (0.1, 1.0, 5.0):
        noisy = covariance + sigma**2 * torch.eye(len(covariance), dtype=torch.float64)
        filtered = covariance @ torch.linalg.solve(noisy, covariance)
        expected = float(filtered.trace() / covariance.trace())
        assert explained_variance(sigma, covariance_eigenvalues(y)) == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=8), st.floats(0.01, 0.4))
def test_the_range_is_where_the_explained_variance_falls(values, share):
    eigenvalues = torch.tensor([*values, 1.0], dtype=torch.float64)
    low, high = noise_range(eigenvalues, share=share)
    assert 0 < low < high
    assert explained_variance(low, eigenvalues) == pytest.approx(1 - share, rel=1e-5)
    assert explained_variance(high, eigenvalues) == pytest.approx(share, rel=1e-5)


def test_a_repeated_pixel_needs_more_noise_to_hide_it():
    """k x k copies of every pixel average the noise out: the same content is hidden by k times the noise."""
    images = correlated()
    plain = levels_of(images)
    large = levels_of(images.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3))
    assert large.p_mean == pytest.approx(plain.p_mean + math.log(3), abs=1e-6)
    assert large.p_std == pytest.approx(plain.p_std, abs=1e-6)
    assert large.sigma_max == pytest.approx(3 * plain.sigma_max)


def test_independent_pixels_of_deviation_sigma_data_have_levels_around_it():
    rng = torch.Generator().manual_seed(0)
    y = SIGMA_DATA * torch.randn(4000, 4, generator=rng, dtype=torch.float64)
    levels = measured_levels(y, torch.zeros(4000, dtype=torch.int64), grey_level=GREY)
    assert levels.p_mean == pytest.approx(math.log(SIGMA_DATA), abs=0.05)
    assert levels.p_std == pytest.approx(math.log(19) / 2, abs=0.01)  # 1 / (1 + s^2) = 0.05 for s^2 = 19


@given(st.floats(0.1, 10), st.floats(-2, 2))
def test_shift_and_scale_of_the_data_change_nothing(scale, shift):
    images = correlated()
    expected, found = levels_of(images), levels_of(scale * images + shift)
    for name in ("p_mean", "p_std", "sigma_max"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-6)


def test_drawing_starts_at_most_half_a_deviation_off_every_class():
    y = standardised(correlated())
    sigma = levels_of(correlated()).sigma_max
    means = [y[label == LABELS].mean(dim=0).norm().item() / sigma for label in range(4)]
    assert max(means) <= 0.5 + 1e-9
    assert explained_variance(sigma, covariance_eigenvalues(y)) <= 0.05 + 1e-6
    assert hiding_sigma(y, LABELS, offset=0.25) == pytest.approx(2 * hiding_sigma(y, LABELS))


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(torch.zeros(8, 3, 4, 4), id="constant images"),
        pytest.param(torch.zeros(1, 3, 4, 4), id="one constant image"),
        pytest.param(correlated()[:1].float(), id="one image"),
        pytest.param(correlated()[:4].float(), id="one image per class"),
        pytest.param(torch.eye(2)[0].view(2, 1, 1, 1).expand(2, 3, 4, 4) * 1.0, id="black and white"),
    ],
)
def test_few_and_plain_images_have_usable_levels(images):
    centred = images - images.mean(dim=(0, 2, 3), keepdim=True)
    std = max(float(centred.square().mean().sqrt()), 1 / 127.5)
    levels = measured_levels(
        (SIGMA_DATA / std * centred).flatten(1),
        torch.arange(len(images)),
        grey_level=SIGMA_DATA / std / 127.5,
    )
    assert 0 < levels.sigma_min < levels.sigma_max
    assert levels.sigma_max <= 200 or levels.sigma_max == math.inf
    assert 0.5 < levels.p_std < 5
    sigmas = lognormal_sigmas(
        1000, mean=levels.p_mean, std=levels.p_std, smallest=levels.sigma_min, largest=levels.sigma_max
    )
    assert (sigmas.diff() > 0).all()
    assert levels.sigma_min <= sigmas[0] < sigmas[-1] <= levels.sigma_max


def test_images_without_variance_have_the_published_levels():
    levels = measured_levels(torch.zeros(3, 12), torch.arange(3), grey_level=GREY)
    assert levels == NoiseLevels(p_mean=-1.2, p_std=1.2, sigma_min=GREY)
    assert (PUBLISHED.p_mean, PUBLISHED.p_std) == (levels.p_mean, levels.p_std)
    sigmas = lognormal_sigmas(1000, smallest=levels.sigma_min, largest=levels.sigma_max)
    assert float(sigmas[-1]) == pytest.approx(15.6, abs=0.1)


class LargestDouble(TorchDispatchMode):
    """Notes the largest number of values of any tensor in double precision."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.dtype == torch.float64:
            self.largest = max(self.largest, found.numel())
        return found


def test_no_copy_of_large_images_is_made_in_double_precision():
    y = torch.randn(20, 3 * 64 * 64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 3
    with LargestDouble() as watch:
        eigenvalues, sigma = covariance_eigenvalues(y), hiding_sigma(y, labels, offset=1.0)
    assert 0 < watch.largest <= y.numel() / 3
    centred = y.double() - y.double().mean(dim=0)
    expected = torch.linalg.svdvals(centred).square() / 20
    torch.testing.assert_close(eigenvalues[:-1], expected[:-1], rtol=1e-9, atol=0)
    means = [y[labels == label].double().mean(dim=0).norm() for label in range(3)]
    assert sigma == pytest.approx(float(max(means)), rel=1e-12)


def test_levels_within_limits_follow_the_truncated_normal():
    sigmas = lognormal_sigmas(2000, mean=0.5, std=1.5, smallest=0.1, largest=20.0).double().log().numpy()
    low, high = math.log(0.1), math.log(20)

    def density(x):
        return math.exp(-(((x - 0.5) / 1.5) ** 2) / 2)

    whole = quad(density, low, high)[0]
    for place in (0.1, 0.5, 0.9):
        found = np.quantile(sigmas, place)
        assert quad(density, low, found)[0] / whole == pytest.approx(place, abs=2e-3)
