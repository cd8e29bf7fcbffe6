"""Checkpoints in a single file, as authors and web UIs store a whole Stable Diffusion pipeline."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import SingleFileComponentError, fetch_diffusers_config
from torch import nn

from understudy.core.errors import InputError, first_line
from understudy.core.hub import hub_asked_once, why_not_found
from understudy.core.listing import listed
from understudy.core.weight_files import shapes_in
from understudy.generators.foreign import CHECKPOINT_PARTS, INDEX
from understudy.generators.pipeline_index import LOADING_ERRORS, read_index
from understudy.generators.silence import diffusers_logs_nothing

_FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
_LATENT_CHANNELS = 4  # of every UNet of Stable Diffusion


def config_of(path: Path, config: str | None) -> str:
    """The pipeline whose configuration, tokenizers and scheduler a checkpoint is read with.

    Args:
        path: of the checkpoint.
        config: ``generator.config``; if None, the pipeline on the hub that diffusers takes for such weights.

    Raises:
        InputError: for a UNet that takes other inputs than latents, a file without one of the networks, or if
            the pipeline cannot be read.
    """
    shapes = shapes_in(path)
    channels = (*shapes.get(_FIRST_LAYER, ()), *[_LATENT_CHANNELS] * 2)[1]
    if channels != _LATENT_CHANNELS:
        raise InputError(
            f"the checkpoint {path} must draw from text alone, but its UNet takes {channels} channels "
            f"instead of {_LATENT_CHANNELS}, as for inpainting (9), editing (8) or depth (5): choose a "
            "text-to-image checkpoint of Stable Diffusion 1.x, 2.x or XL"
        )
    missing = [
        part
        for part, starts in CHECKPOINT_PARTS.items()
        if not any(name.startswith(starts) for name in shapes)
    ]
    # Stable Diffusion 3 is also published without its text encoders; diffusers then says what it needs.
    if missing and _FIRST_LAYER in shapes:
        raise InputError(
            f"the checkpoint {path} must hold a whole pipeline, but it has no {listed(missing)}: choose a "
            "checkpoint with all parts, or load a pipeline with these weights in diffusers, save it with "
            "save_pretrained, and give its folder with --generator"
        )
    if config is not None:
        _check_config(path, config)
        return config
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    config = str(fetch_diffusers_config(weights)["pretrained_model_name_or_path"])
    try:
        read_index(config)
    except InputError as error:
        raise InputError(
            f"the checkpoint {path} is read with the configuration and tokenizers of {config}, which are "
            "neither in the cache of the hub nor to be had from it: set generator.config to the folder of "
            "any pipeline of the same family"
        ) from error
    return config


def read_single_file(pipeline_class: Any, name: str, options: dict[str, Any]) -> Any:
    """Read a checkpoint.

    Args:
        pipeline_class: of diffusers.
        name: path of the checkpoint.
        options: arguments of ``from_single_file``, among them ``config``; see :func:`config_of`.

    Raises:
        InputError: if the checkpoint lacks weights of the networks that the configuration describes.
    """
    config = str(options["config"])
    try:
        with (
            nullcontext() if Path(config).is_dir() else hub_asked_once(config),
            diffusers_logs_nothing(),
        ):
            pipeline = pipeline_class.from_single_file(name, **options)
    except (*LOADING_ERRORS, SingleFileComponentError) as error:
        raise _does_not_fit(name, config, first_line(error)) from error
    for part, network in pipeline.components.items():
        if isinstance(network, nn.Module) and any(value.is_meta for value in network.state_dict().values()):
            raise _does_not_fit(name, config, f"weights of {part} are missing")
    return pipeline


def _check_config(path: Path, config: str) -> None:
    try:
        read_index(config)
    except InputError as error:
        reason = why_not_found(error.__cause__ or error)
        raise InputError(
            f"generator.config must be the folder or hub name of a pipeline of the same family as {path}, "
            f"got {config}, whose {INDEX} cannot be read: {reason}; correct it, or leave it out to use the "
            "original pipeline on the hub"
        ) from error


def _does_not_fit(name: str, config: str, reason: str) -> InputError:
    return InputError(
        f"the checkpoint {name} must have every weight of {config}, the pipeline whose configuration it is "
        f"read with, but it does not fit: {reason}; set generator.config to a pipeline of the same family, "
        "or choose a whole checkpoint"
    )
