"""Ways to save memory: offloading, slicing, tiling, gradient checkpointing; and compilation."""

from __future__ import annotations

import copy
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import psutil
import torch
from accelerate import cpu_offload_with_hook
from accelerate.hooks import remove_hook_from_module
from diffusers import UNet2DConditionModel
from torch import nn

from understudy.core.errors import InputError
from understudy.core.weight_files import shapes_in
from understudy.generators.settings import GeneratorSettings

_ALWAYS_LOADED = ("text_encoder", "text_encoder_2", "transformer", "unet", "vae")
_NETWORKS_IN_A_FILE = ("model.", "first_stage_model.", "cond_stage_model.", "conditioner.")
"""What the names of denoiser, autoencoder and text encoders begin with in a checkpoint."""


@final
class Offload:
    """Keeps networks in CPU memory, and moves each to the device when it is called.

    ``enable_model_cpu_offload`` of diffusers also moves the denoiser, which would be away between forward and
    backward pass in training. Here the denoiser stays on the device.

    Args:
        parts: networks to offload.
        device: device that they compute on.
    """

    def __init__(self, parts: list[nn.Module], device: torch.device) -> None:
        self._parts, self._device = parts, device
        self._hooks = self._hooked()

    def park(self) -> None:
        """Send all networks back to CPU memory."""
        for hook in self._hooks:
            hook.offload()

    def keep(self, part: nn.Module) -> None:
        """Leave a network on the device from now on, so that it can be trained."""
        with self.lifted():
            self._parts = [other for other in self._parts if other is not part]
            part.to(self._device)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Suspend offloading during calls in which diffusers would set up its offloading."""
        for part in self._parts:
            remove_hook_from_module(part)
        yield
        self._hooks = self._hooked()

    def _hooked(self) -> list[Any]:
        return [cpu_offload_with_hook(part, self._device)[1] for part in self._parts]


def check_memory_settings(settings: GeneratorSettings, device: torch.device) -> None:
    """Check that device and machine support the settings of memory and compilation, and hold the weights.

    Raises:
        InputError: for offloading to the CPU on the CPU, for compilation without a compiler, or as
            :func:`check_room`.
    """
    check_room(Path(settings.name), settings.precision)
    if settings.cpu_offload and device.type == "cpu":
        raise InputError(
            "generator.cpu_offload must be false on the device 'cpu', got true: it only saves GPU memory; "
            "leave it out"
        )
    compilers = [os.environ.get("CXX"), "g++", "gcc", "clang++", "clang", "cl"]
    if settings.compile and not any(shutil.which(name) for name in compilers if name):
        raise InputError(
            "generator.compile needs a C++ compiler such as g++ or clang++, and found none: install one, or "
            "leave generator.compile out"
        )


def check_room(path: Path, precision: str) -> None:
    """Check that the weights of a pipeline fit into the free memory of this machine.

    Otherwise the system ends the process without a message. Only networks that are always loaded count, each
    with its smallest form or variant on disk.

    Args:
        path: folder or single file of the pipeline.
        precision: ``generator.precision``.

    Raises:
        InputError: if they do not fit.
    """
    if path.is_file():
        need = float(_numbers_in(path) * getattr(torch, precision).itemsize)
    else:
        parts = [path / name for name in _ALWAYS_LOADED if (path / name).is_dir()]
        # Weights may be stored in 32 bits and loaded in 16, which takes half of their size.
        need = sum(map(_bytes_of_weights, parts)) * (1.0 if precision == "float32" else 0.5)
    free = psutil.virtual_memory().available
    if need > free:
        raise InputError(
            f"the pipeline {path} needs at least {need / 1e9:.1f} GB of memory for its weights, but "
            f"{free / 1e9:.1f} GB are free: close other programs, use another machine, or choose a smaller "
            "pipeline"
        )


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


def place(pipeline: Any, vae: nn.Module, part: str, device: torch.device, *, offload: bool) -> Offload | None:
    """Move a pipeline to its device; with ``offload``, all networks but the denoiser wait on the CPU."""
    if not offload:
        pipeline.to(device)
        vae.to(device)
        return None
    networks = {name: each for name, each in pipeline.components.items() if isinstance(each, nn.Module)}
    networks.pop(part).to(device)
    pipeline._exclude_from_cpu_offload = [part]  # diffusers reads the device from the other parts
    return Offload([*networks.values(), *([vae] if vae is not pipeline.vae else [])], device)


def safe_autoencoder(vae: Any, *, may_overflow: bool) -> Any:
    """The autoencoder, or a float32 copy if its configuration says that it overflows in float16.

    Pipelines cast the autoencoder to float32 and back, which must not happen between forward and backward
    pass.

    Args:
        vae: of a pipeline.
        may_overflow: whether the family has autoencoders that overflow. The configurations of others say so
            too, because it is the default of diffusers, whose pipelines read it for XL alone.
    """
    if vae.dtype == torch.float16 and may_overflow and vae.config.force_upcast:
        return copy.deepcopy(vae).float()
    if vae.dtype == torch.float32:
        vae.register_to_config(force_upcast=False)  # Stable Diffusion XL would cast needlessly, and warn
    return vae


def save_memory(pipeline: Any, vae: Any, denoiser: Any, settings: GeneratorSettings) -> None:
    """Apply slicing, tiling, gradient checkpointing and compilation.

    Args:
        pipeline: of diffusers.
        vae: its autoencoder or a copy, see :func:`safe_autoencoder`.
        denoiser: its UNet or transformer.
        settings: what to apply.

    Raises:
        InputError: if the denoiser cannot slice its attention.
    """
    if settings.attention_slicing:
        if not isinstance(denoiser, UNet2DConditionModel):
            raise InputError(
                f"generator.attention_slicing must be false for {type(pipeline).__name__}, got true: its "
                f"{type(denoiser).__name__} cannot slice; leave it out"
            )
        pipeline.enable_attention_slicing()
    for autoencoder in (pipeline.vae, vae):
        if settings.vae_slicing:
            autoencoder.enable_slicing()
        if settings.vae_tiling:
            autoencoder.enable_tiling()
    if settings.gradient_checkpointing:
        denoiser.enable_gradient_checkpointing()
    if settings.compile:
        # torch keeps compiled code in a temporary folder otherwise, which a restart empties.
        os.environ.setdefault(
            "TORCHINDUCTOR_CACHE_DIR", str(Path.home() / ".cache" / "understudy" / "compiled")
        )
        denoiser.compile()  # in place: torch.compile(denoiser) would add a prefix to the names of the weights
