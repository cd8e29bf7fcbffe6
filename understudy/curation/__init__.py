"""Which drawn images are kept."""

from understudy.curation.curate import DISTANCE_UNIT, Decisions, decide, nearest_real, paired_distances
from understudy.curation.exhausted import explain_rejection
from understudy.curation.scores import SCORES, Judges
from understudy.curation.selections import SELECTIONS, candidates_wanted

__all__ = [
    "DISTANCE_UNIT",
    "SCORES",
    "SELECTIONS",
    "Decisions",
    "Judges",
    "candidates_wanted",
    "decide",
    "explain_rejection",
    "nearest_real",
    "paired_distances",
]
