"""Averages of weights over a training whose profile is a power of the step, so that they fit any length.

Symbols, as in Karras et al. 2024 (arXiv:2312.02696), section 3.1::

    t          step, from 1
    gamma      exponent of the profile: the average contains the weights of step i in proportion to i^gamma
    sigma_rel  standard deviation of the profile over the length of the training
    beta       share of the old average that a step keeps
"""

from __future__ import annotations

import numpy as np


def power_exponent(sigma_rel: float) -> float:
    """The exponent of a profile of relative width ``sigma_rel``.

    Karras et al. 2024, section 3.1 and appendix C: the largest root of
    ``(gamma + 2)^2 (gamma + 3) sigma_rel^2 = gamma + 1``.

    Args:
        sigma_rel: in (0, 0.288), the width of a mean of all steps.

    Returns:
        gamma, positive.

    Example:
        >>> round(power_exponent(0.10), 2)
        6.94
    """
    t = sigma_rel**-2
    return float(np.roots([1, 7, 16 - t, 12 - t]).real.max())


def power_decay(step: int, exponent: float) -> float:
    """The decay that turns an exponential moving average into one with a power profile.

    Karras et al. 2024, section 3.1: ``beta = (1 - 1 / t)^(gamma + 1)``.

    Args:
        step: t, at least 1.
        exponent: gamma, positive.

    Returns:
        In [0, 1): 0 at the first step, so the weights before it leave no trace.

    Example:
        >>> power_decay(1, 6.94), power_decay(2, 1.0)
        (0.0, 0.25)
    """
    return float((1 - 1 / step) ** (exponent + 1))
