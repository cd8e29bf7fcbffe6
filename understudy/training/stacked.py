"""Fast training of one network, or of several networks of the same architecture in a stack."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional as F

from understudy.training.backbones import Backbone
from understudy.training.loop import DivergedError
from understudy.training.schedules import SCHEDULES
from understudy.training.settings import CompareSettings


def train_together(
    backbones: Sequence[Backbone],
    batches: Sequence[Iterator[tuple[Tensor, Tensor]]],
    settings: CompareSettings,
    *,
    num_steps: int,
    on_step: Callable[[], Any],
) -> None:
    """Train networks of one architecture for one phase, in place.

    Args:
        backbones: K networks.
        batches: the batches of each network: images (B, 3, H, W) and targets.
        settings: of the phase.
        num_steps: steps of the phase.
        on_step: called for each step of each network.

    Raises:
        DivergedError: if a loss is not finite.
    """
    schedule, models = SCHEDULES[settings.schedule], [backbone.model for backbone in backbones]
    networks = _Stack(models, settings) if len(models) > 1 else _Single(models[0], settings)
    for step in range(num_steps):
        drawn = [next(each) for each in batches]
        for group in networks.optimiser.param_groups:
            group["lr"] = settings.learning_rate * schedule(step, num_steps)
        losses = networks.losses(torch.stack([x for x, _ in drawn]), torch.stack([y for _, y in drawn]))
        if not torch.isfinite(losses).all():
            raise DivergedError(
                f"the losses of classifiers must stay finite, got {losses.tolist()} at step {step + 1}: "
                "lower compare.learning_rate"
            )
        networks.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.sum())
        networks.optimiser.step()
        for _ in models:
            on_step()
    networks.write_back()


def _optimiser(parameters: Any, settings: CompareSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, fused=True)


def _groups(model: nn.Module, settings: CompareSettings) -> list[dict[str, Any]]:
    """Parameters with and without weight decay, grouped as timm does."""
    from timm.optim import param_groups_weight_decay  # heavy; only training needs it

    apart: set[str] = getattr(model, "no_weight_decay", set)()
    return cast(
        "list[dict[str, Any]]",
        param_groups_weight_decay(model, settings.weight_decay, no_weight_decay_list=apart),
    )


@final
class _Single:
    """One network."""

    def __init__(self, model: nn.Module, settings: CompareSettings) -> None:
        self._model, self._smoothing = model.train(), settings.label_smoothing
        self.optimiser = _optimiser(_groups(model, settings), settings)

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """Loss (1,) of a batch (1, B, 3, H, W) and its targets."""
        logits = self._model(x[0].contiguous(memory_format=torch.channels_last))
        return F.cross_entropy(logits, y[0], label_smoothing=self._smoothing)[None]

    def write_back(self) -> None:
        """Do nothing, because the network itself was trained."""


@final
class _Stack:
    """K networks of one architecture as one function of their stacked weights."""

    def __init__(self, models: Sequence[nn.Module], settings: CompareSettings) -> None:
        self._models, self._smoothing = models, settings.label_smoothing
        parameters, self._buffers = stack_module_state(list(models))
        self._parameters = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        self._skeleton = copy.deepcopy(models[0]).to("meta").train()
        for module in self._skeleton.modules():
            if hasattr(module, "inplace"):
                # The values of one network must not overwrite a tensor that all networks share.
                cast("Any", module).inplace = False
        names = {id(value): name for name, value in models[0].named_parameters()}
        groups = [
            {**group, "params": [self._parameters[names[id(value)]] for value in group["params"]]}
            for group in _groups(models[0], settings)
        ]
        self.optimiser = _optimiser(groups, settings)

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """Losses (K,) of the batches (K, B, 3, H, W) and their targets."""

        def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(
                functional_call(self._skeleton, (parameters, buffers), (x,)),
                y,
                label_smoothing=self._smoothing,
            )

        losses: Tensor = torch.vmap(loss, randomness="different")(self._parameters, self._buffers, x, y)
        return losses

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy weights and buffers back into the networks."""
        for number, model in enumerate(self._models):
            model.load_state_dict(
                {name: value[number] for name, value in (self._parameters | self._buffers).items()}
            )
