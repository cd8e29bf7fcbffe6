"""What is recorded along a training: losses, accuracy on validation images, figures at the ends of phases."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, final

import numpy as np

from understudy.data.labelled_set import LabelledSet
from understudy.training.arms import Arm
from understudy.training.classifier import TrainedClassifier, accuracy_and_loss
from understudy.training.loop import Step

Measure = Callable[[TrainedClassifier], dict[str, float | None]]


@final
class History:
    """Watches one training.

    Args:
        val: held-out real images.
        points: measurements along the training, about evenly spaced and at the end of each phase; 0 for none.
        on_step: is told of each step as well.
        measure: figures of the classifier at the end of each phase but the last, as long as it has seen synthetic images only: of
            features that real images have trained, some figures tell what was learned by heart.
        arm: that is trained.

    Attributes:
        steps: made so far.
        seconds: spent here and not on training.
    """

    def __init__(
        self,
        val: LabelledSet,
        *,
        points: int,
        on_step: Callable[[Step], Any] | None = None,
        measure: Measure | None = None,
        arm: Arm,
    ) -> None:
        self._val = val
        self._points = points
        self._on_step = on_step
        self._measure = measure
        kinds = [phase.data for phase in arm.phases]
        self._measured = [number for number in range(len(kinds)) if set(kinds[: number + 1]) == {"synthetic"}]
        self._losses: list[float] = []
        self._curve: list[dict[str, float]] = []
        self._phases: list[dict[str, float | None]] = []
        self.steps = 0
        self.seconds = 0.0

    def __call__(self, step: Step, classifier: TrainedClassifier) -> None:
        """Take note of a step."""
        self.steps = step.step
        self._losses.append(step.loss)
        if self._on_step is not None:
            self._on_step(step)
        start = time.monotonic()
        if self._points and (step.step % max(1, step.of // self._points) == 0 or step.ends_phase):
            accuracy, loss = accuracy_and_loss(classifier, self._val)
            training_loss = float(np.mean(self._losses))
            self._curve.append({"step": step.step, "phase": step.phase, "loss": training_loss, "val_accuracy": accuracy, "val_loss": loss})
            self._losses = []
        if self._measure is not None and step.ends_phase and step.step < step.of and step.phase in self._measured:
            self._phases.append(self._measure(classifier))
        self.seconds += time.monotonic() - start

    def content(self) -> dict[str, Any]:
        """``curve``: step, phase, mean training loss since the last point, accuracy and loss on validation images; ``phases``: figures."""
        return {"curve": self._curve, "phases": self._phases}
