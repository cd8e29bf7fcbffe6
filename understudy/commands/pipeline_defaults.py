"""Defaults for pipelines of the size of Stable Diffusion; the general ones were made for ``mini``."""

from __future__ import annotations

from typing import Any

from understudy.generators.pipeline_size import is_distilled, is_large

PIPELINE_DEFAULTS: dict[str, dict[str, tuple[object]]] = {
    # LoRA at this rate, eight images a step: Real-Fake (Yuan et al., ICLR 2024, arXiv:2310.10402). Full
    # fine-tuning holds about seven times the weights: 24 GB for Stable Diffusion 1.5.
    "adapt": {"method": ("lora",), "learning_rate": (1e-4,), "batch_size": (8,)},
    # What Real-Fake draws with; larger scales draw images that differ less.
    "draw": {"guidance_scale": (2.0,)},
}
"""By section and setting, the value that is the default for large pipelines."""


def pipeline_defaults(name: str) -> dict[str, Any]:
    """Settings that suit the generator ``name``, as a layer for :func:`build`; nothing for a small one.

    Distilled weights keep the general guidance of 1, which is none: they were trained to draw without.
    """
    if not is_large(name):
        return {}
    return {
        section: {key: value for key, (value,) in values.items()}
        for section, values in PIPELINE_DEFAULTS.items()
        if section != "draw" or not is_distilled(name)
    }
