"""Defaults for pipelines of the size of Stable Diffusion; the general ones were made for ``mini``."""

from __future__ import annotations

from typing import Any

from understudy.generators.pipeline_size import is_large

_VALUES: dict[str, dict[str, object]] = {
    # LoRA at this rate, eight images a step: Real-Fake (Yuan et al., ICLR 2024, arXiv:2310.10402). Full
    # fine-tuning holds about seven times the weights: 24 GB for Stable Diffusion 1.5.
    "adapt": {"method": "lora", "learning_rate": 1e-4, "batch_size": 8},
    # What Real-Fake draws with; larger scales draw images that differ less.
    "draw": {"guidance_scale": 2.0},
}
_GENERAL: dict[str, dict[str, object]] = {
    "adapt": {"method": "full", "learning_rate": 5e-4, "batch_size": 32},
    "draw": {"guidance_scale": 1.0},
}
PIPELINE_DEFAULTS = {
    section: {name: (_GENERAL[section][name], value) for name, value in values.items()}
    for section, values in _VALUES.items()
}
"""By section and setting, the values that are defaults for some generators."""


def pipeline_defaults(name: str) -> dict[str, Any]:
    """Settings that suit the generator ``name``, as a layer for :func:`build`; nothing for a small one."""
    return {section: dict(values) for section, values in _VALUES.items()} if is_large(name) else {}
