"""The classifiers of a run: the judge of drawn images, the network that arms start from, the trained arms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np

from understudy.core.progress import follow
from understudy.curation.scores import Classifier
from understudy.data.labelled_set import LabelledSet
from understudy.generators.zero_shot import load_zero_shot
from understudy.settings import Settings
from understudy.training.arms import find_arm
from understudy.training.backbones import build_backbone, pretrained_classifier
from understudy.training.classifier import TrainedClassifier
from understudy.training.data import HeldOut, Measure, TrainingData
from understudy.training.fit import fit_arm
from understudy.training.loop import Steps
from understudy.training.records import ArmFolder, ArmResult
from understudy.training.run import run_arm
from understudy.training.settings import CompareSettings
from understudy.training.tune import Trial, best_trial, tune_arm

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
    """

    folder: Path
    settings: Settings
    train: LabelledSet
    val: LabelledSet
    test: LabelledSet
    prompt_names: tuple[str, ...]
    device: str

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
        classifier = self._fit("synthetic", synthetic)
        wrong = classifier.predict(self.val).argmax(axis=1) != self.val.labels
        return np.bincount(self.val.labels[wrong], minlength=self.val.num_classes)

    def tuned(self, arm: str, data: TrainingData) -> CompareSettings:
        """The settings of an arm with its tuned learning rate and weight decay."""
        chosen = best_trial(follow(self.tune(arm, data)))
        rates = {key: chosen[key] for key in ("learning_rate", "weight_decay")}
        return self.settings.compare.model_copy(update=rates)

    def tune(self, arm: str, data: TrainingData) -> Steps[list[Trial]]:
        """Try every pair of learning rate and weight decay; trials on disk are kept."""
        return tune_arm(
            ArmFolder(self.folder / "tuning", arm),
            data,
            self.val,
            settings=self.settings.compare,
            tune=self.settings.tune,
            seed=self.settings.seed,
            device=self.device,
        )

    def run(
        self,
        arm: str,
        place: str,
        data: TrainingData,
        *,
        settings: CompareSettings,
        measure: Measure | None = None,
    ) -> Steps[ArmResult]:
        """Train an arm with every seed and test it; finished trainings in ``arms/PLACE`` are kept."""
        return run_arm(
            ArmFolder(self.folder / place, arm),
            data,
            HeldOut(val=self.val, test=self.test, measure=measure),
            settings=settings,
            seed=self.settings.seed,
            device=self.device,
            keep_weights=not place,  # later stages test the compared arms again, so their weights are kept
        )

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
