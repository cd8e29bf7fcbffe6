"""Optimisers, named as in timm."""

from __future__ import annotations

import torch
from torch import nn

from understudy.core.errors import InputError
from understudy.core.registry import did_you_mean
from understudy.training.settings import CompareSettings

_FUSED = ("adam", "adamw", "sgd")  # optimisers that can update all weights with one kernel
_MOMENTUM = 0.9  # for optimisers with momentum, such as sgd


def build_optimiser(model: nn.Module, settings: CompareSettings) -> torch.optim.Optimizer:
    """The optimiser of a network; biases and normalisation layers get no weight decay.

    Args:
        model: its parameters are optimised.
        settings: ``optimiser``, ``learning_rate`` and ``weight_decay`` are used.
    """
    from timm.optim import create_optimizer_v2  # heavy; only training needs it

    kinds = {parameter.device.type for parameter in model.parameters()}
    fused = {"fused": True} if kinds <= {"cpu", "cuda", "mps"} and settings.optimiser in _FUSED else {}
    optimiser: torch.optim.Optimizer = create_optimizer_v2(
        model,
        settings.optimiser,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        momentum=_MOMENTUM,
        **fused,
    )
    return optimiser


def check_optimiser(settings: CompareSettings) -> None:
    """Check that the optimiser exists and can take a step on this machine.

    Raises:
        InputError: if timm does not know the name, or if the optimiser needs more than gradients, a package
            that is not installed, or another device.
    """
    if settings.optimiser in _FUSED:
        return  # timm has them in every version, and they work everywhere
    from timm.optim import list_optimizers  # heavy; only this check needs it

    name, known = settings.optimiser, list_optimizers()
    if name not in known:
        hint = did_you_mean(name, known, otherwise="timm.optim.list_optimizers() gives the names")
        raise InputError(f"compare.optimiser must be one that timm knows, got {name!r}: {hint}")
    try:
        layer = nn.Linear(4, 4)
        optimiser = build_optimiser(
            layer, settings.model_copy(update={"learning_rate": 1e-3, "weight_decay": 0.0})
        )
        torch.autograd.backward(layer(torch.ones(1, 4)).sum())
        optimiser.step()
    except Exception as error:  # optimisers raise many types if a package or device is missing
        raise InputError(f"compare.optimiser {name!r} cannot be used here: {error}") from error
