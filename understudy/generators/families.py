"""Find the family of a diffusers pipeline."""

from __future__ import annotations

from pathlib import Path

from understudy.core.errors import InputError
from understudy.generators.diffusers_generator import AbstractDiffusersGenerator
from understudy.generators.flux import FluxGenerator
from understudy.generators.pipeline_index import read_index
from understudy.generators.sana import SanaGenerator
from understudy.generators.settings import GeneratorSettings
from understudy.generators.single_file import config_of
from understudy.generators.stable_diffusion import StableDiffusionGenerator
from understudy.generators.stable_diffusion_3 import StableDiffusion3Generator
from understudy.generators.stable_diffusion_xl import StableDiffusionXLGenerator

_Families = tuple[type[AbstractDiffusersGenerator], ...]
_IN_ONE_FILE: _Families = (
    StableDiffusionGenerator,
    StableDiffusionXLGenerator,
    StableDiffusion3Generator,
)
"""Families of which a single file holds the whole pipeline."""
_FAMILIES: _Families = (*_IN_ONE_FILE, FluxGenerator, SanaGenerator)


def load_pipeline(settings: GeneratorSettings, *, device: str) -> AbstractDiffusersGenerator:
    """Load a folder, single file or hub name as the family that its ``model_index.json`` names.

    For a single file, that of the pipeline with its configuration counts.

    Raises:
        InputError: if it cannot be loaded, or its family is unknown.
    """
    path = Path(settings.name)
    config = config_of(path, settings.config) if path.is_file() else None
    families = _IN_ONE_FILE if path.is_file() else _FAMILIES
    settings = settings.model_copy(update={"config": config})
    class_name = read_index(config or settings.name, settings.revision).get("_class_name")
    for family in families:
        if class_name in (family.from_text.__name__, family.from_image.__name__):
            return family.from_settings(settings, device=device)
    known = ", ".join(family.from_text.__name__ for family in families)
    raise InputError(
        f"the pipeline {settings.name} must be one of {known}, got {class_name}: choose another pipeline"
    )
