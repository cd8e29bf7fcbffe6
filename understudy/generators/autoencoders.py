"""Autoencoders of pipelines: their latents, and another one in the place of a pipeline's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors import SafetensorError
from torch import Tensor

from understudy.core.errors import InputError
from understudy.core.hub import hub_file, load_network, why_not_found
from understudy.core.weight_files import check_finite

_KINDS = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny)}


def moments(encoded: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of unscaled latents, twice (B, C, h, w); the deviation may be 0.

    Args:
        encoded: what ``encode`` of an autoencoder of diffusers returns. Tiny ones and that of Sana are
            deterministic.
    """
    if hasattr(encoded, "latent_dist"):
        return encoded.latent_dist.mean, encoded.latent_dist.std
    latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent
    return latents, torch.zeros_like(latents)


def replace_autoencoder(pipeline: Any, name: str, dtype: torch.dtype) -> None:
    """Load an autoencoder in the place of a pipeline's own.

    Whether both mean the same by a latent can be checked only for two ``AutoencoderKL``, by their scale and
    shift: TAESD has a version for each family.

    Args:
        pipeline: of diffusers, with an ``AutoencoderKL``.
        name: folder or hub name of an ``AutoencoderKL`` or ``AutoencoderTiny``.
        dtype: of the weights.

    Raises:
        InputError: if it cannot be loaded, or has latents of another shape.
    """
    if not isinstance(pipeline.vae, AutoencoderKL):
        raise InputError(
            f"generator.autoencoder needs a pipeline with an AutoencoderKL, got {type(pipeline).__name__} "
            f"with {type(pipeline.vae).__name__}: leave it out"
        )
    try:
        if not Path(name).exists():
            hub_file(name, "config.json")
        autoencoder = load_network(_kind_of(name), name, dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(
            "generator.autoencoder must be a folder or hub name of an autoencoder, such as the TAESD of the "
            f"pipeline's family, got {name!r}: {why_not_found(error)}; correct it, or leave it out"
        ) from error
    check_finite(autoencoder.state_dict(), f"generator.autoencoder={name}")
    shapes = [_shape(each.config) for each in (pipeline.vae, autoencoder)]
    if shapes[0] != shapes[1]:
        raise InputError(
            "generator.autoencoder must have latents like the pipeline's own, of {} channels and 1/{} of the "
            "width, got {!r} with {} and 1/{}: choose one for this family".format(
                *shapes[0], name, *shapes[1]
            )
        )
    scales = [_scale(each.config) for each in (pipeline.vae, autoencoder)]
    if isinstance(autoencoder, AutoencoderKL) and scales[0] != scales[1]:
        raise InputError(
            "generator.autoencoder must have latents like the pipeline's own, of scaling_factor {} and "
            "shift_factor {}, got {!r} with {} and {}: choose one for this family".format(
                *scales[0], name, *scales[1]
            )
        )
    pipeline.register_modules(vae=autoencoder.eval())


def _kind_of(name: str) -> Any:
    if (Path(name) / "vae" / "config.json").is_file():
        raise ValueError("it is a whole pipeline, whose autoencoder lies in its folder 'vae'")
    kind = AutoencoderKL.load_config(name).get("_class_name")
    if kind not in _KINDS:
        raise ValueError(f"its config.json names {kind}, not {' or '.join(_KINDS)}")
    return _KINDS[kind]


def _shape(config: Any) -> tuple[int, int]:
    """Channels of latents, and by how much they are smaller than images."""
    blocks = config.get("encoder_block_out_channels") or config["block_out_channels"]
    return int(config["latent_channels"]), 2 ** (len(blocks) - 1)


def _scale(config: Any) -> tuple[float, float | None]:
    """Factor and shift that turn latents into the denoiser's unit."""
    return float(config["scaling_factor"]), config.get("shift_factor")
