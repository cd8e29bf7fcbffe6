"""Replace images that have been trained on by fresh ones."""

from __future__ import annotations

from understudy.strategies.strategy import STRATEGIES, Strategy, on_synthetic

STRATEGIES.register("refresh", summary="after every pass over the synthetic images, train on freshly drawn ones")(
    Strategy(
        addresses=("quantity",),
        source="dynamic dataset recycle of GaFi (arXiv:2305.10118), every epoch, all images",
        change_phases=on_synthetic(refresh_every=1.0),
    )
)
