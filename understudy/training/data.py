"""The images of a training: those that an arm learns from, and the real images that it is measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.training.classifier import TrainedClassifier

Teacher = Callable[[], TrainedClassifier]
"""Returns a classifier trained on the real train images; called only if soft labels need it."""
Measure = Callable[[TrainedClassifier], dict[str, float | None]]
"""Computes figures of a classifier, by name."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingData:
    """The images that an arm learns from.

    Attributes:
        train: real images.
        synthetic: drawn images; may be None if the arm does not use any.
        quota: synthetic images of each class in use at once, int (num_classes,). A phase starts with the
            first images of each class; with ``refresh_every`` it later replaces them by others. A class
            with fewer images uses all of them; with None, every class does.
        teacher: returns the classifier behind ``compare.teacher=real``; called only if a phase of the arm has
            soft labels.
    """

    train: LabelledSet
    synthetic: LabelledSet | None = None
    quota: np.ndarray | None = None
    teacher: Teacher | None = None

    @property
    def num_synthetic(self) -> int:
        """Synthetic images in use at once."""
        if self.synthetic is None:
            return 0
        return len(self.synthetic) if self.quota is None else int(self.quota.sum())


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Real images for measuring classifiers, which are never trained on them.

    Attributes:
        val: images on which the best training is chosen.
        test: images on which each training is measured once.
        measure: computes further figures after each phase but the last, as long as the classifier has seen
            only synthetic images; None for no further figures.
    """

    val: LabelledSet
    test: LabelledSet
    measure: Measure | None = None

    def check(self, class_names: tuple[str, ...]) -> None:
        """Check that both sets can measure classifiers of these classes.

        Raises:
            InputError: if a set is empty, from the wrong split, or has other classes.
        """
        self.val.check_split("val", purpose="choosing a classifier")
        self.test.check_split("test", purpose="measuring a classifier")
        for data in (self.val, self.test):
            if not len(data) or data.class_names != class_names:
                raise InputError(
                    f"the {data.split} set must have images of the classes {class_names}, got {len(data)} "
                    f"images of {data.class_names}"
                )
