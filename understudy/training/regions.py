"""Regions of the image space: the cells of K-means over the images of a phase."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.training.backbones import Backbone
from understudy.training.batches import Images
from understudy.training.heads import inputs_of_heads
from understudy.training.settings import Phase

_PER_CLASS = 2


def has_regions(phase: Phase) -> bool:
    """Whether the loss of a phase looks at regions."""
    return bool(phase.discrepancy or phase.robustness)


def regions_of(
    backbone: Backbone, images: Images, phase: Phase, *, batch_size: int, seed: int
) -> Tensor | None:
    """The region of each image: its cell in K-means, with twice as many cells as classes.

    Args:
        backbone: the network; the cells are those of its features, computed without augmentation.
        images: the images of the phase.
        phase: ``discrepancy`` and ``robustness`` are used.
        batch_size: images at once.
        seed: of K-means.

    Returns:
        int64 (N,) on the device of the model; None if the loss of the phase does not look at regions.
    """
    if not has_regions(phase):
        return None
    from sklearn.cluster import KMeans  # slow to import

    features = inputs_of_heads(backbone, images, batch_size)[0].cpu().numpy()
    number = min(_PER_CLASS * len(images.labels.unique()), len(features))
    cells = KMeans(number, n_init=1, random_state=seed).fit_predict(features)
    return torch.from_numpy(cells).long().to(images.device)
