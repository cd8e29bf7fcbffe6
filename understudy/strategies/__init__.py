"""Ways to make synthetic images worth more; each is a suffix of an arm's name, as in ``synthetic@confidence-filter``."""

from understudy.strategies import (
    agreement_filter,
    aux_batch_norm,
    clip_filter,
    confidence_filter,
    coverage,
    diverse,
    feature_distillation,
    late_layer,
    matched,
    real_guidance,
    refresh,
    several_generators,
    soft_labels,
    two_stream,
    weak_classes,
)
from understudy.strategies.strategy import STRATEGIES, Strategy, Term, split_name

__all__ = [
    "STRATEGIES",
    "Strategy",
    "Term",
    "agreement_filter",
    "aux_batch_norm",
    "clip_filter",
    "confidence_filter",
    "coverage",
    "diverse",
    "feature_distillation",
    "late_layer",
    "matched",
    "real_guidance",
    "refresh",
    "several_generators",
    "soft_labels",
    "split_name",
    "two_stream",
    "weak_classes",
]
