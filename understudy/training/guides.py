"""Networks that guide a training on synthetic images: where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from understudy.core.errors import InputError
from understudy.training.backbones import Backbone, feature_extractor
from understudy.training.classifier import TrainedClassifier
from understudy.training.data import Teacher
from understudy.training.settings import CompareSettings, Phase


@final
@dataclass(frozen=True, eq=False)
class Guides:
    """Frozen networks, on the device of the one in training.

    Attributes:
        teacher: gives soft labels; has the same classes.
        extractor: gives features.
    """

    teacher: Backbone | None = None
    extractor: Backbone | None = None


def find_guides(
    phases: Sequence[Phase], settings: CompareSettings, class_names: tuple[str, ...], *, device: str, teacher: Teacher | None
) -> Guides:  # fmt: skip
    """What some phases need, in evaluation mode.

    Args:
        phases: whose ``soft_labels`` and ``feature_distillation`` say what is needed.
        settings: ``teacher`` and ``extractor`` are used, and what the backbone is for ``extractor=pretrained``.
        class_names: that the teacher must have.
        device: where they run.
        teacher: gives the classifier behind ``settings.teacher=real``.

    Raises:
        InputError: for a teacher or extractor that cannot be had, or a teacher with other classes.
    """
    guides = Guides(
        teacher=_teacher(settings, class_names, device, teacher)
        if any(phase.soft_labels for phase in phases)
        else None,
        extractor=feature_extractor(settings)
        if any(phase.feature_distillation for phase in phases)
        else None,
    )
    for guide in (guides.teacher, guides.extractor):
        if guide is not None:
            guide.model.to(device).eval()
    return guides


def _teacher(
    settings: CompareSettings, class_names: tuple[str, ...], device: str, teacher: Teacher | None
) -> Backbone:
    if settings.teacher != "real":
        try:
            classifier = TrainedClassifier.load(Path(settings.teacher), device=device)
        except InputError as error:
            raise InputError(f"compare.teacher must be 'real' or a classifier's folder: {error}") from error
    elif teacher is None:
        raise InputError(
            "soft labels of compare.teacher=real need a classifier of the real train images, got none: pass teacher"
        )
    else:
        classifier = teacher()
    if classifier.class_names != class_names:
        raise InputError(
            f"compare.teacher must have the classes {class_names} of the images, got {classifier.class_names}: use another"
        )
    return classifier.backbone
