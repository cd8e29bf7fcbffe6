"""Choose for each real image its nearest synthetic one."""

from __future__ import annotations

from understudy.strategies.strategy import STRATEGIES, Strategy, with_section

STRATEGIES.register("matched", summary="of three times as many images, take for each real image the nearest one")(
    Strategy(
        addresses=("content",),
        source="the project's own, see docs/methods/content_gap.md",
        change_set=lambda settings, shots: with_section(settings, "curate", select="matched"),
    )
)
