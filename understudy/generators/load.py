"""What can draw an image. Importing this is cheap; the diffusion libraries are loaded with the first generator."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from understudy.core.errors import InputError
from understudy.core.registry import Registry
from understudy.generators.settings import GeneratorSettings

if TYPE_CHECKING:
    from understudy.generators.generator import Generator


class Loader(Protocol):
    """Makes a generator from its settings."""

    def __call__(self, settings: GeneratorSettings, device: str) -> Generator:
        """Load onto a device."""


GENERATORS: Registry[Loader] = Registry("generator")


@GENERATORS.register("mini", summary="the bundled miniature: 32 x 32 pixels, knows printed letters and digits; runs on a laptop")
def _mini(settings: GeneratorSettings, device: str) -> Generator:
    return _stable_diffusion(settings.model_copy(update={"name": str(mini_folder())}), device)


@GENERATORS.register(
    "stable-diffusion", summary="any Stable Diffusion 1.x, 2.x, XL or 3 pipeline: give its folder or hub name instead of this word"
)
def _stable_diffusion(settings: GeneratorSettings, device: str) -> Generator:
    from understudy.generators.families import load_pipeline

    return load_pipeline(settings, device=device)


@GENERATORS.register(
    "class_conditional", summary="a diffusion model of pixels, trained from nothing on your images alone: needs no text-to-image model"
)
def _class_conditional(settings: GeneratorSettings, device: str) -> Generator:
    from understudy.generators.class_conditional import ClassConditionalGenerator

    return ClassConditionalGenerator(settings, device)


@GENERATORS.register("folder", summary="images that another tool made, such as a GAN: give their folders or files as generator.images")
def _folder(settings: GeneratorSettings, device: str) -> Generator:
    from understudy.generators.folder import FolderGenerator

    return FolderGenerator(settings, device)


def mini_folder() -> Path:
    """The bundled pipeline; ``diffusers.StableDiffusionPipeline.from_pretrained`` reads it."""
    return Path(str(resources.files("understudy"))) / "generators" / "mini" / "pipeline"


def load_generator(settings: GeneratorSettings, *, device: str) -> Generator:
    """The generator that the settings name: a registered name, a pipeline folder or a hub name (``owner/model``).

    Args:
        settings: name, precision, resolution, image encoder, what saves memory.
        device: torch device.

    Raises:
        InputError: for a name that is none of these, or a pipeline that cannot be loaded.
    """
    check_generator(settings)
    return GENERATORS[settings.name if settings.name in GENERATORS else "stable-diffusion"](settings, device)


def check_generator(settings: GeneratorSettings) -> None:
    """Refuse, without loading anything, what cannot be a generator.

    Raises:
        InputError: for an unknown name, a folder that is no pipeline, or ready-made images that are not there.
    """
    if settings.name == "folder":
        _folder(settings, "cpu")  # reads nothing yet, but looks whether everything is there
    path = Path(settings.name)
    if path.is_dir() and settings.name not in GENERATORS:
        if not (path / "model_index.json").is_file():
            raise InputError(f"{settings.name} is not a diffusers pipeline folder: it has no model_index.json")
        return
    looks_like_hub_name = settings.name.count("/") == 1 and not settings.name.startswith((".", "/", "~"))
    if settings.name == "stable-diffusion":
        raise InputError("generator 'stable-diffusion' needs a pipeline: give its folder or hub name instead of this word")
    if not looks_like_hub_name:
        GENERATORS[settings.name]
