"""What trained classifiers are worth, with intervals."""

from understudy.evaluation.accuracy import confusion, summarise, verdict
from understudy.evaluation.scale import summarise_scale

__all__ = ["confusion", "summarise", "summarise_scale", "verdict"]
