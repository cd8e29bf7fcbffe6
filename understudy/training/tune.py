"""Learning rate and weight decay of an arm, chosen on validation images."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np

from understudy.core.errors import InputError
from understudy.core.files import write_json
from understudy.data.labelled_set import LabelledSet
from understudy.training.classifier import accuracy_and_loss
from understudy.training.data import TrainingData
from understudy.training.fit import fit_steps
from understudy.training.loop import DivergedError, Steps
from understudy.training.records import ArmFolder
from understudy.training.settings import CompareSettings, TuneSettings

Trial = dict[str, Any]
_SEED_OFFSET = 500  # keeps the seeds of trials apart from the seeds of the compared trainings


def tune_arm(
    folder: ArmFolder,
    data: TrainingData,
    val: LabelledSet,
    *,
    settings: CompareSettings,
    tune: TuneSettings,
    seed: int,
    device: str,
) -> Steps[list[Trial]]:
    """Train an arm with every pair of learning rate and weight decay; recorded trials are not repeated.

    Args:
        folder: names the arm, and takes the records of its trials.
        data: the images that the arm learns from.
        val: real images on which the best trial is chosen.
        settings: of the arm; their learning rate and weight decay are replaced.
        tune: values to try, and number of trainings per trial.
        seed: of the run.
        device: where to train.

    Yields:
        The last step of each training of the trials that have no record yet.

    Returns:
        The trials, each with ``learning_rate``, ``weight_decay``, ``val_accuracy`` and ``val_loss``. The last
        two are means over the trainings, or 0 and None if one of the trainings diverged.

    Raises:
        InputError: as :func:`understudy.training.fit.fit_steps`, and if ``val`` is not the validation split.
    """
    val.check_split("val", purpose="tuning a classifier")
    seeds = [seed * 1000 + _SEED_OFFSET + number for number in range(tune.num_seeds)]
    trials: list[Trial] = []
    for index, (learning_rate, weight_decay) in enumerate(pairs(settings, tune)):
        path = folder.trial(index)
        if not path.exists():
            chosen: Trial = {"learning_rate": learning_rate, "weight_decay": weight_decay}
            figures: list[tuple[float, float]] = []
            try:
                for training_seed in seeds:
                    tried = settings.model_copy(update=chosen)
                    for step in fit_steps(
                        folder.arm, data, settings=tried, seed=training_seed, device=device
                    ):
                        if step.step == step.of:
                            yield step
                    figures.append(accuracy_and_loss(step.classifier, val))
            except DivergedError:  # this pair cannot win, but the search goes on
                chosen |= {"val_accuracy": 0.0, "val_loss": None}
            else:
                chosen |= dict(
                    zip(("val_accuracy", "val_loss"), np.mean(figures, axis=0).tolist(), strict=True)
                )
            write_json(path, chosen)
        trials.append(dict(json.loads(path.read_text(encoding="utf-8"))))
    return trials


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
