"""Less memory, or compiled: what the generator settings ask of a loaded pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from accelerate import cpu_offload_with_hook
from accelerate.hooks import remove_hook_from_module
from diffusers import UNet2DConditionModel
from torch import nn

from understudy.core.errors import InputError
from understudy.generators.settings import GeneratorSettings


@final
class Offload:
    """Networks that wait in the computer's memory and come to the device when they are called.

    diffusers' own ``enable_model_cpu_offload`` also moves the denoiser, in a fixed order that drawing follows and training does not: it
    would pull the weights away between a forward and its backward pass.

    Args:
        parts: the networks.
        device: where they compute.
    """

    def __init__(self, parts: list[nn.Module], device: torch.device) -> None:
        self._parts, self._device = parts, device
        self._hooks = self._hooked()

    def park(self) -> None:
        """Send all of them back."""
        for hook in self._hooks:
            hook.offload()

    def keep(self, part: nn.Module) -> None:
        """Leave a part on the device from now on: between a forward and its backward pass it must not move."""
        with self.lifted():
            self._parts = [other for other in self._parts if other is not part]
            part.to(self._device)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """No part comes to the device by itself; diffusers would otherwise put its own offloading in place of this one."""
        for part in self._parts:
            remove_hook_from_module(part)
        yield
        self._hooks = self._hooked()

    def _hooked(self) -> list[Any]:
        return [cpu_offload_with_hook(part, self._device)[1] for part in self._parts]


def check_memory_settings(settings: GeneratorSettings, device: torch.device) -> None:
    """Refuse what the device cannot do.

    Raises:
        InputError: for offloading from the CPU to itself.
    """
    if settings.cpu_offload and device.type == "cpu":
        raise InputError("generator.cpu_offload must be false on the device 'cpu', got true: there is no other memory to keep free")


def save_memory(pipeline: Any, denoiser: Any, settings: GeneratorSettings) -> None:
    """Apply attention slicing, tiling, checkpointing and compilation.

    Raises:
        InputError: if the pipeline's denoiser cannot slice its attention.
    """
    if settings.attention_slicing:
        if not isinstance(denoiser, UNet2DConditionModel):
            raise InputError(
                f"generator.attention_slicing must be false for {type(pipeline).__name__}, got true: its {type(denoiser).__name__} "
                "cannot slice; leave it out"
            )
        pipeline.enable_attention_slicing()
    if settings.vae_tiling:
        pipeline.vae.enable_tiling()
    if settings.gradient_checkpointing:
        denoiser.enable_gradient_checkpointing()
    if settings.compile:
        denoiser.compile()  # in place: torch.compile(denoiser) would put a prefix before the names of the weights
