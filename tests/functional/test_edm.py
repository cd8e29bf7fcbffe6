import numpy as np
import torch
from diffusers import EDMDPMSolverMultistepScheduler
from scipy import stats

from understudy.functional.denoising import denoising_target
from understudy.functional.edm import SIGMA_DATA, alpha_bar, lognormal_sigmas, noise_condition


def test_levels_follow_the_distribution_of_the_paper():
    logarithms = lognormal_sigmas(1000).log().double().numpy()
    assert stats.kstest(logarithms, stats.norm(-1.2, 1.2).cdf).statistic < 0.001
    assert (np.diff(logarithms) > 0).all()


def test_alpha_bar_is_the_signal_power_of_the_preconditioned_input():
    """c_in^2 sigma_data^2 and c_in^2 sigma^2 of table 1."""
    sigma = torch.tensor([0.01, 0.5, 10.0], dtype=torch.float64)
    c_in = 1 / (sigma**2 + SIGMA_DATA**2).sqrt()
    torch.testing.assert_close(alpha_bar(sigma), (c_in * SIGMA_DATA) ** 2)
    torch.testing.assert_close(1 - alpha_bar(sigma), (c_in * sigma) ** 2)


def test_the_noise_condition_is_a_quarter_of_the_logarithm():
    assert noise_condition(torch.tensor(float(np.e**4))).item() == 1.0


def test_the_denoiser_of_the_solver_is_that_of_the_paper():
    """D = c_skip x + c_out F with table 1 of Karras et al. 2022, for F = -v."""
    solver = EDMDPMSolverMultistepScheduler(sigma_data=SIGMA_DATA, prediction_type="v_prediction")
    rng = torch.Generator().manual_seed(0)
    x, f = (torch.randn(2, 3, 4, 4, generator=rng, dtype=torch.float64) for _ in range(2))
    for sigma in (0.01, 0.5, 60.0):
        c_skip = 0.5**2 / (sigma**2 + 0.5**2)
        c_out = sigma * 0.5 / np.sqrt(0.5**2 + sigma**2)
        found = solver.precondition_outputs(x, -f, torch.tensor(sigma, dtype=torch.float64))
        torch.testing.assert_close(found, c_skip * x + c_out * f)
        scaled = solver.precondition_inputs(x, torch.tensor(sigma, dtype=torch.float64))
        torch.testing.assert_close(scaled, x / np.sqrt(sigma**2 + 0.5**2))


def test_the_loss_of_v_is_the_published_loss_of_d():
    """Table 1: lambda(sigma) |D - y|^2, lambda = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2."""
    rng = torch.Generator().manual_seed(0)
    y, n, v = (torch.randn(3, 3, 4, 4, generator=rng, dtype=torch.float64) for _ in range(3))
    y, sigma = 0.5 * y, torch.tensor([0.02, 0.7, 30.0], dtype=torch.float64)
    target = denoising_target(y / 0.5, n, alpha_bar(sigma), torch.arange(3), "v_prediction")
    s = sigma.view(3, 1, 1, 1)
    d = 0.25 / (s**2 + 0.25) * (y + s * n) - s * 0.5 / (s**2 + 0.25).sqrt() * v
    published = (s**2 + 0.25) / (s * 0.5) ** 2 * (d - y) ** 2
    torch.testing.assert_close(published, (v - target) ** 2)
