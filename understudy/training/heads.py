"""The classification layer that a phase begins with."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from understudy.core.errors import InputError
from understudy.functional.prototypes import class_means, nearest_mean_layer
from understudy.training.backbones import Backbone
from understudy.training.batches import Images
from understudy.training.layers import heads_of
from understudy.training.settings import Phase


def begin_head(backbone: Backbone, images: Images, phase: Phase, *, batch_size: int) -> None:
    """Give a network the head that a phase begins with, in place.

    Args:
        backbone: as the previous phase left it.
        images: the images of the phase; their class means are computed without augmentation, with the network
            in evaluation mode.
        phase: ``head`` is used. A fresh head is drawn from torch's global generator.
        batch_size: images at once.

    Raises:
        InputError: for class means, if a class has no image or the head is not a linear layer.
    """
    if phase.head == "fresh":
        model: Any = backbone.model
        model.reset_classifier(model.num_classes)
        model.to(images.device)
    elif phase.head == "class-means":
        _set_class_means(backbone, images, batch_size)


def check_linear_head(model: nn.Module, name: str) -> None:
    """Check that the classification layers of a network can be computed from class means.

    Raises:
        InputError: naming the network.
    """
    for head in heads_of(model):
        if not isinstance(head, nn.Linear) or head.bias is None:
            raise InputError(
                f"head 'class-means' needs a network that ends in a linear layer with biases, but that of "
                f"{name!r} ends in {type(head).__name__}: use 'fresh', or another compare.backbone"
            )


def _set_class_means(backbone: Backbone, images: Images, batch_size: int) -> None:
    model: Any = backbone.model
    check_linear_head(model, backbone.architecture)
    if missing := int((images.labels.bincount(minlength=model.num_classes) == 0).sum()):
        raise InputError(
            f"head 'class-means' needs an image of every class in its phase, but {missing} of "
            f"{model.num_classes} classes have none: use 'fresh'"
        )
    heads: tuple[Any, ...] = heads_of(model)
    for head, features in zip(heads, inputs_of_heads(backbone, images, batch_size), strict=True):
        w, b = nearest_mean_layer(class_means(features, images.labels, model.num_classes))
        with torch.no_grad():
            head.weight.copy_(w)
            head.bias.copy_(b)


@torch.no_grad()
def inputs_of_heads(backbone: Backbone, images: Images, batch_size: int) -> list[Tensor]:
    """What each classification layer sees of all images, without augmentation, in evaluation mode.

    Returns:
        A tensor (N, D) for each layer, on the device of the model.
    """
    model, heads = backbone.model, heads_of(backbone.model)
    seen: list[list[Tensor]] = [[] for _ in heads]

    def keep(parts: list[Tensor], module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        parts.append(inputs[0].flatten(1))

    handles = [
        head.register_forward_pre_hook(partial(keep, parts)) for head, parts in zip(heads, seen, strict=True)
    ]
    was_training = model.training
    model.eval()
    try:
        for batch in torch.arange(len(images.labels)).split(batch_size):
            model(backbone.normalise(images.chosen(batch)[0]))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return [torch.cat(parts) for parts in seen]
