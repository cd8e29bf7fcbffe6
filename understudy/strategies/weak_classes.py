"""Give classes that are confused more of the images."""

from __future__ import annotations

from understudy.strategies.strategy import STRATEGIES, Strategy, with_section

STRATEGIES.register(
    "weak-classes", summary="the same number of images, more of them for classes that a classifier of synthetic images confuses"
)(
    Strategy(
        addresses=("quantity", "content"),
        source="the project's own, see docs/methods/content_gap.md",
        change_set=lambda settings, shots: with_section(settings, "draw", allocation="weak-classes"),
    )
)
