"""Optimiser and learning rate of every update of a phase."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from understudy.training.layers import freeze, set_mode
from understudy.training.losses import Loss
from understudy.training.optimisers import build_optimiser
from understudy.training.schedules import SCHEDULES
from understudy.training.settings import CompareSettings, Phase


def updates_of(
    model: nn.Module, loss_of: Loss, phase: Phase, *, settings: CompareSettings, num_steps: int
) -> Iterator[tuple[torch.optim.Optimizer, float]]:
    """Prepare the network for each update of a phase.

    Args:
        model: the network; the layers of the phase are the ones that learn.
        loss_of: its map, if it has one, is trained with the network.
        phase: ``layers``, ``batch_norm`` and ``head_warmup`` are used.
        settings: of the phase.
        num_steps: of the phase.

    Yields:
        The optimiser, and the learning rate that it has.
    """
    schedule = SCHEDULES[settings.schedule]
    for part, length in parts_of(phase, num_steps):
        if phase.head_warmup:
            freeze(model, part)
        optimiser = build_optimiser(model, settings)
        if loss_of.map is not None:
            optimiser.add_param_group({"params": list(loss_of.map.parameters())})
        for step in range(length):
            set_mode(model, part)  # measuring the classifier between steps changes its mode
            learning_rate = settings.learning_rate * schedule(step, length)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate
            yield optimiser, learning_rate


def parts_of(phase: Phase, num_steps: int) -> list[tuple[Phase, int]]:
    """Divide a phase into the warm-up of its head and the rest.

    Linear probing, then fine-tuning: Kumar et al. 2022 (arXiv:2202.10054). Features of a pretrained network
    change less if the head fits them before they are trained.

    Args:
        phase: ``head_warmup`` is used.
        num_steps: of the phase.

    Returns:
        Each part as a phase and its number of steps, at least 1. Without a warm-up, or with a single step, it
        is the phase itself.

    Example:
        >>> phase = Phase(data="real", head_warmup=0.25)
        >>> [(part.layers, steps) for part, steps in parts_of(phase, 100)]
        [('linear-probe', 25), ('full', 75)]
    """
    warmup = min(max(1, round(phase.head_warmup * num_steps)), num_steps - 1) if phase.head_warmup else 0
    if not warmup:
        return [(phase, num_steps)]
    # A linear probe always keeps the statistics of batch normalisation.
    head_alone = phase.model_copy(update={"layers": "linear-probe", "batch_norm": "train"})
    return [(head_alone, warmup), (phase, num_steps - warmup)]
