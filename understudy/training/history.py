"""The history of a training: losses, accuracy on validation images, figures at the ends of phases."""

from __future__ import annotations

import time
from typing import Any, final

import numpy as np
from torch import Tensor

from understudy.training.arms import Arm
from understudy.training.classifier import accuracy_and_loss
from understudy.training.data import HeldOut
from understudy.training.loop import Step


@final
class History:
    """Records one training, step by step.

    Args:
        arm: the arm in training.
        held_out: ``val`` gives the curve. ``measure`` is called at the end of each phase but the last, as
            long as the classifier has seen only synthetic images: once real images have trained the features,
            some figures would show what was memorised.
        points: number of about evenly spaced measurements during the training; another one follows at the end
            of each phase. 0 measures nothing.

    Attributes:
        seconds: time spent on measuring; it does not count as training time.
    """

    def __init__(self, arm: Arm, held_out: HeldOut, *, points: int) -> None:
        self._held_out = held_out
        self._points = points
        kinds = [phase.data for phase in arm.phases]
        self._measured = [number for number in range(len(kinds)) if set(kinds[: number + 1]) == {"synthetic"}]
        self._losses: list[float | Tensor] = []
        self._curve: list[dict[str, float]] = []
        self._phases: list[dict[str, float | None]] = []
        self._micro_batch: int | None = None
        self.seconds = 0.0

    def add(self, step: Step) -> None:
        """Record a step; measures the classifier if a point of the curve is due."""
        self._losses.append(step.loss)
        self._micro_batch = step.micro_batch
        start = time.monotonic()
        if self._points and (step.step % max(1, step.of // self._points) == 0 or step.ends_phase):
            accuracy, loss = accuracy_and_loss(step.classifier, self._held_out.val)
            point = {
                "loss": float(np.mean([float(value) for value in self._losses])),
                "val_accuracy": accuracy,
                "val_loss": loss,
            }
            self._curve.append({"step": step.step, "phase": step.phase, **point})
            self._losses = []
        measure = self._held_out.measure
        if measure is not None and step.ends_phase and step.step < step.of and step.phase in self._measured:
            self._phases.append(measure(step.classifier))
        self.seconds += time.monotonic() - start

    def content(self) -> dict[str, Any]:
        """The record: ``curve``, ``phases`` and ``micro_batch``.

        A point of the curve has step, phase, mean training loss since the last point, and accuracy and loss
        on validation images. The last one is the number of images computed at once in the last step; it is
        halved, and never raised, during a training.
        """
        return {"curve": self._curve, "phases": self._phases, "micro_batch": self._micro_batch}
