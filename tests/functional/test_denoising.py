import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from hypothesis import given
from hypothesis import strategies as st

from understudy.functional.denoising import (
    add_noise,
    denoising_target,
    min_snr_weight,
    signal_to_noise_ratio,
    weighted_denoising_loss,
)

SCHEDULER = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
T = torch.arange(0, 1000, 37)


def test_snr_equals_diffusers():
    torch.testing.assert_close(signal_to_noise_ratio(SCHEDULER.alphas_cumprod, T), compute_snr(SCHEDULER, T))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_noise_and_target_equal_diffusers(prediction_type):
    rng = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(len(T), 4, 8, 8, generator=rng), torch.randn(len(T), 4, 8, 8, generator=rng)
    torch.testing.assert_close(add_noise(x0, eps, SCHEDULER.alphas_cumprod, T), SCHEDULER.add_noise(x0, eps, T))
    expected = eps if prediction_type == "epsilon" else SCHEDULER.get_velocity(x0, eps, T)
    torch.testing.assert_close(denoising_target(x0, eps, SCHEDULER.alphas_cumprod, T, prediction_type), expected)


def test_weights_make_both_predictions_the_same_loss_in_x0():
    """Closed form: an error d in x0 is sqrt(snr) d in epsilon and sqrt(snr + 1) d in v, up to sign."""
    snr = signal_to_noise_ratio(SCHEDULER.alphas_cumprod, T)
    in_x0 = snr.clamp(max=5.0)
    torch.testing.assert_close(min_snr_weight(snr, 5.0) * snr, in_x0)
    torch.testing.assert_close(min_snr_weight(snr, 5.0, "v_prediction") * (snr + 1), in_x0)


def test_infinite_gamma_is_the_plain_loss():
    snr = torch.tensor([0.01, 1.0, 300.0])
    residual = torch.arange(24.0).view(3, 2, 2, 2)
    loss = weighted_denoising_loss(residual, min_snr_weight(snr, float("inf")))
    torch.testing.assert_close(loss, residual.square().mean())


@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=20), st.floats(0.1, 50))
def test_weight_is_in_the_unit_interval_and_falls_with_snr(values, gamma):
    snr = torch.tensor(sorted(values), dtype=torch.float64)
    weight = min_snr_weight(snr, gamma)
    assert ((weight > 0) & (weight <= 1)).all()
    assert (weight.diff() <= 1e-12).all()


@pytest.mark.parametrize(
    "call", [lambda: min_snr_weight(torch.ones(1), 5.0, "sample"), lambda: denoising_target(*[torch.ones(1)] * 3, T[:1], "sample")]
)
def test_unknown_prediction_type(call):
    with pytest.raises(ValueError, match="must be 'epsilon' or 'v_prediction', got 'sample'"):
        call()
