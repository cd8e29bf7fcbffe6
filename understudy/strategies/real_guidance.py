"""Start drawing from noised real images, the less noised the more of them there are."""

from __future__ import annotations

import numpy as np

from understudy.functional.denoising import strength_of
from understudy.settings import Settings
from understudy.strategies.strategy import STRATEGIES, Strategy, with_section

_SCHEDULE = {1: 0.50, 2: 0.40, 4: 0.35, 8: 0.20, 16: 0.15}
"""Strength by shots; the paper's 50, 40, 35, 20, 15 of 100 steps."""


def strength_by_shots(shots: int) -> float:
    """Share of the reverse process that is left to the generator.

    He et al. 2023 (arXiv:2210.07574); between the paper's numbers of shots, linear in the logarithm; outside, the nearest.

    Example:
        >>> strength_by_shots(4), strength_by_shots(600)
        (0.35, 0.15)
    """
    shot_counts = sorted(_SCHEDULE)
    return float(np.interp(np.log2(max(shots, 1)), np.log2(shot_counts), [_SCHEDULE[count] for count in shot_counts]))


def _from_real(settings: Settings, shots: int) -> Settings:
    strength = max(strength_by_shots(shots), strength_of(1, settings.draw.steps))  # one step at least
    return with_section(settings, "draw", strength=strength, start_snr=None, noise_scale=1.0)


STRATEGIES.register("real-guidance", summary="start from noised real images of the class, the less noised the more there are")(
    Strategy(
        addresses=("appearance", "quality"),
        source="real guidance of He et al. 2023 (arXiv:2210.07574)",
        change_set=_from_real,
    )
)
