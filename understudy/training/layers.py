"""Which parts of a network a phase trains."""

from __future__ import annotations

from typing import Any

from torch import nn

from understudy.training.settings import Phase

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


def freeze(model: Any, phase: Phase) -> None:
    """Set ``requires_grad`` so that only the layers of a phase learn.

    ``late-layer`` is the last stage with more than one layer, or the last block of a transformer, and
    everything after it, as timm groups parameters.

    Args:
        model: a timm network.
        phase: ``layers`` is used.
    """
    model.requires_grad_(phase.layers == "full")
    if phase.layers == "full":
        return
    for head in heads_of(model):
        head.requires_grad_(True)
    if phase.layers == "late-layer":
        from timm.models import group_parameters  # heavy; only training needs it

        names: dict[str, nn.Parameter] = dict(model.named_parameters())
        # Groups with several layers are stages or blocks; a single layer, such as the last normalisation,
        # belongs to the group after it.
        groups: dict[Any, list[str]] = group_parameters(model, model.group_matcher(coarse=True))
        order = [group for _, group in sorted(groups.items())]
        last = max(number for number, group in enumerate(order) if _is_body(group, names))
        for name in (name for group in order[last:] for name in group):
            names[name].requires_grad_(True)


def heads_of(model: Any) -> tuple[nn.Module, ...]:
    """The classification layers of a timm network: one, or two in distilled transformers."""
    heads = model.get_classifier()
    return tuple(heads) if isinstance(heads, tuple) else (heads,)


def _is_body(group: list[str], names: dict[str, nn.Parameter]) -> bool:
    """Whether a group has several layers with weight matrices or kernels, and none of them is a head."""
    layers = [name for name in group if names[name].ndim > 1]
    return len(layers) > 1 and not any(names[name].requires_grad for name in group)


def set_mode(model: nn.Module, phase: Phase) -> None:
    """Put a network in training mode, except for the parts that the phase leaves unchanged.

    Args:
        model: a timm network.
        phase: ``layers`` and ``batch_norm`` are used.
    """
    model.train(phase.layers != "linear-probe")
    if phase.batch_norm == "frozen":
        for module in model.modules():
            if isinstance(module, BATCH_NORMS):
                module.eval()
