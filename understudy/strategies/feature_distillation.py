"""Hold on to the features of a frozen pretrained network where images are synthetic."""

from __future__ import annotations

from understudy.strategies.strategy import STRATEGIES, Strategy, on_synthetic

STRATEGIES.register("feature-distillation", summary="features of synthetic images stay near those of the frozen pretrained network")(
    Strategy(
        addresses=("appearance",),
        source="FitNets, Romero et al. 2015 (arXiv:1412.6550)",
        change_phases=on_synthetic(feature_distillation=1.0),
    )
)
