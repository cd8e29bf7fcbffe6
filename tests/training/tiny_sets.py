"""Sets of three bright or dark squares that a network can learn in seconds."""

import numpy as np

from understudy.data.labelled_set import LabelledSet
from understudy.training.data import TrainingData
from understudy.training.fit import fit_steps
from understudy.training.settings import CompareSettings

CLASS_NAMES = ("left", "middle", "right")
RECIPE = CompareSettings(
    backbone="test_resnet", pretrained=False, resolution=32, steps=8, batch_size=8, bootstrap=100
)


def squares(split, *, num=12, seed=0, class_names=CLASS_NAMES, strengths=(1.0,)):
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 3
    images = rng.integers(0, 60, size=(num, 3, 32, 32), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 8:24, 10 * label + 2 : 10 * label + 10] += 180
    strength = [strengths[index // 3 % len(strengths)] for index in range(num)]
    drawn = {"strength": strength} if split == "synthetic" else None
    return LabelledSet.from_images(images, labels, class_names=class_names, split=split, provenance=drawn)


def fit(arm, *, settings=RECIPE, seed=0, watch=lambda step: None, **data):
    """Train on :class:`TrainingData` of these fields, and let ``watch`` see each step."""
    for step in fit_steps(arm, TrainingData(**data), settings=settings, seed=seed, device="cpu"):
        watch(step)
    return step.classifier
