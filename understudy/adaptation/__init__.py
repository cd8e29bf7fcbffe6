"""Make a generator match the real set."""

from understudy.adaptation.adapter import (
    adapter_fingerprint,
    apply_adapter,
    copy_adapter,
    load_projection,
    read_adapter_report,
    require_guidance,
    require_tokens,
    require_unseen,
)
from understudy.adaptation.fit import AdaptStep, adapt
from understudy.adaptation.held_out import held_out_losses
from understudy.adaptation.methods import METHODS
from understudy.adaptation.terms import TERMS

__all__ = [
    "METHODS",
    "TERMS",
    "AdaptStep",
    "adapt",
    "adapter_fingerprint",
    "apply_adapter",
    "copy_adapter",
    "held_out_losses",
    "load_projection",
    "read_adapter_report",
    "require_guidance",
    "require_tokens",
    "require_unseen",
]
