"""Find the family of a diffusers pipeline."""

from __future__ import annotations

from understudy.core.errors import InputError
from understudy.generators.diffusers_generator import AbstractDiffusersGenerator
from understudy.generators.pipeline_index import read_index
from understudy.generators.settings import GeneratorSettings
from understudy.generators.stable_diffusion import StableDiffusionGenerator
from understudy.generators.stable_diffusion_3 import StableDiffusion3Generator
from understudy.generators.stable_diffusion_xl import StableDiffusionXLGenerator

_FAMILIES: tuple[type[AbstractDiffusersGenerator], ...] = (
    StableDiffusionGenerator,
    StableDiffusionXLGenerator,
    StableDiffusion3Generator,
)


def load_pipeline(settings: GeneratorSettings, *, device: str) -> AbstractDiffusersGenerator:
    """Load a folder or hub name as the family that its ``model_index.json`` names.

    Raises:
        InputError: if it cannot be loaded, or its family is unknown.
    """
    class_name = read_index(settings.name, settings.revision).get("_class_name")
    for family in _FAMILIES:
        if class_name in (family.from_text.__name__, family.from_image.__name__):
            return family.from_settings(settings, device=device)
    known = ", ".join(family.from_text.__name__ for family in _FAMILIES)
    raise InputError(
        f"the pipeline {settings.name} must be one of {known}, got {class_name}: choose another pipeline"
    )
