"""Train an arm with every seed; each training is measured and recorded."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from understudy.core.executors.job import Job
from understudy.core.files import write_arrays
from understudy.training.arms import find_arm
from understudy.training.backbones import build_backbone
from understudy.training.classifier import TrainedClassifier, validation_figures
from understudy.training.data import HeldOut, TrainingData
from understudy.training.fit import fit_steps
from understudy.training.guides import with_trained_teacher
from understudy.training.history import History
from understudy.training.records import ArmFolder, ArmResult, seeds_of
from understudy.training.settings import CompareSettings


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SeedTraining(Job):
    """One training of an arm, whose file is the training's record.

    Attributes:
        folder: which arm, and where its records go.
        index: number of the training.
        data: what it learns from.
        held_out: real images that choose and measure.
        settings: backbone, optimiser, step budget and so on.
        seed: decides head, order and augmentation.
        device: where to train.
    """

    folder: ArmFolder
    index: int
    data: TrainingData
    held_out: HeldOut
    settings: CompareSettings
    seed: int
    device: str

    @property
    def name(self) -> str:
        return f"training {self.index} of {self.folder.arm}"

    @property
    def is_done(self) -> bool:
        """Whether the training has its record."""
        return self.folder.record(self.index).exists()

    def steps(self) -> Iterator[int]:
        """Train and measure; writes weights and record, and yields 1 for each step.

        Raises:
            InputError: as :func:`understudy.training.fit.fit_steps`.
        """
        arm = find_arm(self.folder.arm, self.settings)
        history, start = History(arm, self.held_out, points=self.settings.curve_points), time.monotonic()
        for step in fit_steps(arm, self.data, settings=self.settings, seed=self.seed, device=self.device):
            history.add(step)
            yield 1
        seconds, classifier = time.monotonic() - start - history.seconds, step.classifier
        on_val = classifier.predict(self.held_out.val)
        figures = validation_figures(on_val, self.held_out.val.labels)
        classifier.save_weights(self.folder.weights(self.index))
        content = {
            "probabilities": classifier.predict(self.held_out.test),
            **figures,
            "val_predicted": on_val.argmax(axis=1),
            "seconds": seconds,
            "seed": self.seed,
            "steps": step.step,
            "history": json.dumps(history.content()),
        }
        # Last: without a record, the training is repeated.
        write_arrays(self.folder.record(self.index), content)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ArmTraining:
    """The trainings of an arm, one per seed.

    Attributes:
        folder: which arm, and where its records go.
        data: what the arm learns from.
        held_out: real images that choose and measure.
        settings: backbone, optimiser, step budget, number of trainings and so on.
        seed: of the run.
        device: where to train.
        keep_weights: keep the weights of every training, and not only the best classifier.
    """

    folder: ArmFolder
    data: TrainingData
    held_out: HeldOut
    settings: CompareSettings
    seed: int
    device: str
    keep_weights: bool = True

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each training."""
        return seeds_of(self.seed, self.settings.num_seeds)

    @cached_property
    def jobs(self) -> list[SeedTraining]:
        """The trainings that have no record yet.

        Raises:
            InputError: for an unknown arm, for a record that was made with other data, and as
                :meth:`understudy.training.data.HeldOut.check`.
        """
        find_arm(self.folder.arm, self.settings)  # an unknown name is an error even if every record exists
        self.held_out.check(self.data.train.class_names)
        missing = [index for index in range(len(self.seeds)) if not self.folder.record(index).exists()]
        for index in set(range(len(self.seeds))).difference(missing):
            self.folder.read(index, seed=self.seeds[index], test=self.held_out.test)
        data = with_trained_teacher(self.data, self.folder.arm, self.settings) if missing else self.data
        return [
            SeedTraining(
                folder=self.folder,
                index=index,
                data=data,
                held_out=self.held_out,
                settings=self.settings,
                seed=self.seeds[index],
                device=self.device,
            )
            for index in missing
        ]

    @property
    def steps_done(self) -> int:
        """Optimisation steps of the trainings that have a record."""
        found = [
            self.folder.read(index, seed=seed, test=self.held_out.test)
            for index, seed in enumerate(self.seeds)
            if self.folder.record(index).exists()
        ]
        return sum(int(record["steps"]) for record in found)

    def result(self) -> ArmResult:
        """What the arm reached, once all its jobs are done; also writes the best classifier.

        The best classifier has the highest validation accuracy; among equals it is the first.

        Raises:
            InputError: for a record that is missing, damaged or made with other data.
        """
        result = self.folder.result(self.seeds, self.held_out.test)
        best = self.folder.weights(int(np.argmax(result.val_accuracy)))
        if best.exists() and not self.folder.is_best(best):
            backbone = build_backbone(self.settings, self.data.train.num_classes, rng_seed=0)
            classifier = TrainedClassifier(backbone, self.data.train.class_names).with_weights(best)
            classifier.save(self.folder.classifier)
        if not self.keep_weights:
            for index in range(len(self.seeds)):
                self.folder.weights(index).unlink(missing_ok=True)
        return result
