import numpy as np
import torch
from scipy import stats

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
