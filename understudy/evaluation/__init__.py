"""What trained classifiers are worth, with intervals."""

from understudy.evaluation.accuracy import confusion, summarise, verdict
from understudy.evaluation.convergence import summarise_curves, summarise_phases
from understudy.evaluation.corruptions import CORRUPTIONS
from understudy.evaluation.fidelity import MEASURES, EncodedImages, measure_fidelity
from understudy.evaluation.gap import summarise_gap
from understudy.evaluation.membership import ATTACKS, audit_membership, enough_shadows, half_splits
from understudy.evaluation.memorisation import measure_memorisation
from understudy.evaluation.published import PUBLISHED
from understudy.evaluation.repeats import difference_field, study_sentence, summarise_points
from understudy.evaluation.scale import stop_reason, summarise_scale
from understudy.evaluation.shift import FurtherSet, Outcome, measure_corruption, measure_further, summarise_shift
from understudy.evaluation.side_measures import LabelledFeatures, side_measures
from understudy.evaluation.transferability import transferability

__all__ = [
    "ATTACKS",
    "CORRUPTIONS",
    "MEASURES",
    "PUBLISHED",
    "EncodedImages",
    "FurtherSet",
    "LabelledFeatures",
    "Outcome",
    "audit_membership",
    "confusion",
    "difference_field",
    "enough_shadows",
    "half_splits",
    "measure_corruption",
    "measure_fidelity",
    "measure_further",
    "measure_memorisation",
    "side_measures",
    "stop_reason",
    "study_sentence",
    "summarise",
    "summarise_curves",
    "summarise_gap",
    "summarise_phases",
    "summarise_points",
    "summarise_scale",
    "summarise_shift",
    "transferability",
    "verdict",
]
