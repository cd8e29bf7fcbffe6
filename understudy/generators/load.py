"""Registry and loader of generators; diffusion libraries are imported when a generator is loaded."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from understudy.core.device_memory import release
from understudy.core.errors import InputError, first_line
from understudy.core.micro_batch import is_out_of_memory
from understudy.core.registry import Registry
from understudy.generators.foreign import check_merged, check_pipeline_folder
from understudy.generators.part_classes import check_part_classes
from understudy.generators.room import less_memory
from understudy.generators.settings import GeneratorSettings

# The files of generators are imported inside functions: they import torch and diffusers, which are slow.
if TYPE_CHECKING:
    from understudy.generators.diffusers_generator import AbstractDiffusersGenerator
    from understudy.generators.generator import Generator


class Loader(Protocol):
    """Makes a generator from its settings."""

    def __call__(self, settings: GeneratorSettings, device: str) -> Generator:
        """Load the generator onto a device."""


GENERATORS: Registry[Loader] = Registry("generator")


@GENERATORS.register(
    "mini",
    summary="the bundled miniature: 32 x 32 pixels, knows printed letters and digits; runs on a laptop",
)
def _mini(settings: GeneratorSettings, device: str) -> Generator:
    return _stable_diffusion(settings.model_copy(update={"name": str(mini_folder())}), device)


@GENERATORS.register(
    "stable-diffusion",
    summary="any pipeline of Stable Diffusion, FLUX.1 or Sana: write its folder, file or hub name instead",
)
def _stable_diffusion(settings: GeneratorSettings, device: str) -> Generator:
    from understudy.generators.families import load_pipeline

    return load_pipeline(settings, device=device)


@GENERATORS.register(
    "class_conditional",
    summary="a pixel diffusion model trained from scratch on your images; needs no text-to-image model",
)
def _class_conditional(settings: GeneratorSettings, device: str) -> Generator:
    from understudy.generators.class_conditional import ClassConditionalGenerator

    return ClassConditionalGenerator(settings, device)


@GENERATORS.register(
    "folder",
    summary="images from another tool, such as a GAN: give their folders or files as generator.images",
)
def _folder(settings: GeneratorSettings, device: str) -> Generator:
    from understudy.generators.folder import FolderGenerator

    return FolderGenerator(settings)


@GENERATORS.register(
    "glyphs",
    summary="printed letters and digits, rendered from fonts: what `mini` was pretrained on; a control",
)
def _glyphs(settings: GeneratorSettings, device: str) -> Generator:
    from understudy.generators.glyphs import GlyphGenerator

    return GlyphGenerator(settings)


def mini_folder() -> Path:
    """Folder of the bundled pipeline; ``diffusers.StableDiffusionPipeline.from_pretrained`` reads it."""
    return Path(str(resources.files("understudy"))) / "generators" / "mini" / "pipeline"


def load_generator(settings: GeneratorSettings, *, device: str) -> Generator:
    """Load a generator by its registered name, its pipeline folder or its hub name (``owner/model``).

    Args:
        settings: name, precision, resolution, image encoder, memory savers.
        device: torch device.

    Raises:
        InputError: for another name, a pipeline that cannot be loaded, or one that is larger than the memory.
    """
    check_generator(settings)
    if (kept := _take_kept(settings, device)) is not None:
        return kept
    load = GENERATORS[settings.name if settings.name in GENERATORS else "stable-diffusion"]
    try:
        return load(settings, device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"the generator {settings.name} needs more memory than the device {device!r} has, for its "
            f"weights alone ({first_line(error)}): {less_memory(settings, device)}"
        ) from error


_kept: list[tuple[GeneratorSettings, str, AbstractDiffusersGenerator]] = []
"""The generator that was given back last."""


def give_back(generator: Generator, settings: GeneratorSettings, *, device: str) -> None:
    """Keep a pipeline that its owner needs no more for the next :func:`load_generator` with these arguments.

    It is used again only if it can be restored to what its files hold; they are then read once instead of for
    each of checking, adapting and drawing.
    """
    forget_kept()
    if hasattr(type(generator), "restore"):
        pipeline = cast("AbstractDiffusersGenerator", generator)
        if pipeline.restore():
            _kept.append((settings, device, pipeline))


def forget_kept() -> None:
    """Free the memory of a generator that was given back."""
    if _kept:
        _kept.clear()
        release()


def _take_kept(settings: GeneratorSettings, device: str) -> Generator | None:
    """The kept generator, which nobody else gets then; one that does not fit is freed."""
    for known, where, generator in _kept:
        if (known, where) == (settings, device) and generator.restore():
            _kept.clear()
            return generator
        del generator  # otherwise the loop refers to it while its memory is to be freed
    forget_kept()
    return None


def check_generator(settings: GeneratorSettings) -> None:
    """Check the name of a generator without loading it.

    Raises:
        InputError: for an unknown name, a folder that is not a pipeline, or ready-made images that do not
            exist.
    """
    if settings.name == "folder":
        _folder(settings, "cpu")  # checks that the images exist without reading them
    for adapter in settings.adapters:
        check_merged(adapter)
    path = Path(settings.name)
    if settings.name not in GENERATORS and path.exists():
        check_pipeline_folder(path, settings.adapters)
        if path.is_dir():
            check_part_classes(path)
        if settings.revision is not None:
            raise InputError(
                f"generator.revision needs a pipeline on the hub, but {path} is on this machine: leave it out"
            )
        return
    if settings.name == "stable-diffusion":
        raise InputError(
            "generator 'stable-diffusion' needs a pipeline: give its folder or hub name instead of this word"
            f"{', as in ./stable-diffusion' if path.exists() else ''}"
        )
    looks_like_hub_name = settings.name.count("/") == 1 and not settings.name.startswith((".", "/", "~"))
    if settings.name not in GENERATORS and not looks_like_hub_name:
        raise InputError(
            f"{GENERATORS.unknown(settings.name)}; or give the path of a pipeline folder (nothing is at "
            f"{settings.name}), or a hub name, such as owner/model"
        )
