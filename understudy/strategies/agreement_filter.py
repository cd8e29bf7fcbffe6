"""Keep images whose class a classifier of the real ones recognises."""

from __future__ import annotations

from understudy.strategies.strategy import STRATEGIES, Strategy, with_section

STRATEGIES.register("agreement-filter", summary="draw anew what a classifier of the real images does not take for its class")(
    Strategy(
        addresses=("quality",),
        source="understudy's own curation; the argmax test of GaFi (arXiv:2305.10118) in a softer form",
        change_set=lambda settings, shots: with_section(settings, "curate", score="agreement", threshold=None),
    )
)
