"""Whether the weights of a pipeline fit into memory, that of this machine and of its GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import psutil

from understudy.core.device_memory import free_bytes
from understudy.core.errors import InputError
from understudy.core.weight_files import shapes_in
from understudy.generators.settings import GeneratorSettings

LESS_MEMORY = (
    "set generator.precision=float16, which halves the weights, generator.cpu_offload=true or "
    "generator.vae_tiling=true, end other programs on the device, or choose a smaller pipeline"
)
"""What to do if a pipeline does not fit into the memory of a GPU."""
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_ALWAYS_LOADED = ("text_encoder", "text_encoder_2", "transformer", "unet", "vae")
_DENOISERS = ("transformer", "unet")
_NETWORKS_IN_A_FILE = ("model.", "first_stage_model.", "cond_stage_model.", "conditioner.")
"""What the names of denoiser, autoencoder and text encoders begin with in a checkpoint."""


def check_room(path: Path, precision: str) -> None:
    """Check that the weights of a pipeline fit into the free memory of this machine.

    Otherwise the system ends the process without a message.

    Args:
        path: folder or single file of the pipeline.
        precision: ``generator.precision``.

    Raises:
        InputError: if they do not fit.
    """
    need = bytes_of_weights(path, precision)
    free = psutil.virtual_memory().available
    if need > free:
        raise InputError(
            f"the pipeline {path} needs at least {need / 1e9:.1f} GB of memory for its weights, but "
            f"{free / 1e9:.1f} GB are free: close other programs, use another machine, or choose a smaller "
            "pipeline"
        )


def check_device_room(settings: GeneratorSettings, device: str) -> None:
    """Check that the weights fit into the free memory of the device, before they are read.

    Args:
        settings: of the generator. With ``cpu_offload``, only the denoiser has to stay there.
        device: torch device; nothing is checked on a CPU.

    Raises:
        InputError: if they do not fit.
    """
    path = Path(settings.name)
    if (free := free_bytes(device)) is None or (settings.cpu_offload and path.is_file()):
        return
    parts = _DENOISERS if settings.cpu_offload else _ALWAYS_LOADED
    need = bytes_of_weights(path, settings.precision, parts=parts)
    if need > free:
        raise InputError(
            f"the pipeline {path} needs at least {need / 1e9:.1f} GB on the device {device!r} for its "
            f"weights in {settings.precision}, and more to draw, but {free / 1e9:.1f} GB are free: "
            f"{LESS_MEMORY}"
        )


def bytes_of_weights(path: Path, precision: str, *, parts: Sequence[str] = _ALWAYS_LOADED) -> float:
    """Bytes of memory that the weights of a pipeline take; 0 for a hub name.

    Only networks that are always loaded count, each with its smallest form or variant on disk, so it can be
    more.

    Args:
        path: folder or single file of the pipeline.
        precision: ``generator.precision``.
        parts: which networks of a folder count.
    """
    if path.is_file():
        return float(_numbers_in(path) * _BYTES[precision])
    folders = [path / name for name in parts if (path / name).is_dir()]
    # Weights may be stored in 32 bits and loaded in 16, which takes half of their size.
    return sum(map(_bytes_of_weights, folders)) * (1.0 if precision == "float32" else 0.5)


def _numbers_in(checkpoint: Path) -> int:
    """How many numbers the networks in a single file have, without a moving average of them."""
    return sum(
        math.prod(shape)
        for name, shape in shapes_in(checkpoint).items()
        if name.startswith(_NETWORKS_IN_A_FILE)
    )


def _bytes_of_weights(part: Path) -> int:
    """Size of the weights of a network on disk, in their smallest form; 0 if there are none."""
    sizes: dict[tuple[str, str], int] = {}
    for file in part.iterdir():
        if file.suffix in (".safetensors", ".bin"):
            variant = next((name for name in ("fp16", "non_ema") if f".{name}" in file.name), "")
            sizes[file.suffix, variant] = sizes.get((file.suffix, variant), 0) + file.stat().st_size
    return min(sizes.values(), default=0)
