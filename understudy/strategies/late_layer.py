"""Learn from synthetic images first, then let the real ones change the last layers alone."""

from __future__ import annotations

from understudy.settings import Phase
from understudy.strategies.strategy import STRATEGIES, Strategy, with_changes


def _then_late_layers(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    if phases[-1].data == "real":
        return (*phases[:-1], with_changes(phases[-1], layers="late-layer"))
    return (*phases, Phase(data="real", layers="late-layer"))


STRATEGIES.register("late-layer", summary="afterwards, train the last stage and the head on the real images")(
    Strategy(
        addresses=("appearance",),
        source="Hennicke et al. 2024 (arXiv:2405.03243)",
        change_phases=_then_late_layers,
    )
)
