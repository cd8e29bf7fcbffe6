"""Load a diffusers pipeline, and check that it can be adapted and drawn with as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from torch import nn
from transformers import PreTrainedModel

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.generators.merged_adapters import merge_adapters
from understudy.generators.pipeline_index import LOADING_ERRORS, cannot_load
from understudy.generators.settings import GeneratorSettings
from understudy.generators.single_file import read_single_file

_REQUIRED = ("vae", "tokenizer", "text_encoder")
_NOISE = {"beta_start", "beta_end", "beta_schedule", "shift"}
"""What a scheduler must state: the defaults of diffusers are those of no Stable Diffusion model."""


@final
@dataclass(frozen=True)
class Layout:
    """How the denoiser of a family is called, and what it takes.

    Attributes:
        part: name of the denoiser among the pipeline's components.
        width_key: name of the width of the text states in the denoiser's configuration.
        encoders: text encoders whose states, side by side, have this width; empty if the pipeline pads the
            states to this width (SD3).
        packing: width and height in latent pixels of the patches that the pipeline packs into channels.
        size_unit: width and height of images in pixels must be a multiple of it, as diffusers' pipelines ask.
    """

    part: str = "unet"
    width_key: str = "cross_attention_dim"
    encoders: tuple[str, ...] = ("text_encoder",)
    packing: int = 1
    size_unit: int = 8


def load_complete(pipeline_class: Any, layout: Layout, name: str, options: dict[str, Any]) -> Any:
    """Load a pipeline, and check it.

    Args:
        pipeline_class: of diffusers.
        layout: of its denoiser.
        name: folder, single file or hub name.
        options: further arguments of ``from_pretrained``, or of ``from_single_file`` for a file. If
            ``variant`` is None, files of the variant ``fp16`` are read if there are no others. ``adapters``
            are merged last.

    Raises:
        InputError: if it cannot be loaded, and as :func:`check_parts`.
    """
    read = read_single_file if Path(name).is_file() else _from_pretrained
    pipeline = read(pipeline_class, name, {key: value for key, value in options.items() if key != "adapters"})
    check_parts(pipeline, layout, name=name)
    _check_stated(pipeline, name=name)
    merge_adapters(pipeline, options["adapters"])
    return pipeline


def _from_pretrained(pipeline_class: Any, name: str, options: dict[str, Any]) -> Any:
    first: Exception | None = None
    wanted = options["variant"]
    for variant in (None, "fp16") if wanted is None else (wanted,):
        try:
            pipeline = pipeline_class.from_pretrained(name, **options | {"variant": variant})
        except LOADING_ERRORS as error:
            first = first or error
            continue
        _check_weights(pipeline, name=name)
        return pipeline
    assert first is not None
    raise cannot_load(name, first, variant=wanted) from first


def _check_weights(pipeline: Any, *, name: str) -> None:
    """Check that every weight was in a file: the libraries give others random values, or none."""
    for part, network in pipeline.components.items():
        if not isinstance(network, nn.Module):
            continue
        # transformers marks the weights that it has read, and diffusers leaves others without memory.
        marks = isinstance(network, PreTrainedModel) and hasattr(network, "_initialize_missing_keys")
        missing = [
            key
            for key, value in network.state_dict(keep_vars=True).items()
            if value.is_meta or (marks and not getattr(value, "_is_hf_initialized", False))
        ]
        if missing:
            raise InputError(
                f"the pipeline {name} must be complete, but the files in its folder {part} lack "
                f"{len(missing)} weights of the network that config.json there describes: "
                f"{listed(missing, most=3)}: copy the folder again, weights and config.json together"
            )


def _check_stated(pipeline: Any, *, name: str) -> None:
    """Check that a pipeline states its noise and the scale of its latents, which have no right default."""
    noise = {"flow_shift"} if pipeline.scheduler.config.get("use_flow_sigmas") else _NOISE
    guessed = set(pipeline.scheduler.config.get("_use_default_values", ())) & noise
    if guessed and pipeline.scheduler.config.get("trained_betas") is None:
        raise InputError(
            f"the scheduler of the pipeline {name} must state the noise that its denoiser was trained with, "
            f"but scheduler_config.json has no {listed(sorted(guessed))}: copy the folder 'scheduler' of the "
            "original pipeline"
        )
    config = pipeline.vae.config
    scale: Any = config.get("scaling_factor")
    # The default is right for Stable Diffusion 1 and 2, some of which do not state it.
    has_default = "unet" in pipeline.components and "text_encoder_2" not in pipeline.components
    if not has_default and "scaling_factor" in config.get("_use_default_values", ()):
        scale = None
    if not (isinstance(scale, int | float) and 0 < scale < math.inf):
        raise InputError(
            f"the autoencoder of the pipeline {name} must state a scaling_factor above 0 in its config.json, "
            f"got {scale}: copy the folder 'vae' of the original pipeline"
        )


def check_parts(pipeline: Any, layout: Layout, *, name: str) -> None:
    """Check that a pipeline is complete, and that its denoiser takes what text-to-image drawing gives it.

    Args:
        pipeline: a loaded pipeline.
        layout: of its denoiser.
        name: folder or hub name, for the message.

    Raises:
        InputError: for a pipeline without text encoder or with an empty tokenizer (a refiner, an incomplete
            folder), or with a denoiser for other inputs (inpainting, few-step distillation).
    """
    tokenizers = [encoder.replace("text_encoder", "tokenizer") for encoder in layout.encoders]
    required = dict.fromkeys((*_REQUIRED, *tokenizers, *layout.encoders, layout.part))
    missing = [each for each in required if pipeline.components.get(each) is None]
    if missing:
        raise InputError(
            f"the pipeline {name} must be complete, but lacks {', '.join(missing)}: choose another one "
            "(a refiner cannot be used alone)"
        )
    _check_tokenizers(pipeline, name=name)
    _check_text_encoders(pipeline, layout, name=name)
    config = pipeline.components[layout.part].config
    channels = pipeline.vae.config.latent_channels * layout.packing**2
    if config.get("in_channels") != channels:
        packed = f", {layout.packing} x {layout.packing} packed into one" if layout.packing > 1 else ""
        raise InputError(
            f"the denoiser of the pipeline {name} must take the {channels} channels of its autoencoder"
            f"{packed}, got {config.get('in_channels')} (as for inpainting or depth): choose a text-to-image "
            "pipeline"
        )
    if config.get("time_cond_proj_dim") is not None:
        raise InputError(
            f"the denoiser of the pipeline {name} takes the guidance scale as an input, as models distilled "
            "for few steps (LCM) do, and cannot be adapted: choose the model that it was distilled from"
        )


def _check_tokenizers(pipeline: Any, *, name: str) -> None:
    """Check that every tokenizer tells two words apart; one without its files makes them unknown, alike."""
    for part in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        tokenizer = pipeline.components.get(part)
        if tokenizer is not None and tokenizer("photo").input_ids == tokenizer("zebra").input_ids:
            raise InputError(
                f"{part} of the pipeline {name} knows no words, which happens if its files are missing: "
                f"copy the folder '{part}' of the original pipeline"
            )


def _check_text_encoders(pipeline: Any, layout: Layout, *, name: str) -> None:
    """Check that the text encoders know every token, and that their states have the denoiser's width."""
    parts = {name for name, found in pipeline.components.items() if found is not None}
    endings = [ending for ending in ("", "_2") if {f"tokenizer{ending}", f"text_encoder{ending}"} <= parts]
    for ending in endings:
        known = pipeline.components[f"text_encoder{ending}"].get_input_embeddings().num_embeddings
        tokenizer = pipeline.components[f"tokenizer{ending}"]
        if len(tokenizer) > known:
            raise InputError(
                f"the text encoder of the pipeline {name} must know all tokens, but tokenizer{ending} has "
                f"{len(tokenizer)} and text_encoder{ending} {known}: copy both folders from one pipeline"
            )
    config = pipeline.components[layout.part].config
    width = sum(pipeline.components[encoder].config.hidden_size for encoder in layout.encoders)
    wanted = config.get(layout.width_key)
    if layout.encoders and config.get("encoder_hid_dim") is None and width != wanted:
        raise InputError(
            f"the denoiser of the pipeline {name} must take the {width} numbers per token of its text "
            f"encoders, got {wanted} as {layout.width_key}: its parts come from different models, so copy "
            "the whole folder of one pipeline"
        )


def check_safety_checker(pipeline: Any, settings: GeneratorSettings) -> None:
    """Check that a pipeline has the safety checker that the settings ask for.

    Raises:
        InputError: if it has none.
    """
    if settings.safety_checker and pipeline.components.get("safety_checker") is None:
        raise InputError(
            f"generator.safety_checker must be false, got true: the pipeline {settings.name} has no "
            "safety checker"
        )


def image_size_of(pipeline: Any, layout: Layout, settings: GeneratorSettings) -> int:
    """Width and height of drawn images in pixels: the given one, or the one the pipeline was trained for.

    Args:
        pipeline: a loaded pipeline.
        layout: of its denoiser.
        settings: with the resolution, if it is given.

    Raises:
        InputError: if none is given, and the pipeline names none or a rectangle; or if the denoiser takes no
            images of this size.
    """
    config = pipeline.components[layout.part].config
    size = settings.resolution or _trained_size(pipeline, config, name=settings.name)
    patch = (config.get("patch_size") or 1) * layout.packing  # latent pixels that a transformer joins
    unit = max(layout.size_unit, pipeline.vae_scale_factor * patch)
    if size % unit:
        raise InputError(f"generator.resolution must be a multiple of {unit}, got {size}")
    return size


def _trained_size(pipeline: Any, config: Any, *, name: str) -> int:
    latent = config.get("sample_size") or 0
    height, width = latent if isinstance(latent, list | tuple) else (latent, latent)
    size = height * pipeline.vae_scale_factor or pipeline.vae.config.get("sample_size") or 0
    if height != width or not isinstance(size, int) or not size:
        raise InputError(
            f"the pipeline {name} must name one image size, got sample_size {latent or None!r} of its "
            "denoiser: set generator.resolution to the width that it was trained with"
        )
    return int(size)
