"""Mean-matching terms: Jensen's bound, the relation of their forms, and what Real-Fake's factor comes to."""

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.functional.denoising import min_snr_weight, signal_to_noise_ratio, weighted_denoising_loss
from understudy.functional.mean_matching import batch_mean_term, batch_sum_term, class_mean_term


def _residual(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=st.integers(0, 1000), batch=st.integers(1, 9), shift=st.floats(-3, 3))
@settings(max_examples=50, deadline=None)
def test_properties(seed, batch, shift):
    residual = _residual(batch, 2, 3, 3, seed=seed) + shift
    mean, loss = batch_mean_term(residual), residual.square().mean()
    assert 0 <= mean <= loss * (1 + 1e-12)  # Jensen
    torch.testing.assert_close(batch_mean_term(residual[:1]), residual[:1].square().mean())
    torch.testing.assert_close(
        batch_mean_term(residual[:1].expand_as(residual)), residual[:1].square().mean()
    )
    torch.testing.assert_close(batch_sum_term(residual, torch.ones(batch)), batch**2 * mean)
    torch.testing.assert_close(class_mean_term(residual, torch.full((batch,), 4)), mean)
    torch.testing.assert_close(class_mean_term(residual, torch.arange(batch)), loss)
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    weight, labels = torch.rand(batch), torch.arange(batch) % 3
    torch.testing.assert_close(batch_mean_term(residual[order]), mean)
    torch.testing.assert_close(
        batch_sum_term(residual[order], weight[order]), batch_sum_term(residual, weight)
    )
    torch.testing.assert_close(
        class_mean_term(residual[order], labels[order]), class_mean_term(residual, labels)
    )


def test_sum_over_mean_is_the_squared_batch_exactly():
    residual = _residual(8, 4, 8, 8)
    assert float(batch_sum_term(residual, torch.ones(8)) / batch_mean_term(residual)) == pytest.approx(
        64, rel=1e-12
    )


@pytest.mark.parametrize(
    ("batch", "ratio", "share"), [(8, 7.79, 0.0234), (16, 15.58, 0.0467), (64, 62.33, 0.187)]
)
def test_share_of_the_loss_for_independent_residuals(batch, ratio, share):
    """Stable Diffusion's schedule, gamma 5, residuals N(0, 1): E[L_sum] / E[L_diff] = B E[w^2] / E[w]."""
    alpha_bar = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    ).alphas_cumprod.double()
    weight = min_snr_weight(signal_to_noise_ratio(alpha_bar, torch.arange(1000)), 5.0)
    assert float(weight.mean()) == pytest.approx(0.9166, abs=5e-5)
    assert float(weight.square().mean()) == pytest.approx(0.8927, abs=5e-5)
    exact = batch * float(weight.square().mean() / weight.mean())
    assert exact == pytest.approx(ratio, abs=0.005)
    assert 0.003 * exact == pytest.approx(share, rel=0.005)
    # Measured on 300 batches of 256 latents; the standard error of the ratio is below 1%.
    rng = torch.Generator().manual_seed(0)
    sums = losses = 0.0
    for seed in range(300):
        residual, w = (
            _residual(batch, 1, 16, 16, seed=seed),
            weight[torch.randint(0, 1000, (batch,), generator=rng)],
        )
        sums += float(batch_sum_term(residual, w))
        losses += float(weighted_denoising_loss(residual, w))
    assert sums / losses == pytest.approx(exact, rel=0.03)


def test_the_class_mean_keeps_what_cancels_in_the_batch_mean():
    residual = torch.cat([torch.ones(4, 1, 2, 2), -torch.ones(4, 1, 2, 2)])
    labels = torch.tensor([0] * 4 + [1] * 4)
    assert float(batch_mean_term(residual)) == 0
    assert float(class_mean_term(residual, labels)) == 1


def test_gradients():
    residual = _residual(5, 1, 2, 2).requires_grad_()
    weight, labels = torch.rand(5), torch.tensor([0, 1, 0, 2, 1])
    assert torch.autograd.gradcheck(batch_mean_term, residual)
    assert torch.autograd.gradcheck(lambda r: batch_sum_term(r, weight), residual)
    assert torch.autograd.gradcheck(lambda r: class_mean_term(r, labels), residual)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: batch_mean_term(torch.ones(3, 4)), "residual must be"),
        (lambda: batch_mean_term(torch.ones(0, 1, 2, 2)), "residual must be"),
        (lambda: batch_sum_term(torch.ones(3, 1, 2, 2), torch.ones(2)), "weight must be"),
        (lambda: class_mean_term(torch.ones(3, 1, 2, 2), torch.zeros(2)), "labels must be"),
    ],
)
def test_arguments_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()
