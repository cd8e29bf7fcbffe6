"""Let a classifier of the real images say what is on the synthetic ones."""

from __future__ import annotations

from understudy.strategies.strategy import STRATEGIES, Strategy, on_synthetic

STRATEGIES.register(
    "soft-labels", summary="half of the loss of synthetic images asks for what a classifier of the real images sees in them"
)(
    Strategy(
        addresses=("quality",),
        source="soft cross entropy of He et al. 2023 (arXiv:2210.07574); Hinton et al. 2015 (arXiv:1503.02531)",
        change_phases=on_synthetic(soft_labels=0.5),
    )
)
