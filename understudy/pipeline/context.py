"""A run in progress: its folder, its images, and the objects that its stages share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from understudy.core import progress
from understudy.core.errors import InputError
from understudy.core.executors.executor import Terms
from understudy.core.files import content_of
from understudy.core.provenance import environment
from understudy.data.image_kind import ImageKind, look_at
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits, load_splits
from understudy.evaluation.encoders import Encoder, auto_encoder, load_encoder
from understudy.evaluation.feature_cache import FeatureCache
from understudy.generators.generator import Generator
from understudy.pipeline.checks import check_fits
from understudy.pipeline.classifiers import Classifiers
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.generators import Generators
from understudy.pipeline.kept_files import kept_templates
from understudy.pipeline.needed_files import needed_by_jobs
from understudy.pipeline.synthetic import CuratedSet, SyntheticSets
from understudy.settings import Settings
from understudy.training.arms import find_arm
from understudy.training.data import Measure, TrainingData
from understudy.training.run import ArmTraining
from understudy.training.settings import CompareSettings


@final
@dataclass
class Run:
    """The objects that the stages of a run share, each loaded or made when it is first used.

    Attributes:
        folder: the run folder, with the settings.
        device: torch device.
        observer: receives messages, progress and figures; by default nobody does.
        started: when this object was made, by ``time.monotonic``.
    """

    folder: RunFolder
    device: str
    observer: progress.Recorder = field(default_factory=progress.Silent)
    started: float = field(default_factory=time.monotonic)
    _contents: dict[Path, dict[str, Any]] = field(default_factory=dict, init=False, repr=False)

    @property
    def path(self) -> Path:
        return self.folder.path

    @property
    def settings(self) -> Settings:
        return self.folder.settings

    @property
    def terms(self) -> Terms:
        """What the executor of this run needs to know."""
        return Terms(
            root=self.path.absolute(),
            compute=self.settings.compute,
            device=self.device,
            memory=self.settings.data.memory,
            needs=needed_by_jobs(self.settings, self.path.absolute()),
            say=self.observer.say,
        )

    def recorded(self, stage: str) -> dict[str, Any]:
        """The record of a stage that is finished.

        Raises:
            InputError: if the record is damaged or was removed.
        """
        record = self.folder.record(stage)
        if record is None:
            raise InputError(
                f"{self.path}/stages lacks the record of {stage}: go on with 'understudy run {self.path}'"
            )
        return record

    def content_of(self, path: Path) -> dict[str, Any]:
        """What :func:`understudy.core.files.content_of` found when it was first called for this path."""
        if path not in self._contents:
            self._contents[path] = content_of(path)
        return self._contents[path]

    @contextmanager
    def measurement(self, name: str) -> Iterator[dict[str, Any]]:
        """Do a stage that can be added to a finished run; its record also holds settings and environment.

        If it was done with other settings, the observer is told which figures leave the results.
        """
        section: Any = getattr(self.settings, name)
        earlier = self.folder.record(name) or {}
        if lines := section.replaced(earlier.get("settings", {})):
            self.observer.say(
                f"{name}: its settings have changed since it was measured ({'; '.join(lines)}), so its "
                "figures are replaced in results.json and in the report"
            )
        with self.folder.stage(name) as record:
            record |= {"settings": section.model_dump(mode="json"), "environment": environment(self.device)}
            yield record

    # The real images

    @cached_property
    def splits(self) -> Splits:
        """The real images, read, split and checked against the settings."""
        splits = load_splits(self.settings.data, seed=self.settings.seed, observer=self.observer)
        check_fits(self.settings, splits, device=self.device)
        return splits

    @cached_property
    def train(self) -> LabelledSet:
        return self._stored("train")

    @cached_property
    def val(self) -> LabelledSet:
        return self._stored("val")

    @cached_property
    def test(self) -> LabelledSet:
        return self._stored("test")

    @cached_property
    def spare(self) -> LabelledSet | None:
        """A second real set as large as the train split, used only for the noise floor of the gap."""
        return self._stored("spare") if (self.path / "data" / "spare.parquet").exists() else None

    @property
    def prompt_names(self) -> tuple[str, ...]:
        """The words that stand for each class in prompts."""
        return tuple(self.recorded("load")["prompt_names"])

    def _stored(self, name: str) -> LabelledSet:
        return LabelledSet.load(self.path / "data" / f"{name}.parquet")

    # The objects that stages share

    @cached_property
    def generators(self) -> Generators:
        return Generators(
            folder=self.path / "adapter",
            settings=self.settings,
            train=self.train,
            val=self.val,
            prompt_names=self.prompt_names,
            drew=(self.folder.record("draw") or {}).get("generator"),
            templates=kept_templates(self.settings, self.path),
            feature_cache=self.path / "data" / "features.safetensors",
            device=self.device,
            observer=self.observer,
        )

    @cached_property
    def classifiers(self) -> Classifiers:
        return Classifiers(
            folder=self.path / "arms",
            settings=self.settings,
            train=self.train,
            val=self.val,
            test=self.test,
            prompt_names=self.prompt_names,
            device=self.device,
            terms=self.terms,
        )

    @cached_property
    def sets(self) -> SyntheticSets:
        return SyntheticSets(
            folder=self.path / "synthetic",
            settings=self.settings,
            train=self.train,
            val=self.val,
            generators=self.generators,
            classifiers=self.classifiers,
            observer=self.observer,
            terms=self.terms,
        )

    @property
    def curated(self) -> LabelledSet:
        """The curated synthetic images that arms share."""
        return self.sets.curated

    @cached_property
    def image_kind(self) -> ImageKind:
        """What the real images show, as the stage load found; runs of earlier versions look again."""
        found: ImageKind | None = self.recorded("load").get("image_kind")
        return found or look_at(self.train).kind

    @cached_property
    def encoder(self) -> Encoder | None:
        """The network whose features fidelity and memorisation compare; None if none knows photographs."""
        settings, name = self.settings, self.settings.fidelity.encoder
        generator: Callable[[], Generator] = lambda: self.generators.main  # noqa: E731
        start = (lambda: self.classifiers.start) if settings.compare.pretrained else None
        if name == "auto":
            # Fidelity of an earlier version may have chosen otherwise; memorisation then goes on with that.
            measured = (self.folder.record("fidelity") or {}).get("fidelity", {}).get("encoder", {})
            are_photographs = self.image_kind == "photographs"
            chosen = measured.get("name") or auto_encoder(
                self.image_kind,
                # The bundled networks know characters alone.
                generator=None if are_photographs and settings.generator.name == "mini" else generator,
                start=None if are_photographs and settings.compare.backbone == "mini" else start,
            )
            if chosen is None:
                return None
            name = chosen
        return load_encoder(name, generator=generator, start=start, device=self.device)

    def features(self, data: LabelledSet) -> np.ndarray:
        """Features of images, float32 (N, D); each image is encoded once per run folder.

        Raises:
            ValueError: if there is no :attr:`encoder`.
        """
        if self.encoder is None:
            raise ValueError("features need an encoder")
        return FeatureCache(self.path).features(self.encoder, data)

    # Arms

    @property
    def arms(self) -> list[str]:
        """The arms to compare, ``real`` first; without curated images, only arms that use none."""
        compare = self.settings.compare
        return [
            name
            for name in compare.all_arms
            if len(self.curated) or not find_arm(name, compare).uses_synthetic
        ]

    @cached_property
    def train_and_val(self) -> LabelledSet:
        """All labelled images but the test images, as train images."""
        return LabelledSet.concatenate([self.train, self.val.with_split("train")])

    def training_data(
        self, arm: str, *, train: LabelledSet | None = None, images: CuratedSet | None = None
    ) -> TrainingData:
        """The images that an arm learns from: by default its real and its synthetic images."""
        images = self.sets.of_arm(arm) if images is None else images
        if train is None:
            train = self.train_and_val if self._uses_val(arm) else self.train
        return TrainingData(
            train=train,
            synthetic=images.images,
            quota=images.quota,
            teacher=lambda: self.classifiers.judge,
        )

    def training_settings(self, arm: str) -> CompareSettings:
        """The settings that an arm is trained with, after tuning it if that has not been done yet."""
        if not self.settings.tune.is_on:
            return self.settings.compare
        return self.classifiers.tuned(arm, self.training_data(arm))

    def training(
        self,
        arm: str,
        place: str = "",
        *,
        train: LabelledSet | None = None,
        images: CuratedSet | None = None,
        tuned_as: str | None = None,
        measure: Measure | None = None,
    ) -> ArmTraining:
        """An arm to train with every seed; each training is tested once.

        Args:
            arm: its name.
            place: folder below ``arms/``; empty for the compared arms.
            train: real images; by default the train images, and the validation images if the arm uses them.
            images: synthetic images; by default those of the arm.
            tuned_as: the arm whose tuned settings are used; by default ``arm``.
            measure: computes figures of the classifier at the end of phases.
        """
        data = self.training_data(arm, train=train, images=images)
        settings = self.training_settings(tuned_as or find_arm(arm, self.settings.compare).without_val)
        if self._uses_val(arm):  # a curve on images that it learns from would mislead
            settings = settings.model_copy(update={"curve_points": 0})
        return self.classifiers.training(arm, place, data, settings=settings, measure=measure)

    def _uses_val(self, arm: str) -> bool:
        return find_arm(arm, self.settings.compare).uses_val

    def steps(self, arm: str) -> int:
        """Optimisation steps of all trainings of an arm together."""
        return self.classifiers.steps(arm, num_synthetic=len(self.curated))
