"""What trained classifiers are worth, with intervals."""

from understudy.evaluation.accuracy import confusion, summarise, verdict

__all__ = ["confusion", "summarise", "verdict"]
