"""Keep images that a classifier of the real ones is sure of."""

from __future__ import annotations

from understudy.strategies.strategy import STRATEGIES, Strategy, with_section

STRATEGIES.register("confidence-filter", summary="draw anew what that classifier is less sure of than of real validation images")(
    Strategy(
        addresses=("quality",),
        source="dynamic sample filtering of GaFi (arXiv:2305.10118), with a threshold from validation images instead of test images",
        change_set=lambda settings, shots: with_section(settings, "curate", score="confidence", threshold=None),
    )
)
