"""Weigh real and synthetic images as two losses."""

from __future__ import annotations

from understudy.errors import InputError
from understudy.settings import Phase
from understudy.strategies.strategy import STRATEGIES, Strategy, with_changes


def _two_streams(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    if not any(phase.data == "mixed" for phase in phases):
        raise InputError("the strategy 'two-stream' needs real and synthetic images in one phase, such as mixed@two-stream")
    return tuple(
        with_changes(phase, synthetic_weight=1.0, real_share=phase.real_share or 0.5) if phase.data == "mixed" else phase
        for phase in phases
    )


STRATEGIES.register("two-stream", summary="half of every batch each; the losses of real and of synthetic images count alike")(
    Strategy(
        addresses=("content", "quantity"),
        source="mix loss of He et al. 2023 (arXiv:2210.07574)",
        change_phases=_two_streams,
    )
)
