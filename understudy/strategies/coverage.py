"""Choose, of more images than needed, those that together lie as the real ones do."""

from __future__ import annotations

from understudy.strategies.strategy import STRATEGIES, Strategy, with_section

STRATEGIES.register(
    "coverage", summary="of three times as many images, take those whose features lie as the real ones do (kernel herding)"
)(
    Strategy(
        addresses=("content",),
        source="kernel herding, Chen et al. 2010 (arXiv:1203.3472)",
        change_set=lambda settings, shots: with_section(settings, "curate", select="coverage"),
    )
)
