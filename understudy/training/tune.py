"""Learning rate and weight decay of an arm, chosen on validation images."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from understudy.core.errors import InputError
from understudy.core.files import write_json
from understudy.data.labelled_set import LabelledSet
from understudy.training.classifier import TrainedClassifier, accuracy_and_loss
from understudy.training.fit import fit_arm
from understudy.training.guides import Teacher
from understudy.training.loop import DivergedError, Step
from understudy.training.settings import CompareSettings, TuneSettings

Trial = dict[str, Any]
_SEED_OFFSET = 500  # seeds of trials are none of those that are compared


def tune_arm(
    name: str,
    *,
    train: LabelledSet,
    synthetic: LabelledSet | None,
    val: LabelledSet,
    settings: CompareSettings,
    tune: TuneSettings,
    seed: int,
    device: str,
    folder: Path,
    on_step: Callable[[Step], Any] | None = None,
    quota: np.ndarray | None = None,
    teacher: Teacher | None = None,
) -> list[Trial]:
    """Train an arm with every pair of learning rate and weight decay.

    Writes ``folder/NAME-trialI.json`` when trial I is measured; trials that are there already are not repeated.

    Args:
        name: of an arm.
        train: as for :func:`understudy.training.fit.fit_arm`.
        synthetic: as there.
        val: real images that choose.
        settings: the recipe, whose learning rate and weight decay are replaced.
        tune: values to try, and trainings behind each trial.
        seed: of the run.
        device: where to train.
        folder: where records go; made if missing.
        on_step: told of each step of the trials that are not there yet.
        quota: as for :func:`understudy.training.fit.fit_arm`.
        teacher: as there.

    Returns:
        The trials, each with ``learning_rate``, ``weight_decay``, ``val_accuracy`` and ``val_loss`` (means over trainings; 0 and None
        for one that diverged).

    Raises:
        InputError: as :func:`understudy.training.fit.fit_arm`, and if ``val`` is not the validation split.
    """
    val.require("val", purpose="tuning a classifier")
    trials: list[Trial] = []
    for index, (learning_rate, weight_decay) in enumerate(pairs(settings, tune)):
        path = folder / f"{name}-trial{index}.json"
        if not path.exists():
            chosen: Trial = {"learning_rate": learning_rate, "weight_decay": weight_decay}
            fit = partial(
                fit_arm, name, train=train, synthetic=synthetic, settings=settings.model_copy(update=chosen), device=device,
                watch=None if on_step is None else lambda step, classifier: on_step(step), quota=quota, teacher=teacher,
            )  # fmt: skip
            write_json(path, chosen | _measured(fit, val, [seed * 1000 + _SEED_OFFSET + number for number in range(tune.num_seeds)]))
        trials.append(dict(json.loads(path.read_text(encoding="utf-8"))))
    return trials


def _measured(fit: Callable[..., TrainedClassifier], val: LabelledSet, seeds: list[int]) -> Trial:
    """Means over trainings; a rate at which one of them diverges is no candidate, and no reason to stop."""
    try:
        figures = [accuracy_and_loss(fit(seed=seed), val) for seed in seeds]
    except DivergedError:
        return {"val_accuracy": 0.0, "val_loss": None}
    accuracy, loss = np.mean(figures, axis=0).tolist()
    return {"val_accuracy": accuracy, "val_loss": loss}


def pairs(settings: CompareSettings, tune: TuneSettings) -> list[tuple[float, float]]:
    """Every pair of learning rate and weight decay to try, the same for all arms.

    Example:
        >>> pairs(CompareSettings(weight_decay=0.1), TuneSettings(learning_rates=(1e-3, 4e-3)))
        [(0.001, 0.1), (0.004, 0.1)]
    """
    rates, decays = tune.learning_rates or (settings.learning_rate,), tune.weight_decays or (settings.weight_decay,)
    return list(itertools.product(rates, decays))


def best_trial(trials: list[Trial]) -> Trial:
    """The trial with the highest validation accuracy; of equals, that with the lowest validation loss.

    Raises:
        InputError: if there is none, or all have diverged.

    Example:
        >>> best_trial([{"val_accuracy": 0.9, "val_loss": 0.4}, {"val_accuracy": 0.9, "val_loss": 0.3}])["val_loss"]
        0.3
    """
    finished = [(trial["val_accuracy"], -loss, trial) for trial in trials if (loss := trial["val_loss"]) is not None]
    if not finished:
        raise InputError(f"there must be a trial to choose from, got {len(trials)} that diverged: lower tune.learning_rates")
    return max(finished, key=lambda entry: entry[:2])[2]
