import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from understudy.functional.edm import SIGMA_DATA, alpha_bar
from understudy.functional.linear_denoiser import linear_v, patch_spectrum, remaining_deviation

FLOOR = 1e-6


def correlated_patches(count=50_000, values=12, seed=0):
    """Patches (N, P, 1, 1) of mean 0 with a random covariance."""
    rng = torch.Generator().manual_seed(seed)
    mixing = 0.2 * torch.randn(values, values, generator=rng)
    return (torch.randn(count, values, generator=rng) @ mixing).view(count, values, 1, 1)


def noisy(y, sigma, seed=1):
    """c_in x and the v that a perfect network would predict."""
    n = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
    c_in = 1 / np.sqrt(sigma**2 + SIGMA_DATA**2)
    power = alpha_bar(torch.tensor(sigma))
    return c_in * (y + sigma * n), power.sqrt() * n - (1 - power).sqrt() * y / SIGMA_DATA


@pytest.mark.parametrize("sigma", [0.02, 0.5, 10.0])
def test_it_is_the_wiener_filter_in_terms_of_v(sigma):
    """D = c_skip x - c_out v with table 1 of Karras et al. 2022 is C (C + sigma^2 I)^-1 x."""
    y = correlated_patches()
    x, _ = noisy(y, sigma)
    v = linear_v(x, torch.full((len(y),), sigma), *patch_spectrum(y, 1, floor=FLOOR))
    unscaled = x * np.sqrt(sigma**2 + 0.25)
    d = 0.25 / (sigma**2 + 0.25) * unscaled - sigma * 0.5 / np.sqrt(sigma**2 + 0.25) * v
    flat = y.flatten(1).double()
    covariance = flat.T @ flat / len(flat) + FLOOR * torch.eye(12, dtype=torch.float64)
    noise = sigma**2 * torch.eye(12, dtype=torch.float64)
    expected = unscaled.flatten(1).double() @ torch.linalg.solve(covariance + noise, covariance)
    torch.testing.assert_close(d.flatten(1).double(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sigma", [0.02, 0.5, 10.0])
def test_the_remaining_deviation_is_that_of_the_residual(sigma):
    y = correlated_patches()
    x, v = noisy(y, sigma)
    sigmas = torch.full((len(y),), sigma)
    eigenvalues, vectors = patch_spectrum(y, 1, floor=FLOOR)
    residual = v - linear_v(x, sigmas, eigenvalues, vectors)
    found = float(remaining_deviation(sigmas[:1], eigenvalues))
    assert found == pytest.approx(float(residual.square().mean().sqrt()), rel=0.02)


@given(st.floats(1e-3, 100))
def test_independent_pixels_give_the_published_preconditioning(sigma):
    """With sigma_data^2 in every direction, the network predicts all of v, with unit variance."""
    sigmas, eigenvalues = torch.tensor([sigma]), torch.full((12,), SIGMA_DATA**2)
    x = torch.randn(1, 12, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(linear_v(x, sigmas, eigenvalues, torch.eye(12)), torch.zeros_like(x))
    torch.testing.assert_close(remaining_deviation(sigmas, eigenvalues), torch.ones(1))


def test_noise_in_a_direction_without_image_is_removed_without_a_network():
    """Grey images: the differences of the colours are noise alone."""
    grey = torch.randn(200, 1, 4, 4, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    eigenvalues, vectors = patch_spectrum(SIGMA_DATA * grey, 1, floor=1e-8)
    assert (eigenvalues < 1e-4).sum() == 2
    x, v = noisy(SIGMA_DATA * grey, 0.3)
    residual = v - linear_v(x, torch.full((200,), 0.3), eigenvalues, vectors)
    assert (residual - residual.mean(dim=1, keepdim=True)).abs().max() < 1e-3
    assert v.std() > 0.9


def test_the_spectrum_is_the_same_in_blocks_of_images(monkeypatch):
    y = torch.randn(7, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    whole = patch_spectrum(y, 2, floor=FLOOR)
    monkeypatch.setattr("understudy.functional.linear_denoiser._VALUES", 2 * 48)
    for found, expected in zip(patch_spectrum(y, 2, floor=FLOOR), whole, strict=True):
        torch.testing.assert_close(found, expected)
