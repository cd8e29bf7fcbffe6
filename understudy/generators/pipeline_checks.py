"""Load a diffusers pipeline, and check that it can be adapted and drawn with as it is."""

from __future__ import annotations

from typing import Any

from safetensors import SafetensorError

from understudy.core.errors import InputError
from understudy.generators.pipeline_index import cannot_load

_REQUIRED = ("vae", "tokenizer", "text_encoder")
_LOADING_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError)
"""What diffusers and transformers raise for files that are missing, damaged or do not fit together."""


def load_complete(pipeline_class: Any, part: str, name: str, options: dict[str, Any]) -> Any:
    """Load a pipeline, from files of the variant ``fp16`` if there are no others, and check it.

    Args:
        pipeline_class: of diffusers.
        part: name of the denoiser among the components.
        name: folder or hub name.
        options: further arguments of ``from_pretrained``.

    Raises:
        InputError: if it cannot be loaded, and as :func:`check_parts`.
    """
    first: Exception | None = None
    for variant in (None, "fp16"):
        try:
            pipeline = pipeline_class.from_pretrained(name, variant=variant, **options)
        except _LOADING_ERRORS as error:
            first = first or error
            continue
        check_parts(pipeline, part, name=name)
        return pipeline
    assert first is not None
    raise cannot_load(name, first) from first


def check_parts(pipeline: Any, part: str, *, name: str) -> None:
    """Check that a pipeline is complete, and that its denoiser takes what text-to-image drawing gives it.

    Args:
        pipeline: a loaded pipeline.
        part: name of its denoiser among its components.
        name: folder or hub name, for the message.

    Raises:
        InputError: for a pipeline without text encoder or with an empty tokenizer (a refiner, an incomplete
            folder), or with a denoiser for other inputs (inpainting, few-step distillation).
    """
    missing = [each for each in (*_REQUIRED, part) if pipeline.components.get(each) is None]
    if missing:
        raise InputError(
            f"the pipeline {name} must be complete, but lacks {', '.join(missing)}: choose another one "
            "(a refiner cannot be used alone)"
        )
    tokenizer = pipeline.tokenizer
    if not set(tokenizer("a photo").input_ids) - set(tokenizer.all_special_ids):
        raise InputError(
            f"the tokenizer of the pipeline {name} knows no words, which happens if its files are missing: "
            "copy the folder 'tokenizer' of the original pipeline"
        )
    config, channels = pipeline.components[part].config, pipeline.vae.config.latent_channels
    if config.get("in_channels") != channels:
        raise InputError(
            f"the denoiser of the pipeline {name} must take the {channels} channels of its autoencoder, got "
            f"{config.get('in_channels')} (as for inpainting or depth): choose a text-to-image pipeline"
        )
    if config.get("time_cond_proj_dim") is not None:
        raise InputError(
            f"the denoiser of the pipeline {name} takes the guidance scale as an input, as models distilled "
            "for few steps (LCM) do, and cannot be adapted: choose the model that it was distilled from"
        )


def image_size_of(pipeline: Any, part: str, resolution: int | None, *, name: str) -> int:
    """Width and height of drawn images in pixels: the given one, or the one the pipeline was trained for.

    Args:
        pipeline: a loaded pipeline.
        part: name of its denoiser among its components.
        resolution: ``generator.resolution``.
        name: folder or hub name, for the message.

    Raises:
        InputError: if none is given, and the pipeline names none or a rectangle.
    """
    if resolution is not None:
        return resolution
    config = pipeline.components[part].config
    latent = config.get("sample_size") or 0
    height, width = latent if isinstance(latent, list | tuple) else (latent, latent)
    size = height * pipeline.vae_scale_factor or pipeline.vae.config.get("sample_size") or 0
    if height != width or not isinstance(size, int) or not size:
        raise InputError(
            f"the pipeline {name} must name one image size, got sample_size {latent or None!r} of its "
            "denoiser: set generator.resolution to the width that it was trained with"
        )
    return int(size)
