"""How many of a few drawn images look like their class to the network that classifiers start from."""

from __future__ import annotations

from typing import Any

import numpy as np

from understudy.data.contact_sheet import MOST_PER_CLASS
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.domain import measure_domain
from understudy.evaluation.plain_separability import plain_separability
from understudy.functional.allocation import first_of_each_class
from understudy.functional.distances import nearest_neighbours
from understudy.pipeline.domain import what_else
from understudy.settings import Settings
from understudy.training.backbones import pretrained_classifier
from understudy.training.classifier import TrainedClassifier

_MOST_IMAGES = 4000  # of all classes
_TO_COMPARE_WITH = 20  # train images of each class whose mean feature stands for the class


def recognised(
    settings: Settings, train: LabelledSet, val: LabelledSet, drawn: LabelledSet, *, device: str
) -> tuple[float, str]:
    """The share of drawn images that look like their class to the network that arms start from, in words too.

    It is 1 without such a network, and for a generator that has learned nothing yet. The words also say
    whether plain statistics tell drawn from real images.
    """
    has_adapter = settings.adapt.adapter is not None
    if settings.generator.name == "class_conditional" and not has_adapter:
        return 1.0, "the generator 'class_conditional' has learned nothing yet, so it draws noise here"
    backbone, apart = pretrained_classifier(settings.compare), _told_apart(train, val, drawn)
    if backbone is None:
        return 1.0, apart
    backbone.model.to(device)
    network = TrainedClassifier(backbone, train.class_names, device)
    found = _near_their_class(network, train, drawn)
    limits, is_adapted = found["agreement"], settings.adapt.num_steps and not has_adapter
    shares = f"{limits['mean']:.0%} [{limits['low']:.0%}, {limits['high']:.0%}] of {len(drawn)} drawn images"
    when = " before adaptation" if is_adapted else ""
    if len(val):
        of_val = _near_their_class(network, train, _first(val, MOST_PER_CLASS))
        shares += f" and {of_val['agreement']['mean']:.0%} of validation images"
    told = (
        f"the generator{when}: {shares} are nearest to the real images of their class (chance: "
        f"{found['chance']:.0%}; features of compare.backbone={settings.compare.backbone})"
    )
    if found["knows"] is False:
        unless = "unless adaptation changes this, " if is_adapted else ""
        told = f"{told}. It does not know such images; {unless}{what_else(settings)}"
    return limits["mean"], f"{told}. {apart}".removesuffix(". ")


def _told_apart(train: LabelledSet, val: LabelledSet, drawn: LabelledSet) -> str:
    """How well colour and gradient alone tell drawn from real images; empty if the images are too few."""
    found = plain_separability(train, val, drawn, seed=0)
    if found is None:
        return ""
    areas = {name: "{mean:.2f} [{low:.2f}, {high:.2f}]".format(**found[name]) for name in ("value", "floor")}
    return (
        f"Plain statistics of colour and gradient tell drawn from real images with an AUC of {areas['value']}"
        f", and other real images with {areas['floor']} (0.5: not at all)"
    )


def _near_their_class(network: TrainedClassifier, train: LabelledSet, data: LabelledSet) -> dict[str, Any]:
    """How many images are nearer to the mean feature of their class than to those of other classes."""
    few = _first(train, _TO_COMPARE_WITH)
    features, labels = network.features(few), np.unique(few.labels)
    means = np.stack([features[few.labels == label].mean(axis=0) for label in labels])
    nearest, _ = nearest_neighbours(network.features(data), means)
    return measure_domain(data.labels, labels[nearest] == data.labels, num_classes=len(labels))


def _first(data: LabelledSet, per_class: int) -> LabelledSet:
    """The first images of each class; fewer if the classes are many."""
    per_class = min(per_class, max(1, _MOST_IMAGES // data.num_classes))
    return data.select(first_of_each_class(data.labels, np.full(data.num_classes, per_class)))
