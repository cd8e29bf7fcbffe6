"""Learning rate and weight decay of an arm, chosen on validation images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.executors.job import Job
from understudy.core.files import REMOVE, read_json, write_json
from understudy.data.labelled_set import LabelledSet
from understudy.training.classifier import accuracy_and_loss
from understudy.training.data import TrainingData
from understudy.training.fit import fit_steps
from understudy.training.guides import with_trained_teacher
from understudy.training.loop import DivergedError
from understudy.training.records import ArmFolder
from understudy.training.settings import CompareSettings, TuneSettings

Trial = dict[str, Any]
_SEED_OFFSET = 500  # keeps the seeds of trials apart from the seeds of the compared trainings


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TrialTraining(Job):
    """The trainings of a trial, one per seed, whose file is the record of the trial.

    Attributes:
        folder: which arm, and where its trials are recorded.
        index: number of the trial.
        data: what the arm learns from.
        val: real images that choose.
        settings: of the arm, with the learning rate and weight decay of the trial.
        seeds: of the trainings.
        device: where to train.
    """

    folder: ArmFolder
    index: int
    data: TrainingData
    val: LabelledSet
    settings: CompareSettings
    seeds: tuple[int, ...]
    device: str

    @property
    def name(self) -> str:
        return f"trial {self.index} of {self.folder.arm}"

    @property
    def is_done(self) -> bool:
        """Whether the trial has its record."""
        return self.folder.trial(self.index).exists()

    def steps(self) -> Iterator[int]:
        """Train and measure, and write the record; yields 1 for the last step of each training, else 0.

        Raises:
            InputError: as :func:`understudy.training.fit.fit_steps`.
        """
        trial: Trial = {name: getattr(self.settings, name) for name in ("learning_rate", "weight_decay")}
        figures: list[tuple[float, float]] = []
        try:
            for seed in self.seeds:
                for step in fit_steps(
                    self.folder.arm, self.data, settings=self.settings, seed=seed, device=self.device
                ):
                    yield int(step.step == step.of)
                figures.append(accuracy_and_loss(step.classifier, self.val))
        except DivergedError:  # this pair cannot win, but the search goes on
            trial |= {"val_accuracy": 0.0, "val_loss": None}
        else:
            means = np.mean(figures, axis=0).tolist()
            trial |= dict(zip(("val_accuracy", "val_loss"), means, strict=True))
        write_json(self.folder.trial(self.index), trial)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ArmTuning:
    """An arm trained with every pair of learning rate and weight decay.

    Attributes:
        folder: which arm, and where its trials are recorded.
        data: what the arm learns from.
        val: real images that choose.
        settings: of the arm; their learning rate and weight decay are replaced.
        tune: values to try, and number of trainings per trial.
        seed: of the run.
        device: where to train.
    """

    folder: ArmFolder
    data: TrainingData
    val: LabelledSet
    settings: CompareSettings
    tune: TuneSettings
    seed: int
    device: str

    @cached_property
    def jobs(self) -> list[TrialTraining]:
        """The trials that have no record yet.

        Raises:
            InputError: if ``val`` is not the validation split.
        """
        self.val.check_split("val", purpose="tuning a classifier")
        first = self.seed * 1000 + _SEED_OFFSET
        tried = list(enumerate(pairs(self.settings, self.tune)))
        missing = [(index, pair) for index, pair in tried if not self.folder.trial(index).exists()]
        data = with_trained_teacher(self.data, self.folder.arm, self.settings) if missing else self.data
        return [
            TrialTraining(
                folder=self.folder,
                index=index,
                data=data,
                val=self.val,
                settings=self.settings.model_copy(update={"learning_rate": rate, "weight_decay": decay}),
                seeds=tuple(range(first, first + self.tune.num_seeds)),
                device=self.device,
            )
            for index, (rate, decay) in missing
        ]

    def trials(self) -> list[Trial]:
        """The trials, once all jobs are done.

        Returns:
            For each ``learning_rate``, ``weight_decay``, ``val_accuracy`` and ``val_loss``: means over the
            trainings, or 0 and None if one of them diverged.
        """
        paths = [self.folder.trial(index) for index in range(len(pairs(self.settings, self.tune)))]
        return [read_json(path, mend=REMOVE, keys=("val_accuracy", "val_loss")) for path in paths]


def num_trials(settings: CompareSettings, tune: TuneSettings) -> int:
    """Trainings of each arm."""
    return len(pairs(settings, tune)) * tune.num_seeds


def pairs(settings: CompareSettings, tune: TuneSettings) -> list[tuple[float, float]]:
    """All pairs of learning rate and weight decay to try; the same for all arms.

    Example:
        >>> pairs(CompareSettings(weight_decay=0.1), TuneSettings(learning_rates=(1e-3, 4e-3)))
        [(0.001, 0.1), (0.004, 0.1)]
    """
    rates = tune.learning_rates or (settings.learning_rate,)
    decays = tune.weight_decays or (settings.weight_decay,)
    return list(itertools.product(rates, decays))


def best_trial(trials: list[Trial]) -> Trial:
    """The trial with the highest validation accuracy; of several equal ones, the one with the lowest loss.

    Raises:
        InputError: if there are no trials, or if all of them diverged.

    Example:
        >>> best_trial([{"val_accuracy": 0.9, "val_loss": loss} for loss in (0.4, 0.3)])["val_loss"]
        0.3
    """
    finished = [
        (trial["val_accuracy"], -loss, trial) for trial in trials if (loss := trial["val_loss"]) is not None
    ]
    if not finished:
        raise InputError(
            f"at least one trial must finish, got {len(trials)} that diverged: lower tune.learning_rates"
        )
    return max(finished, key=lambda entry: entry[:2])[2]
