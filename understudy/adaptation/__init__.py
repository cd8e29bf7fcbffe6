"""Make a generator match the real set."""

from understudy.adaptation.fit import AdaptStep, adapt, adapter_fingerprint
from understudy.adaptation.methods import METHODS

__all__ = ["METHODS", "AdaptStep", "adapt", "adapter_fingerprint"]
