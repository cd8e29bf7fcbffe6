"""Copies of tensors to the device that computes."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(x: Tensor, device: torch.device | str, *, pinned: bool = False) -> Tensor:
    """A tensor on a device, without waiting for work that the device still has to do.

    On Apple's GPUs this does wait: there, a copy in the background may read memory that the host has already
    released (https://github.com/pytorch/pytorch/issues/189690).

    Args:
        x: of any shape.
        device: target device; x itself is returned if it is already there.
        pinned: copy x to pinned memory first, from which a CUDA device copies while it computes. Worth it for
            batches of images.

    Returns:
        As x.
    """
    kind = torch.device(device).type
    if pinned and x.device.type == "cpu" and kind == "cuda":
        x = x.pin_memory()
    return x.to(device, non_blocking=kind != "mps")
