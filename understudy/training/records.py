"""The files of an arm: records, weights, the best classifier, tuning trials; and the result of an arm."""

from __future__ import annotations

import filecmp
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.files import read_arrays
from understudy.core.listing import listed
from understudy.data.image_groups import groups_of
from understudy.data.labelled_set import LabelledSet
from understudy.training.classifier import TrainedClassifier


def seeds_of(seed: int, num_seeds: int) -> tuple[int, ...]:
    """The seed of each training of an arm, from the seed of the run; the same for all arms.

    Example:
        >>> seeds_of(2, 3)
        (2000, 2001, 2002)
    """
    return tuple(seed * 1000 + index for index in range(num_seeds))


@final
@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """The results of an arm on real test images.

    Attributes:
        arm: its name.
        seeds: the seed of each training.
        probabilities: predicted probabilities on the test set, float (num_seeds, N, num_classes).
        labels: true labels of the test set, int64 (N,).
        val_accuracy: accuracy on validation images per seed; it chooses between arms, or
            ``val_balanced_accuracy`` does, if the verdict is about balanced accuracy.
        val_loss: mean negative log probability of the true class on validation images, per seed.
        seconds: training time of all seeds together.
        steps: optimisation steps of a training.
        histories: per seed, ``curve`` along the training, figures at the ends of ``phases``, and
            ``micro_batch``, the number of images computed at once.
        val_balanced_accuracy: per seed; empty if a training was recorded without it.
        val_balanced_accuracy_standard_error: of one training, per seed; empty if one was recorded without it.
        groups: group of each test image, such as its patient, int64 (N,); None if images have no groups.
    """

    arm: str
    seeds: tuple[int, ...]
    probabilities: np.ndarray
    labels: np.ndarray
    val_accuracy: tuple[float, ...]
    val_loss: tuple[float, ...]
    seconds: float
    steps: int
    histories: tuple[Mapping[str, Any], ...]
    val_balanced_accuracy: tuple[float, ...] = ()
    val_balanced_accuracy_standard_error: tuple[float, ...] = ()
    groups: np.ndarray | None = None

    @classmethod
    def from_records(cls, arm: str, records: Sequence[Mapping[str, np.ndarray]], test: LabelledSet) -> Self:
        """Join the records of all trainings of an arm, which were tested on ``test``."""

        def if_all_have(name: str) -> tuple[float, ...]:
            """The figure of every training; empty if an older version recorded one of them without it."""
            has = all(name in record for record in records)
            return tuple(float(record[name]) for record in records) if has else ()

        return cls(
            arm=arm,
            seeds=tuple(int(record["seed"]) for record in records),
            probabilities=np.stack([record["probabilities"] for record in records]),
            labels=test.labels,
            val_accuracy=tuple(float(record["val_accuracy"]) for record in records),
            val_loss=tuple(float(record["val_loss"]) for record in records),
            seconds=sum(float(record["seconds"]) for record in records),
            steps=int(records[0]["steps"]),
            histories=tuple(json.loads(str(record["history"])) for record in records),
            val_balanced_accuracy=if_all_have("val_balanced_accuracy"),
            val_balanced_accuracy_standard_error=if_all_have("val_balanced_accuracy_standard_error"),
            groups=groups_of(test),
        )

    @property
    def predicted(self) -> np.ndarray:
        """The class that each training predicts for each test image, int64 (num_seeds, N)."""
        return np.asarray(self.probabilities.argmax(axis=-1))

    @property
    def correct(self) -> np.ndarray:
        """Whether each training is right about each test image, bool (num_seeds, N)."""
        return np.asarray(self.predicted == self.labels)


@final
@dataclass(frozen=True)
class ArmFolder:
    """The files of one arm.

    ::

        NAME-seedI.npz            record of training I: predictions on test images, figures, history
        NAME-seedI.safetensors    its weights
        NAME-classifier/          the classifier with the best validation accuracy, in timm's format
        NAME-trialI.json          tuning trial I

    Attributes:
        path: the folder; it is made with the first file.
        arm: name of the arm.
    """

    path: Path
    arm: str

    @property
    def classifier(self) -> Path:
        """Folder of the best classifier."""
        return self.path / f"{self.arm}-classifier"

    def record(self, index: int) -> Path:
        """File with the results of training ``index``."""
        return self.path / f"{self.arm}-seed{index}.npz"

    def weights(self, index: int) -> Path:
        """File with the weights of training ``index``."""
        return self.path / f"{self.arm}-seed{index}.safetensors"

    def trial(self, index: int) -> Path:
        """File with the results of tuning trial ``index``."""
        return self.path / f"{self.arm}-trial{index}.json"

    def files(self, num_seeds: int) -> list[Path]:
        """All files of the trainings: the best classifier, then weights and record of each one."""
        kept = [path for path in sorted(self.classifier.rglob("*")) if path.is_file()]
        return kept + [
            path for index in range(num_seeds) for path in (self.weights(index), self.record(index))
        ]

    def has_records(self, num_seeds: int) -> bool:
        """Whether every training has its record; users can delete records after the run."""
        return all(self.record(index).is_file() for index in range(num_seeds))

    def read(self, index: int, *, seed: int, test: LabelledSet) -> dict[str, np.ndarray]:
        """The record of a training.

        Args:
            index: number of the training.
            seed: the seed that the training should have.
            test: the test set that was predicted.

        Raises:
            InputError: if the record is from an older version, or belongs to another seed or other data.
        """
        path, shape = self.record(index), (len(test), test.num_classes)
        record = read_arrays(path)
        if "history" not in record:
            raise InputError(f"{path} was written by an older version of understudy: use another folder")
        if int(record["seed"]) != seed or record["probabilities"].shape != shape:
            raise InputError(
                f"{path} must hold a training with seed {seed} and probabilities of shape {shape}, got seed "
                f"{record['seed']} and {record['probabilities'].shape}, so it was made with other data: use "
                "another folder"
            )
        return record

    def result(self, seeds: Sequence[int], test: LabelledSet) -> ArmResult:
        """Read the results of the arm from its records.

        Raises:
            InputError: as :meth:`read`, and if a record is missing or damaged.
        """
        records = [self.read(index, seed=seed, test=test) for index, seed in enumerate(seeds)]
        return ArmResult.from_records(self.arm, records, test)

    def is_best(self, weights: Path) -> bool:
        """Whether the best classifier is on disk and has the weights in this file."""
        kept = self.classifier / "model.safetensors"
        is_whole = kept.is_file() and (self.classifier / "config.json").is_file()
        return is_whole and filecmp.cmp(kept, weights, shallow=False)

    def check_weights(self, num_seeds: int) -> None:
        """Check that every training can be loaded.

        Raises:
            InputError: naming the trainings without weights.
        """
        missing = listed([str(index) for index in range(num_seeds) if not self.weights(index).is_file()])
        if missing:
            raise InputError(
                f"{self.path} must hold the weights of all {num_seeds} trainings of the arm {self.arm!r}, "
                f"but the weights of {missing} are missing: either they were removed, or an older version of "
                "understudy trained the arm; use a new folder"
            )

    def trainings(self, num_seeds: int, *, device: str = "cpu") -> list[TrainedClassifier]:
        """Every training of the arm, in the order of the seeds, on ``device``.

        Raises:
            InputError: if the folder does not hold the arm, or if weights are missing or do not fit.
        """
        best = TrainedClassifier.load(self.classifier, device=device)
        self.check_weights(num_seeds)
        return [best.with_weights(self.weights(index)) for index in range(num_seeds)]
