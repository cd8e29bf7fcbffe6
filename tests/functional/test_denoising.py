import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_snr
from hypothesis import given
from hypothesis import strategies as st

from understudy.functional.denoising import (
    add_flow_noise,
    add_noise,
    ddim_step,
    denoising_target,
    flow_sigma,
    min_snr_weight,
    num_steps_from_snr,
    signal_to_noise_ratio,
    strength_of,
    weighted_denoising_loss,
    x0_error,
)

SCHEDULER = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
T = torch.arange(0, 1000, 37)


def test_snr_equals_diffusers():
    torch.testing.assert_close(signal_to_noise_ratio(SCHEDULER.alphas_cumprod, T), compute_snr(SCHEDULER, T))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_noise_and_target_equal_diffusers(prediction_type):
    rng = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(len(T), 4, 8, 8, generator=rng), torch.randn(len(T), 4, 8, 8, generator=rng)
    torch.testing.assert_close(
        add_noise(x0, eps, SCHEDULER.alphas_cumprod, T), SCHEDULER.add_noise(x0, eps, T)
    )
    expected = eps if prediction_type == "epsilon" else SCHEDULER.get_velocity(x0, eps, T)
    torch.testing.assert_close(
        denoising_target(x0, eps, SCHEDULER.alphas_cumprod, T, prediction_type), expected
    )


def test_with_weights_epsilon_and_v_have_the_same_loss_in_x0():
    """Closed form: an error d in x0 is sqrt(snr) d in epsilon and sqrt(snr + 1) d in v, up to sign."""
    snr = signal_to_noise_ratio(SCHEDULER.alphas_cumprod, T)
    in_x0 = snr.clamp(max=5.0)
    torch.testing.assert_close(min_snr_weight(snr, 5.0) * snr, in_x0)
    torch.testing.assert_close(min_snr_weight(snr, 5.0, "v_prediction") * (snr + 1), in_x0)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_chain_of_ddim_steps_is_that_of_diffusers(prediction_type):
    """With a network that predicts a fixed function of x_t and t."""
    solver = DDIMScheduler.from_config(
        SCHEDULER.config, prediction_type=prediction_type, clip_sample=False, set_alpha_to_one=True
    )
    solver.set_timesteps(5)
    power = SCHEDULER.alphas_cumprod
    noise = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def network(x_t, time):
        return torch.sin(2 * x_t) + time / 1000

    theirs = noise * (1 - power[solver.timesteps[0]]).sqrt()
    x0, eps = torch.zeros_like(noise), noise
    for time in solver.timesteps:
        theirs = solver.step(network(theirs, time), time, theirs).prev_sample
        t = time.expand(3)
        x_t, target = (
            formula(x0, eps, power, t, *more)
            for formula, more in ((add_noise, ()), (denoising_target, (prediction_type,)))
        )
        snr = signal_to_noise_ratio(power, t)
        x0, eps = ddim_step(x0, eps, network(x_t, time) - target, snr, prediction_type)
    torch.testing.assert_close(x0, theirs, rtol=1e-5, atol=1e-5)


def test_a_ddim_step_of_flow_follows_the_velocity():
    """Closed form: x_s = x_t + (s - t) v is the mixture at s of what the network sees in x_t."""
    x0, eps, v = (torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    for t, s in ((1.0, 0.6), (0.6, 0.1)):
        sigma = torch.full((2,), t)
        x_t = add_flow_noise(x0, eps, sigma)
        snr = ((1 - sigma) / sigma) ** 2
        seen = ddim_step(x0, eps, v - (eps - x0), snr, "flow")
        torch.testing.assert_close(add_flow_noise(*seen, torch.full((2,), s)), x_t + (s - t) * v)


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
    "call",
    [
        lambda: min_snr_weight(torch.ones(1), 5.0, "sample"),
        lambda: denoising_target(*[torch.ones(1)] * 3, T[:1], "sample"),
        lambda: x0_error(torch.ones(1, 1, 1, 1), torch.ones(1), "sample"),
    ],
)
def test_unknown_prediction_type(call):
    with pytest.raises(ValueError, match="must be 'epsilon', 'v_prediction' or 'flow', got 'sample'"):
        call()


def test_flow_noise_equals_diffusers():
    rng = torch.Generator().manual_seed(0)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    x0, eps = torch.randn(len(T), 4, 8, 8, generator=rng), torch.randn(len(T), 4, 8, 8, generator=rng)
    expected = scheduler.scale_noise(x0, scheduler.timesteps[T], eps)
    torch.testing.assert_close(add_flow_noise(x0, eps, scheduler.sigmas[T]), expected)
    torch.testing.assert_close(denoising_target(x0, eps, SCHEDULER.alphas_cumprod, T, "flow"), eps - x0)


def test_sigma_inverts_the_ratio():
    sigma = torch.linspace(0.001, 1, 50, dtype=torch.float64)
    torch.testing.assert_close(flow_sigma(((1 - sigma) / sigma) ** 2), sigma)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "flow"])
def test_x0_error_agrees_with_solving_for_x0(prediction_type):
    """The estimate of x0 from x_t and a wrong prediction, in closed form, minus x0."""
    rng = torch.Generator().manual_seed(0)
    x0, eps, residual = (torch.randn(len(T), 4, 2, 2, generator=rng, dtype=torch.float64) for _ in range(3))
    alpha_bar = SCHEDULER.alphas_cumprod.double()
    snr = signal_to_noise_ratio(alpha_bar, T)
    predicted = denoising_target(x0, eps, alpha_bar, T, prediction_type) + residual
    if prediction_type == "flow":
        sigma = flow_sigma(snr)
        estimate = add_flow_noise(x0, eps, sigma) - sigma.view(-1, 1, 1, 1) * predicted
    else:
        x_t, signal, noise = (
            add_noise(x0, eps, alpha_bar, T),
            *(p.sqrt().view(-1, 1, 1, 1) for p in (alpha_bar[T], 1 - alpha_bar[T])),
        )
        estimate = (
            (x_t - noise * predicted) / signal
            if prediction_type == "epsilon"
            else signal * x_t - noise * predicted
        )
    error = x0_error(residual, snr, prediction_type)
    torch.testing.assert_close(error, estimate - x0)
    # The weight is min(snr, gamma) in the space of x0, for every prediction.
    weighted = min_snr_weight(snr, 5.0, prediction_type).view(-1, 1, 1, 1) * residual.square()
    torch.testing.assert_close(weighted, snr.clamp(max=5.0).view(-1, 1, 1, 1) * error.square())


def test_weights_of_stable_diffusions_schedule():
    alpha_bar = SCHEDULER.alphas_cumprod
    weight = min_snr_weight(signal_to_noise_ratio(alpha_bar, torch.arange(1000)), 5.0)
    assert alpha_bar[999].item() == pytest.approx(0.00466, abs=5e-6)
    assert (weight < 1).nonzero().flatten().tolist() == list(range(147))
    assert weight.mean().item() == pytest.approx(0.9166, abs=1e-4)
    assert weight.square().mean().item() == pytest.approx(0.8927, abs=1e-4)


def test_a_strength_executes_its_steps():
    """What diffusers' image-to-image pipelines execute, for every number of steps up to 1000."""
    for num_steps in range(1, 1001):
        for num_executed in range(1, num_steps + 1):
            strength = strength_of(num_executed, num_steps)
            assert 0 < strength <= 1
            assert min(int(num_steps * strength), num_steps) == num_executed


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30, unique=True), st.floats(1e-6, 1e6))
def test_the_start_is_the_nearest_point(values, wanted):
    grid = torch.tensor(sorted(values), dtype=torch.float64)
    distance = (grid.log() - torch.tensor(wanted, dtype=torch.float64).log()).abs()
    assert distance[len(grid) - num_steps_from_snr(grid, wanted)] == distance.min()


def test_pure_noise_can_be_the_start():
    assert num_steps_from_snr(torch.tensor([0.0, 1e-3, 1.0]), 1e-9) == 3
