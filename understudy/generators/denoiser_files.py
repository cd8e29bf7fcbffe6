"""Adapted denoisers on disk: low-rank updates and whole networks, in the formats of diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from safetensors import SafetensorError

from understudy.core.weight_files import incomplete_adapter

_LORA_FILE = "pytorch_lora_weights.safetensors"


def save_denoiser(pipeline: Any, part: str, folder: Path, *, method: str) -> None:
    """Write what ``lora`` or ``full`` has trained.

    Args:
        pipeline: a diffusers pipeline.
        part: name of the denoiser among its components.
        folder: ``lora`` writes a file for ``pipeline.load_lora_weights(folder)``, ``full`` a folder with the
            name of the part for ``from_pretrained`` of the denoiser's class.
        method: ``lora`` or ``full``.
    """
    denoiser = pipeline.components[part]
    if method == "full":
        denoiser.save_pretrained(folder / part)
        return
    # In peft's key format: the older one of diffusers loses the attention layers when convolutions are
    # adapted too. Without the configuration in the file, diffusers takes the scale alpha / rank to be 1.
    config = denoiser.peft_config["default"].to_dict()
    layers = {
        f"{part}_lora_layers": get_peft_model_state_dict(denoiser),
        # Sort the set, whose order differs between processes, so that equal weights give equal files.
        f"{part}_lora_adapter_metadata": config | {"target_modules": sorted(config["target_modules"])},
    }
    type(pipeline).save_lora_weights(folder, **layers)


def load_denoiser(pipeline: Any, part: str, folder: Path, *, method: str, scale: float) -> None:
    """Move the weights by the share ``scale`` of the way to those in a folder of :func:`save_denoiser`.

    Raises:
        InputError: if the folder holds no complete adapter of this method.
    """
    expected = folder / (_LORA_FILE if method == "lora" else part)
    if not expected.exists():
        raise incomplete_adapter(expected)
    if method == "lora":
        pipeline.load_lora_weights(folder)
        pipeline.fuse_lora(components=[part], lora_scale=scale)
        return
    denoiser = pipeline.components[part]
    try:
        adapted = type(denoiser).from_pretrained(folder / part, dtype=denoiser.dtype)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise incomplete_adapter(folder / part) from error
    moved = adapted.to(denoiser.device).state_dict()
    base = denoiser.state_dict()
    denoiser.load_state_dict({name: torch.lerp(value, moved[name], scale) for name, value in base.items()})
