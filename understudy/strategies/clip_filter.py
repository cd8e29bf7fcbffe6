"""Keep images that CLIP recognises from the names of the classes."""

from __future__ import annotations

from understudy.strategies.strategy import STRATEGIES, Strategy, with_section

STRATEGIES.register("clip-filter", summary="draw anew what CLIP gives its class no more than an even chance")(
    Strategy(
        addresses=("quality",),
        source="CLIP filter of He et al. 2023 (arXiv:2210.07574)",
        change_set=lambda settings, shots: with_section(settings, "curate", score="clip", threshold=None),
    )
)
