import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.functional.weight_average import power_decay, power_exponent


@pytest.mark.parametrize(("sigma_rel", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_exponents_of_widths_are_those_of_the_paper(sigma_rel, gamma):
    """Karras et al. 2024, section 3.1 gives 0.05 and 0.10 with exponents 16.97 and 6.94."""
    assert power_exponent(sigma_rel) == pytest.approx(gamma, abs=0.01)


@given(st.floats(0.03, 0.25))
def test_the_profile_is_a_power_of_the_step_with_this_width(sigma_rel):
    gamma, steps = power_exponent(sigma_rel), 4000
    weights = np.zeros(steps)
    for step in range(1, steps + 1):  # the moving average itself, of one weight per step
        beta = power_decay(step, gamma)
        weights *= beta
        weights[step - 1] += 1 - beta
    place = np.arange(1, steps + 1) / steps
    assert weights.sum() == pytest.approx(1)
    middle = weights @ place
    assert np.sqrt(weights @ (place - middle) ** 2) == pytest.approx(sigma_rel, rel=0.01)
    power = place**gamma / (place**gamma).sum()
    assert np.abs(weights - power).max() < 0.01 * power.max()
