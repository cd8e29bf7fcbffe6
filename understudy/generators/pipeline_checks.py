"""Load a diffusers pipeline, and check that it can be adapted and drawn with as it is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.generators.merged_adapters import merge_adapters
from understudy.generators.pipeline_index import LOADING_ERRORS, cannot_load
from understudy.generators.single_file import read_single_file

_REQUIRED = ("vae", "tokenizer", "text_encoder")
_NOISE = {"beta_start", "beta_end", "beta_schedule", "shift"}
"""What a scheduler must state: the defaults of diffusers are those of no Stable Diffusion model."""


def load_complete(pipeline_class: Any, part: str, name: str, options: dict[str, Any]) -> Any:
    """Load a pipeline, and check it.

    Args:
        pipeline_class: of diffusers.
        part: name of the denoiser among the components.
        name: folder, single file or hub name.
        options: further arguments of ``from_pretrained``, or of ``from_single_file`` for a file. If
            ``variant`` is None, files of the variant ``fp16`` are read if there are no others. ``adapters``
            are merged last.

    Raises:
        InputError: if it cannot be loaded, and as :func:`check_parts`.
    """
    read = read_single_file if Path(name).is_file() else _from_pretrained
    pipeline = read(pipeline_class, name, {key: value for key, value in options.items() if key != "adapters"})
    check_parts(pipeline, part, name=name)
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
    guessed = set(pipeline.scheduler.config.get("_use_default_values", ())) & _NOISE
    if guessed and pipeline.scheduler.config.get("trained_betas") is None:
        raise InputError(
            f"the scheduler of the pipeline {name} must state the noise that its denoiser was trained with, "
            f"but scheduler_config.json has no {listed(sorted(guessed))}: copy the folder 'scheduler' of the "
            "original pipeline"
        )
    config = pipeline.vae.config
    scale: Any = config.get("scaling_factor")
    # The default is right for Stable Diffusion 1 and 2, some of which do not state it.
    if "text_encoder_2" in pipeline.components and "scaling_factor" in config.get("_use_default_values", ()):
        scale = None
    if not (isinstance(scale, int | float) and 0 < scale < math.inf):
        raise InputError(
            f"the autoencoder of the pipeline {name} must state a scaling_factor above 0 in its config.json, "
            f"got {scale}: copy the folder 'vae' of the original pipeline"
        )


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
    _check_text_encoders(pipeline, part, name=name)
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


def _check_text_encoders(pipeline: Any, part: str, *, name: str) -> None:
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
    config = pipeline.components[part].config
    widths = [pipeline.components[f"text_encoder{ending}"].config.hidden_size for ending in endings]
    wanted = config.get("cross_attention_dim")  # None in Stable Diffusion 3, which fills up its states
    if isinstance(wanted, int) and config.get("encoder_hid_dim") is None and sum(widths) != wanted:
        raise InputError(
            f"the denoiser of the pipeline {name} must take the {sum(widths)} numbers per token of its text "
            f"encoders, got {wanted} as cross_attention_dim: its parts come from different models, so copy "
            "the whole folder of one pipeline"
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
