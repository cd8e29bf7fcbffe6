"""Distance between a drawn set and real images in feature space."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.data.labelled_set import LabelledSet
from understudy.functional.frechet import frechet_distance, mean_and_root
from understudy.functional.mmd import median_bandwidth, mmd2_unbiased
from understudy.generators.generator import adaptable
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.generators.visual_guidance import features_of
from understudy.training.backbones import build_backbone
from understudy.training.classifier import TrainedClassifier
from understudy.training.settings import CompareSettings


def distances(drawn: LabelledSet, real: LabelledSet) -> dict[str, dict[str, float]]:
    """``squared MMD`` within each class, averaged over classes, and ``Fréchet distance`` of all images.

    Both are measured with two encoders: that of ``mini``, and one that ``mini`` was not trained with. The
    Fréchet distance grows as images get fewer, so compare it between sets of equal size.
    """
    found: dict[str, dict[str, float]] = {"squared MMD": {}, "Fréchet distance": {}}
    for name, features in _encoders().items():
        ours, theirs = features(drawn), features(real)
        found["squared MMD"][name] = _class_mmd2(ours, theirs, drawn.labels, real.labels)
        moments = [part for points in (ours, theirs) for part in mean_and_root(points.double().numpy())]
        found["Fréchet distance"][name] = frechet_distance(*moments)
    return found


def squared_mmd(drawn: LabelledSet, real: LabelledSet) -> dict[str, float]:
    """The squared MMD of :func:`distances`, by encoder."""
    return distances(drawn, real)["squared MMD"]


def _encoders() -> dict[str, Any]:
    generator = adaptable(load_generator(GeneratorSettings(), device="cpu"))
    backbone = build_backbone(CompareSettings(), 2, rng_seed=0)

    def resnet(data: LabelledSet) -> Tensor:
        return torch.from_numpy(TrainedClassifier(backbone, data.class_names).features(data)).float()

    return {"mini's image encoder": lambda data: features_of(generator, data), "letters ResNet": resnet}


def _class_mmd2(drawn: Tensor, real: Tensor, drawn_labels: np.ndarray, real_labels: np.ndarray) -> float:
    bandwidths = median_bandwidth(real) * torch.tensor([0.5, 1.0, 2.0])
    parts = [
        mmd2_unbiased(
            drawn[torch.from_numpy(drawn_labels == label)],
            real[torch.from_numpy(real_labels == label)],
            bandwidths,
        ).item()
        for label in np.unique(real_labels)
        if (drawn_labels == label).sum() > 1
    ]
    return float(np.mean(parts))
