"""Learning-rate schedules: factors in (0, 1] over the steps of a phase, after a linear warm-up."""

from __future__ import annotations

import math
from collections.abc import Callable

from understudy.core.registry import Registry

_WARMUP = 0.05

Schedule = Callable[[int, int], float]
SCHEDULES: Registry[Schedule] = Registry("schedule")


@SCHEDULES.register("cosine", summary="half a cosine down to zero")
def cosine(step: int, num_steps: int) -> float:
    """Rise linearly over the first 5% of the steps, then fall along half a cosine.

    Loshchilov and Hutter 2017 (arXiv:1608.03983), eq. 5, without restarts.

    Args:
        step: number of the step, from 0.
        num_steps: steps of the phase.

    Returns:
        A factor in (0, 1].

    Example:
        >>> [round(cosine(step, 40), 2) for step in (0, 1, 2, 21, 39)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warmup = _warmup_steps(num_steps)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (num_steps - warmup)))


@SCHEDULES.register("constant", summary="no decay")
def constant(step: int, num_steps: int) -> float:
    """Rise linearly over the first 5% of the steps, then stay at 1; arguments as :func:`cosine`."""
    return min(1.0, (step + 1) / _warmup_steps(num_steps))


@SCHEDULES.register("step", summary="a tenth after each third, as in Salman et al. 2020 (arXiv:2007.08489)")
def step_decay(step: int, num_steps: int) -> float:
    """Rise linearly over the first 5% of the steps; then 1, 0.1 and 0.01 for a third of the steps each.

    Arguments as :func:`cosine`.

    Example:
        >>> [round(step_decay(step, 30), 2) for step in (0, 9, 10, 20)]
        [0.5, 1.0, 0.1, 0.01]
    """
    return float(constant(step, num_steps) * 0.1 ** (3 * step // num_steps))


@SCHEDULES.register(
    "quarters", summary="a fifth after each quarter, as in Yuan et al. 2024 (arXiv:2310.10402)"
)
def quarters(step: int, num_steps: int) -> float:
    """Rise linearly over the first 2.5% of the steps; then 1, 0.2, 0.04 and 0.008 for a quarter of them each.

    The code of Yuan et al. 2024 does so in 200 epochs, of which 5 are the warm-up. Arguments as
    :func:`cosine`.

    Example:
        >>> [round(quarters(step, 80), 3) for step in (0, 1, 19, 20, 40, 60)]
        [0.5, 1.0, 1.0, 0.2, 0.04, 0.008]
    """
    return float(min(1.0, (step + 1) / math.ceil(0.025 * num_steps)) * 0.2 ** (4 * step // num_steps))


def _warmup_steps(num_steps: int) -> int:
    return math.ceil(_WARMUP * num_steps)
