"""Keep the statistics of synthetic and real images apart."""

from __future__ import annotations

from understudy.settings import Phase
from understudy.strategies.strategy import STRATEGIES, Strategy, with_changes


def _apart(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Scale, shift and statistics, with half of every batch each; without real images in the phase, the statistics alone."""
    changed = []
    for phase in phases:
        if phase.data == "mixed":
            phase = with_changes(phase, auxiliary_batch_norm="both", real_share=phase.real_share or 0.5)
        elif phase.data == "synthetic":
            phase = with_changes(phase, auxiliary_batch_norm="statistics")
        changed.append(phase)
    return tuple(changed)


STRATEGIES.register("aux-batch-norm", summary="batch normalisation of its own for synthetic images; at test that of the real ones is used")(
    Strategy(
        addresses=("appearance",),
        source="Diversify, Don't Fine-Tune (arXiv:2312.02253), after AdvProp (arXiv:1911.09665)",
        change_phases=_apart,
    )
)
