"""Number format and memory layout of computations on a device, and when the host waits for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar, final

import torch
from torch import Tensor, nn

from understudy.core.bfloat16 import has_fast_bfloat16

_LARGE = 64  # pixels; only 32 and 224 were measured
Model = TypeVar("Model", bound=nn.Module)


@final
@dataclass(frozen=True)
class Precision:
    """Number format and memory layout of a training or a prediction.

    Attributes:
        device_type: ``cpu``, ``cuda`` or ``mps``.
        autocast: number format of matrix products and convolutions; weights, gradients of weights and sums
            stay in float32. None computes everything in float32.
        channels_last: keep the channels of a pixel together in memory, as tensor cores and the CPU's
            depthwise and small convolutions read them fastest.
        waits: fetch the loss after every step. A GPU runs ahead of the host if nothing is fetched.
    """

    device_type: str
    autocast: torch.dtype | None = None
    channels_last: bool = False
    waits: bool = True

    def computing(self) -> AbstractContextManager[object]:
        """The context manager for forward passes."""
        return torch.autocast(self.device_type, self.autocast) if self.autocast else nullcontext()

    def laid_out(self, model: Model) -> Model:
        """Change the weights of a model to this layout, in place."""
        return model.to(memory_format=torch.channels_last) if self.channels_last else model

    def arranged(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in this layout."""
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x


def precision_of(device: torch.device | str, size: int) -> Precision:
    """The precision for a device and images of ``size`` pixels a side.

    bfloat16 products in channels-last layout on CUDA devices that have bfloat16 (compute capability 8.0 or
    newer), otherwise float32. Images below 64 pixels stay in float32. On an H100, bfloat16 changed the speed
    of the bundled network with 32 pixels to 0.80 (prediction), 0.85 (training, batches of 512) and 1.13
    (batches of 64), and that of ResNet-50 with 224 pixels to 1.5 to 1.9
    (``benchmarks/results/speed/gpu.json``). A GPU is never waited for between two steps.

    Float32 in torch's default layout on Apple's GPUs: the first two generations compute bfloat16 in float32,
    and torch could not differentiate channels-last batch normalisation there before July 2026
    (https://github.com/pytorch/pytorch/pull/188371).

    Float32 in channels-last layout on the CPU. It changes the speed of a training with one thread to 0.9 to
    1.0 (resnet18), 1.0 to 1.1 (resnet50, convnext_atto, vit_tiny), 1.2 (the bundled network) and 1.2 to 1.5
    (mobilenetv3).
    """
    kind = torch.device(device).type
    if kind == "cpu":
        return Precision(kind, channels_last=True)
    is_large = size >= _LARGE
    autocast = torch.bfloat16 if is_large and has_fast_bfloat16(device) else None
    return Precision(kind, autocast, channels_last=is_large and kind != "mps", waits=False)
