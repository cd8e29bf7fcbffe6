"""Defaults for pipelines of the size of Stable Diffusion; the general ones were made for ``mini``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from understudy.generators.pipeline_kind import draws_in_four_steps, is_distilled, is_flow
from understudy.generators.pipeline_size import is_large

PIPELINE_DEFAULTS: dict[str, dict[str, tuple[object]]] = {
    # LoRA at this rate, eight images a step: Real-Fake (Yuan et al., ICLR 2024, arXiv:2310.10402). Full
    # fine-tuning holds about seven times the weights: 24 GB for Stable Diffusion 1.5.
    "adapt": {"method": ("lora",), "learning_rate": (1e-4,), "batch_size": (8,)},
    # Guidance: what Real-Fake draws with; larger scales draw images that differ less. Steps: for FLUX.1
    # schnell, which was distilled for 1 to 4. The sampler is the one for flow matching. Eight images at once
    # reach 87% of the speed of 32 on an H100; a part is what is lost if a run is stopped, and takes hours for
    # 256 images on a CPU.
    "draw": {
        "guidance_scale": (2.0,),
        "steps": (4,),
        "sampler": ("flow-euler",),
        "batch_size": (8,),
        "part_size": (32,),
    },
}
"""By section and setting, the value that is the default for large pipelines."""
PIPELINE_REASONS = {
    "adapt.method": "full fine-tuning of a large pipeline takes about seven times the memory of its weights",
    "adapt.learning_rate": "the rate of Real-Fake for LoRA",
    "adapt.batch_size": "as in Real-Fake",
    "draw.guidance_scale": "as in Real-Fake; larger values draw images that differ less",
    "draw.steps": "the pipeline was distilled to draw in so few",
    "draw.sampler": "the pipeline was trained with flow matching",
    "draw.batch_size": "more at once need more memory and are hardly faster",
    "draw.part_size": "images are stored so many at a time, and each takes long",
}
"""Why, by dotted name."""


def pipeline_defaults(name: str) -> dict[str, Any]:
    """Settings that suit the generator ``name``, as a layer for :func:`build`.

    A small one gets nothing but the only sampler that it can have. Distilled weights keep the general
    guidance of 1, which is none: they were trained to draw without.
    """
    large = is_large(name)
    if not large and not Path(name).exists():
        return {}
    suits = {
        "guidance_scale": large and not is_distilled(name),
        "steps": large and draws_in_four_steps(name),
        "sampler": is_flow(name),
    }
    chosen = {
        section: {key: value for key, (value,) in values.items() if suits.get(key, large)}
        for section, values in PIPELINE_DEFAULTS.items()
    }
    return {section: values for section, values in chosen.items() if values}
