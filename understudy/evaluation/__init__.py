"""What trained classifiers are worth, with intervals."""

from understudy.evaluation.accuracy import confusion, summarise, verdict
from understudy.evaluation.convergence import summarise_curves, summarise_phases
from understudy.evaluation.gap import summarise_gap
from understudy.evaluation.published import PUBLISHED
from understudy.evaluation.repeats import study_sentence, summarise_points
from understudy.evaluation.scale import summarise_scale
from understudy.evaluation.side_measures import LabelledFeatures, side_measures
from understudy.evaluation.transferability import transferability

__all__ = [
    "PUBLISHED",
    "LabelledFeatures",
    "confusion",
    "side_measures",
    "study_sentence",
    "summarise",
    "summarise_curves",
    "summarise_gap",
    "summarise_phases",
    "summarise_points",
    "summarise_scale",
    "transferability",
    "verdict",
]
