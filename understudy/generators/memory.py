"""Ways to save memory: offloading, slicing, tiling, gradient checkpointing; and compilation."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from accelerate import cpu_offload_with_hook
from accelerate.hooks import remove_hook_from_module
from diffusers import UNet2DConditionModel
from torch import nn

from understudy.core.device_memory import free_bytes
from understudy.core.errors import InputError
from understudy.core.host_memory import free_host_bytes
from understudy.generators.pipeline_size import is_large
from understudy.generators.room import check_device_room, check_room
from understudy.generators.settings import GeneratorSettings

_AMPLE = 24e9  # bytes in which a large pipeline keeps the activations of eight images of 512 pixels


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
            :func:`check_room` and :func:`check_device_room`.
    """
    check_room(settings)
    check_device_room(settings, str(device))
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


def place(
    pipeline: Any, others: Sequence[nn.Module], part: str, device: torch.device, *, offload: bool
) -> Offload | None:
    """Move networks to their device; with ``offload``, all but the denoiser wait on the CPU.

    Args:
        pipeline: of diffusers.
        others: networks used with it, some of which may be parts of it.
        part: name of the denoiser among the components.
        device: that they compute on.
        offload: whether they wait on the CPU.
    """
    if not offload:
        pipeline.to(device)
        for network in others:
            network.to(device)
        return None
    networks = {name: each for name, each in pipeline.components.items() if isinstance(each, nn.Module)}
    networks.pop(part).to(device)
    pipeline._exclude_from_cpu_offload = [part]  # diffusers reads the device from the other parts
    parts = list(networks.values())
    return Offload(parts + [each for each in others if all(each is not known for known in parts)], device)


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
    if vae.dtype == torch.float32 and "force_upcast" in vae.config:
        vae.register_to_config(force_upcast=False)  # Stable Diffusion XL would cast needlessly, and warn
    return vae


def save_memory(pipeline: Any, vae: Any, denoiser: Any, settings: GeneratorSettings, *, device: str) -> None:
    """Apply slicing, tiling, gradient checkpointing and compilation.

    Args:
        pipeline: of diffusers.
        vae: its autoencoder or a copy, see :func:`safe_autoencoder`.
        denoiser: its UNet or transformer.
        settings: what to apply.
        device: torch device of the denoiser.

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
    if _recomputes_activations(settings, device):
        denoiser.enable_gradient_checkpointing()
    if settings.compile:
        # torch keeps compiled code in a temporary folder otherwise, which a restart empties.
        os.environ.setdefault(
            "TORCHINDUCTOR_CACHE_DIR", str(Path.home() / ".cache" / "understudy" / "compiled")
        )
        denoiser.compile()  # in place: torch.compile(denoiser) would add a prefix to the names of the weights


def _recomputes_activations(settings: GeneratorSettings, device: str) -> bool:
    """Whether activations are recomputed while adapting; free memory decides where the setting does not."""
    if settings.gradient_checkpointing is not None:
        return settings.gradient_checkpointing
    free = free_bytes(device)
    return is_large(settings.name) and (free_host_bytes() if free is None else free) < _AMPLE
