"""One shadow model: a training on a part of the real images, and what it predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from understudy.core.executors.job import Job
from understudy.core.files import write_arrays
from understudy.data.labelled_set import LabelledSet
from understudy.training.arms import find_arm
from understudy.training.classifier import TrainedClassifier
from understudy.training.data import TrainingData
from understudy.training.ensemble import Training, fit_alone
from understudy.training.private import fit_private
from understudy.training.settings import CompareSettings

PRIVATE = "private"
"""Name of the differentially private reference among the arms."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ShadowTraining(Job):
    """The training of one shadow model, whose file holds the model's predictions.

    Attributes:
        path: the file.
        arm: its name, or :data:`PRIVATE`.
        is_member: which train images the model sees, bool (N,).
        sets: ``train``, ``val`` and ``test``, all of which it predicts.
        synthetic: returns the synthetic images that it sees; None if the arm uses none.
        settings: backbone, optimiser, step budget and so on.
        seed: decides head, order and augmentation.
        device: where to train.
        epsilon, delta: privacy budget of the private reference; ``epsilon`` is None for other arms.
        files: what ``synthetic`` reads.
    """

    path: Path
    arm: str
    is_member: np.ndarray
    sets: Mapping[str, LabelledSet]
    synthetic: Callable[[], LabelledSet] | None
    settings: CompareSettings
    seed: int
    device: str
    epsilon: float | None = None
    delta: float | None = None
    files: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        return f"shadow model {self.path.stem}"

    @property
    def reads(self) -> Sequence[Path]:
        return self.files

    @property
    def is_done(self) -> bool:
        """Whether the model has its record."""
        return self.path.exists()

    def data(self) -> TrainingData:
        """The images that the model sees."""
        train = self.sets["train"].select(np.flatnonzero(self.is_member))
        return TrainingData(train=train, synthetic=self.synthetic() if self.synthetic else None)

    def steps(self) -> Iterator[int]:
        """Train and predict, and write the record; yields 1 for each step.

        Raises:
            InputError: as :func:`understudy.training.fit.fit_steps` and
                :func:`understudy.training.private.fit_private`.
        """
        if self.epsilon is not None:
            yield from self._private_steps(self.epsilon)
            return
        training = Training(data=self.data(), seed=self.seed)
        arm = find_arm(self.arm, self.settings)
        for step in fit_alone(arm, training, settings=self.settings, device=self.device):
            classifier = step.classifier
            yield 1
        self.write(classifier)

    def _private_steps(self, epsilon: float) -> Iterator[int]:
        classifier, promise = yield from fit_private(
            self.data().train,
            settings=self.settings,
            seed=self.seed,
            device=self.device,
            epsilon=epsilon,
            delta=self.delta,
        )
        self.write(classifier, epsilon=promise.epsilon, delta=promise.delta)

    def write(self, classifier: TrainedClassifier, **further: float) -> None:
        """Write the record: which images the model saw, what it predicts, and ``further`` figures."""
        predictions = {name: classifier.predict(data) for name, data in self.sets.items()}
        write_arrays(self.path, {"members": self.is_member, **predictions, **further})
