"""The classifiers of a run: the judge of drawn images, the network that arms start from, the trained arms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np

from understudy.core.executors.do import do_jobs
from understudy.core.executors.executor import Terms
from understudy.curation.scores import Classifier
from understudy.data.labelled_set import LabelledSet
from understudy.generators.zero_shot import load_zero_shot
from understudy.settings import Settings
from understudy.training.arms import find_arm
from understudy.training.backbones import build_backbone, pretrained_classifier
from understudy.training.classifier import TrainedClassifier
from understudy.training.data import HeldOut, Measure, TrainingData
from understudy.training.fit import fit_arm
from understudy.training.records import ArmFolder
from understudy.training.run import ArmTraining
from understudy.training.settings import CompareSettings
from understudy.training.tune import ArmTuning, Trial, best_trial

_JUDGE_SEED_OFFSET = 777_000  # the judge of drawn images is not one of the compared classifiers


@final
@dataclass(frozen=True, kw_only=True)
class Classifiers:
    """Trains and loads the classifiers of a run.

    Attributes:
        folder: ``arms`` in the run folder.
        settings: of the run.
        train, val, test: real images.
        prompt_names: words for each class, for CLIP.
        device: torch device.
        terms: of the executor that trains arms.
    """

    folder: Path
    settings: Settings
    train: LabelledSet
    val: LabelledSet
    test: LabelledSet
    prompt_names: tuple[str, ...]
    device: str
    terms: Terms

    @cached_property
    def judge(self) -> TrainedClassifier:
        """The classifier trained on real train images alone; it scores drawn images and gives soft labels."""
        return self._fit("real", None)

    @cached_property
    def clip(self) -> Classifier:
        """CLIP, which scores drawn images by the class names, without any training."""
        return load_zero_shot(
            self.settings.curate.clip,
            self.settings.generator,
            class_names=self.train.class_names,
            prompt_names=self.prompt_names,
            device=self.device,
        )

    @cached_property
    def start(self) -> TrainedClassifier:
        """The untrained network that every arm starts from, with pretrained or random weights."""
        settings = self.settings.compare
        backbone = pretrained_classifier(settings) or build_backbone(
            settings, self.train.num_classes, rng_seed=self.settings.seed
        )
        backbone.model.to(self.device)
        return TrainedClassifier(backbone, self.train.class_names, self.device)

    def features(self, data: LabelledSet) -> np.ndarray:
        """Features for selections, float (N, D): from the pretrained network if it is set, else the judge."""
        return (self.start if self.settings.compare.pretrained else self.judge).features(data)

    def mistakes_after(self, synthetic: LabelledSet) -> np.ndarray:
        """Train on synthetic images alone and count the wrong validation images, int64 (num_classes,)."""
        wrong = self.trained_on(synthetic).predict(self.val).argmax(axis=1) != self.val.labels
        return np.bincount(self.val.labels[wrong], minlength=self.val.num_classes)

    def trained_on(self, synthetic: LabelledSet) -> TrainedClassifier:
        """A classifier trained on synthetic images alone; it chooses images, and is not compared."""
        return self._fit("synthetic", synthetic)

    def tuned(self, arm: str, data: TrainingData) -> CompareSettings:
        """The settings of an arm with its tuned learning rate and weight decay."""
        chosen = best_trial(self.tune({arm: data})[arm])
        rates = {key: chosen[key] for key in ("learning_rate", "weight_decay")}
        return self.settings.compare.model_copy(update=rates)

    def tune(
        self, data: Mapping[str, TrainingData], advance: Callable[[int], object] = lambda amount: None
    ) -> dict[str, list[Trial]]:
        """Try every learning rate and weight decay with every arm; trials on disk are kept.

        Args:
            data: what each arm learns from, by its name.
            advance: called with the number of trainings that were finished.
        """
        tunings = {
            arm: ArmTuning(
                folder=ArmFolder(self.folder / "tuning", arm),
                data=data[arm],
                val=self.val,
                settings=self.settings.compare,
                tune=self.settings.tune,
                seed=self.settings.seed,
                device=self.device,
            )
            for arm in data
        }
        jobs = [job for tuning in tunings.values() for job in tuning.jobs]
        do_jobs(jobs, self.terms, advance=advance)
        return {arm: tuning.trials() for arm, tuning in tunings.items()}

    def training(
        self,
        arm: str,
        place: str,
        data: TrainingData,
        *,
        settings: CompareSettings,
        measure: Measure | None = None,
    ) -> ArmTraining:
        """An arm to train with every seed and to test; trainings found in ``arms/PLACE`` are kept."""
        return ArmTraining(
            folder=ArmFolder(self.folder / place, arm),
            data=data,
            held_out=HeldOut(val=self.val, test=self.test, measure=measure),
            settings=settings,
            seed=self.settings.seed,
            device=self.device,
            keep_weights=not place,  # later stages test the compared arms again, so their weights are kept
        )

    def train_arms(self, arms: Iterable[ArmTraining], advance: Callable[[int], object]) -> None:
        """Do all trainings of some arms.

        Args:
            arms: what is to be trained; its results can be read afterwards.
            advance: called with the number of steps that were done.
        """
        jobs = [job for arm in arms for job in arm.jobs]
        do_jobs(jobs, self.terms, advance=advance)

    def steps(self, arm: str, *, num_synthetic: int) -> int:
        """Optimisation steps of all trainings of an arm."""
        settings = self.settings.compare
        phases = find_arm(arm, settings).phase_steps(
            settings, num_real=len(self.train), num_synthetic=num_synthetic
        )
        return settings.num_seeds * sum(phases)

    def _fit(self, arm: str, synthetic: LabelledSet | None) -> TrainedClassifier:
        return fit_arm(
            arm,
            train=self.train,
            synthetic=synthetic,
            settings=self.settings.compare,
            seed=self.settings.seed + _JUDGE_SEED_OFFSET,
            device=self.device,
        )
