"""Which drawn images are kept."""

from understudy.curation.curate import DISTANCE_UNIT, Decisions, decide, nearest_real, paired_distances
from understudy.curation.scores import SCORES

__all__ = ["DISTANCE_UNIT", "SCORES", "Decisions", "decide", "nearest_real", "paired_distances"]
