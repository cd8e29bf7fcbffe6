"""The number format in which a generator multiplies while it draws."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from understudy.core.bfloat16 import has_fast_bfloat16
from understudy.generators.settings import GeneratorSettings


def drawing_precision(wanted: str, settings: GeneratorSettings, device: torch.device | str) -> str:
    """The number format of matrix products and convolutions: ``float32``, ``bfloat16`` or ``float16``.

    Weights in 16 bits are multiplied in their own format.

    Args:
        wanted: ``draw.precision``: a format, or ``auto`` for bfloat16 where the device is faster with it.
        settings: of the generator.
        device: where it draws.
    """
    if settings.is_ready_made or settings.precision != "float32":
        return settings.precision
    if wanted == "auto":
        return "bfloat16" if has_fast_bfloat16(device) else "float32"
    return wanted


def adapting_precision(device: torch.device) -> str:
    """The number format of the products while a denoiser is adapted; its weights stay as they are.

    bfloat16 on GPUs that have it. On processors with AMX, the backward pass of convolutions in bfloat16 is
    slower than in float32: a whole adaptation reached 0.75 of its speed.
    """
    return "bfloat16" if device.type != "cpu" and has_fast_bfloat16(device) else "float32"


def computing(precision: str, weights: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """The context in which networks with ``weights`` of some format multiply in ``precision``."""
    products = getattr(torch, precision)
    if products in (weights, torch.float32):
        return nullcontext()
    return torch.autocast(device.type, products)
