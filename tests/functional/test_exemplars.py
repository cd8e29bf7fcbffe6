"""Guidance by exemplars: distances against brute force, the bound on the Chamfer distance, and steps."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from understudy.functional.denoising import add_flow_noise, add_noise, denoising_target, predicted_x0
from understudy.functional.exemplars import descended, exemplar_distance


def features(count, width, seed):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(values):
    return values.numpy() / np.linalg.norm(values.numpy(), axis=1, keepdims=True)


@given(k=st.integers(1, 5), rounds=st.integers(1, 4), width=st.integers(2, 8), seed=st.integers(0, 999))
def test_the_mean_distance_to_exemplars_bounds_both_terms_of_the_chamfer_distance(k, rounds, width, seed):
    generated, real = features(k * rounds, width, seed), features(k, width, seed + 1)
    found = exemplar_distance(generated, real[torch.arange(k * rounds) % k])
    every = np.array([[((f - r) ** 2).sum() for r in unit(real)] for f in unit(generated)])
    np.testing.assert_allclose(found, [every[i, i % k] for i in range(k * rounds)], atol=1e-12)
    fidelity, coverage = every.min(axis=1).mean(), every.min(axis=0).mean()
    assert found.mean() >= max(fidelity, coverage) - 1e-12


@given(
    weight=st.floats(0, 2),
    snr=st.floats(0, 100),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    seed=st.integers(0, 99),
)
def test_a_step_has_the_length_of_the_weight_and_goes_down(weight, snr, scale, seed):
    x0, target = features(2, 12, seed).view(2, 3, 2, 2), features(2, 12, seed + 1).view(2, 3, 2, 2)
    leaf = x0.clone().requires_grad_()
    (scale * (leaf - target).square().sum()).backward()
    moved = descended(x0, leaf.grad, torch.tensor([weight, 0.0]), torch.tensor([snr, snr]))
    rms = (moved - x0).square().mean(dim=(1, 2, 3)).sqrt()
    torch.testing.assert_close(
        rms, torch.tensor([weight / (1 + snr**0.5), 0.0], dtype=rms.dtype), atol=1e-6, rtol=1e-5
    )
    assert torch.equal(moved[1], x0[1])
    assert ((moved - x0) * leaf.grad).sum() <= 0


def test_without_a_gradient_nothing_moves():
    x0 = torch.ones(1, 1, 2, 2)
    assert torch.equal(descended(x0, torch.zeros_like(x0), torch.ones(1), torch.ones(1)), x0)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "flow"])
def test_a_perfect_prediction_gives_the_clean_latents(kind):
    x0, eps = (features(3, 8, seed).view(3, 2, 2, 2) for seed in (0, 1))
    alpha_bar = torch.tensor([0.9, 0.5, 0.02], dtype=torch.float64)
    t, snr = torch.arange(3), alpha_bar / (1 - alpha_bar)
    if kind == "flow":
        x_t = add_flow_noise(x0, eps, 1 / (1 + snr.sqrt()))
    else:
        x_t = add_noise(x0, eps, alpha_bar, t)
    target = denoising_target(x0, eps, alpha_bar, t, kind)
    torch.testing.assert_close(predicted_x0(x_t, target, snr, kind), x0)
