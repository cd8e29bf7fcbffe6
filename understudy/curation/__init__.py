"""Which drawn images are kept."""

from understudy.curation.curate import Decisions, decide
from understudy.curation.exhausted import explain_rejection
from understudy.curation.scores import SCORES, Judges
from understudy.curation.selections import SELECTIONS, candidates_wanted

__all__ = [
    "SCORES",
    "SELECTIONS",
    "Decisions",
    "Judges",
    "candidates_wanted",
    "decide",
    "explain_rejection",
]
