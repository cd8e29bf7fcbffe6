"""The frozen networks that guide a training on synthetic images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from understudy.core.errors import InputError
from understudy.training.arms import find_arm
from understudy.training.backbones import Backbone, feature_extractor
from understudy.training.classifier import TrainedClassifier
from understudy.training.data import Teacher, TrainingData
from understudy.training.settings import CompareSettings, Phase


@final
@dataclass(frozen=True, eq=False)
class Guides:
    """Frozen networks, on the device of the network in training.

    Attributes:
        teacher: gives soft labels; has the classes of the data.
        extractor: gives features.
    """

    teacher: Backbone | None = None
    extractor: Backbone | None = None


@final
@dataclass(frozen=True, eq=False)
class _Trained:
    """A teacher that is trained already; unlike other functions, it can be sent to another process."""

    classifier: TrainedClassifier

    def __call__(self) -> TrainedClassifier:
        return self.classifier


def with_trained_teacher(data: TrainingData, arm: str, settings: CompareSettings) -> TrainingData:
    """The same data with a teacher that is trained already; without one if the arm does not need it."""
    is_needed = settings.teacher == "real" and any(
        phase.soft_labels for phase in find_arm(arm, settings).phases
    )
    trained = _Trained(data.teacher()) if is_needed and data.teacher is not None else None
    return replace(data, teacher=trained)


def find_guides(
    phases: Sequence[Phase],
    settings: CompareSettings,
    class_names: tuple[str, ...],
    *,
    device: str,
    teacher: Teacher | None,
) -> Guides:
    """Load the guides that some phases need, in evaluation mode.

    Args:
        phases: ``soft_labels`` and ``feature_distillation`` decide which guides are needed.
        settings: ``teacher`` and ``extractor`` are used; with ``extractor=pretrained`` also the settings of
            the backbone.
        class_names: classes of the data, which the teacher must have.
        device: where the guides run.
        teacher: returns the classifier that ``settings.teacher=real`` stands for.

    Raises:
        InputError: for a missing teacher or extractor, or a teacher with other classes.
    """
    needs_teacher = any(phase.soft_labels for phase in phases)
    needs_extractor = any(phase.feature_distillation for phase in phases)
    guides = Guides(
        teacher=_teacher(settings, class_names, device, teacher) if needs_teacher else None,
        extractor=feature_extractor(settings) if needs_extractor else None,
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
            raise InputError(
                f"compare.teacher must be 'real' or the folder of a classifier: {error}"
            ) from error
    elif teacher is None:
        raise InputError(
            "compare.teacher=real needs a classifier trained on the real train images, got none: pass one as "
            "'teacher'"
        )
    else:
        classifier = teacher()
    if classifier.class_names != class_names:
        raise InputError(
            f"compare.teacher must have the classes of the data, {class_names}, got "
            f"{classifier.class_names}: give the folder of another classifier"
        )
    return classifier.backbone
