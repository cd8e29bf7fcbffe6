"""Train an arm with every seed; each training is measured and recorded."""

from __future__ import annotations

import json
import time

from understudy.core.files import write_arrays
from understudy.training.arms import find_arm
from understudy.training.classifier import accuracy_and_loss
from understudy.training.data import HeldOut, TrainingData
from understudy.training.fit import fit_steps
from understudy.training.history import History
from understudy.training.loop import Steps
from understudy.training.records import ArmFolder, ArmResult, seeds_of
from understudy.training.settings import CompareSettings


def run_arm(
    folder: ArmFolder,
    data: TrainingData,
    held_out: HeldOut,
    *,
    settings: CompareSettings,
    seed: int,
    device: str,
    keep_weights: bool = True,
) -> Steps[ArmResult]:
    """Train an arm once per seed, and measure and record each training.

    Trainings that have a record are not repeated. The best classifier is the one with the highest validation
    accuracy, and the first of several equal ones.

    Args:
        folder: names the arm, and takes its records.
        data: the images that the arm learns from.
        held_out: real images that choose the best classifier and measure each one.
        settings: backbone, optimiser, step budget, number of trainings and so on.
        seed: of the run.
        device: where to train.
        keep_weights: keep the weights of every training in addition to the best classifier.

    Yields:
        Each step of the trainings that have no record yet.

    Returns:
        The result of all trainings.

    Raises:
        InputError: as :func:`understudy.training.fit.fit_steps` and
            :meth:`understudy.training.data.HeldOut.check`, and if a record was made with other data.
    """
    arm = find_arm(folder.arm, settings)  # an unknown name is an error even if every record exists
    held_out.check(data.train.class_names)
    records, best = [], -1.0
    for index, training_seed in enumerate(seeds_of(seed, settings.num_seeds)):
        if not folder.record(index).exists():
            history, start = History(arm, held_out, points=settings.curve_points), time.monotonic()
            for step in fit_steps(arm, data, settings=settings, seed=training_seed, device=device):
                history.add(step)
                yield step
            seconds, classifier = time.monotonic() - start - history.seconds, step.classifier
            accuracy, loss = accuracy_and_loss(classifier, held_out.val)
            folder.save(index, classifier, is_best=accuracy > best, keep_weights=keep_weights)
            content = {
                "probabilities": classifier.predict(held_out.test),
                "val_accuracy": accuracy,
                "val_loss": loss,
                "seconds": seconds,
                "seed": training_seed,
                "steps": step.step,
                "history": json.dumps(history.content()),
            }
            write_arrays(folder.record(index), content)  # last: without a record, the training is repeated
        records.append(folder.read(index, seed=training_seed, test=held_out.test))
        best = max(best, float(records[-1]["val_accuracy"]))
    return ArmResult.from_records(folder.arm, records, held_out.test.labels)
