"""Estimated cost of a run: the work of every stage, multiplied by the measured pace of this machine."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import final

import numpy as np

from understudy.adaptation.fit import adapt
from understudy.adaptation.inputs import AdaptData
from understudy.adaptation.settings import AdaptSettings
from understudy.core.durations import rough_duration
from understudy.core.threads import one_thread
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits
from understudy.data.splits import take_share
from understudy.evaluation.shift import measure_corruption
from understudy.generators.generator import Generator, adaptable
from understudy.pipeline.run import STAGES
from understudy.pipeline.synthetic import LEAST_PASSING
from understudy.pipeline.work import Counted, Work
from understudy.settings import Settings
from understudy.training.classifier import TrainedClassifier
from understudy.training.data import TrainingData
from understudy.training.fit import fit_steps
from understudy.training.private import fit_private

_TIMED_STEPS = 4
_TIMED_IMAGES = 32
_MOST_IMAGES = 4096


@final
@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds for one unit of each kind of work, and bytes of an image and a classifier on disk.

    Attributes:
        adaptations: one adaptation of the generator; 0 if the generator is not adapted.
        images: drawing one image with the settings of the run.
        steps: one optimisation step of a classifier, divided by the number of trainings side by side.
        private_steps: one optimisation step of the differentially private reference; 0 without a reference.
        predictions: classifying one image.
        corruptions: reading and corrupting one test image; 0 if none is corrupted.
        image_bytes, classifier_bytes: bytes on disk.
    """

    adaptations: float
    images: float
    steps: float
    private_steps: float
    predictions: float
    corruptions: float
    image_bytes: float
    classifier_bytes: float

    def seconds(self, work: Work) -> float:
        """Seconds that the work takes."""
        return float(sum(getattr(work, unit.name) * getattr(self, unit.name) for unit in fields(work)))


@final
@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated time and disk space of a run.

    Attributes:
        seconds: by stage, for stages of the run that take noticeable time.
        images: synthetic images of the first round.
        images_per_second: measured.
        refills: images that are drawn in place of rejected ones.
        disk_mb: all synthetic images and the classifiers of compared arms, in megabytes.
        real_mb: the copy of the real images, in megabytes.
    """

    seconds: dict[str, float]
    images: int
    images_per_second: float
    disk_mb: float
    refills: int = 0
    real_mb: float = 0.0

    def rows(self, *, repeats: int = 1) -> list[tuple[str, str]]:
        """Rows of a table.

        Args:
            repeats: number of whole runs; each takes as long as the first, since they share no work.
        """
        total = sum(self.seconds.values())
        copy = f", {shown_megabytes(repeats * self.real_mb)} for a copy of the real ones" * bool(self.real_mb)
        drawn = {"draw": f" for {self.images} images at {self.images_per_second:.1f} images/s"}
        if self.refills:
            drawn["curate"] = f" with {self.refills} images in place of rejected ones"
        return [
            *(
                (stage, rough_duration(seconds) + drawn.get(stage, ""))
                for stage, seconds in self.seconds.items()
            ),
            ("total", rough_duration(total)),
            *([(f"{repeats} runs", rough_duration(repeats * total))] if repeats > 1 else []),
            ("disk", f"{shown_megabytes(repeats * self.disk_mb)} of synthetic images and classifiers{copy}"),
        ]


def shown_megabytes(megabytes: float) -> str:
    """Megabytes in words.

    Example:
        >>> shown_megabytes(12.34), shown_megabytes(123_456)
        ('12.3 MB', '123.5 GB')
    """
    return f"{megabytes:.1f} MB" if megabytes < 1000 else f"{megabytes / 1000:,.1f} GB"


def estimate(
    settings: Settings, splits: Splits, pace: Pace, *, strength: float, passing: float = 1.0
) -> Estimate:
    """Multiply the work of every stage by the pace; docs/concepts.md names the work that is not counted.

    Args:
        settings: of the run.
        splits: its real images.
        pace: measured.
        strength: noise that the timed images started from, 0 to 1.
        passing: share of the drawn images that are not rejected.

    Raises:
        InputError: if strategies or further test sets do not fit.
    """
    counted = Counted(settings=settings, splits=splits, strength=strength)
    seconds, first = dict[str, float](), 0
    for stage in STAGES:
        if stage.work is None or not stage.is_wanted(settings):
            continue
        needed = pace.seconds(stage.work(counted))
        if needed or stage.wanted is None:
            seconds[stage.name] = needed
        first = first or counted.num_images
    refills = round(first * _refilled(passing, settings.curate.max_refills))
    if refills:
        seconds["curate"] += refills * strength * pace.images
    # The weights of every training are kept, and those of the best one of each arm twice.
    kept = len(counted.arms) * (settings.compare.num_seeds + 1)
    return Estimate(
        seconds=seconds,
        images=first,
        images_per_second=1 / pace.images,
        disk_mb=((counted.num_images + refills) * pace.image_bytes + kept * pace.classifier_bytes) / 1e6,
        refills=refills,
        real_mb=sum(part.files.num_bytes for part in (splits.train, splits.val, splits.test)) / 1e6,
    )


def _refilled(passing: float, most: int) -> float:
    """Images drawn in ``most`` refills, per image of the first round, if this share of all passes."""
    drawn = 1.0
    for _ in range(most):
        drawn += max(0.0, 1 - passing * drawn) / max(passing, LEAST_PASSING)
    return drawn - 1


@final
@dataclass(frozen=True, kw_only=True)
class AdaptationPace:
    """Seconds for the parts of an adaptation.

    Attributes:
        step: an optimisation step.
        drawing: what a step that draws images takes in addition.
        validation: measuring the loss on validation images.
    """

    step: float = 0.0
    drawing: float = 0.0
    validation: float = 0.0

    def seconds(self, settings: AdaptSettings) -> float:
        """Seconds of a whole adaptation; 0 without adaptation."""
        if not settings.num_steps or settings.adapter is not None:
            return 0.0
        validations = 1 + settings.num_steps / settings.validate_every
        first = max(0, settings.steps - settings.distribution_steps)
        return (
            self.step * settings.num_steps
            + self.validation * validations
            + self.drawing * (settings.num_steps - first)
        )


def time_adaptation(generator: Generator, data: AdaptData, settings: Settings) -> AdaptationPace:
    """The pace of adaptation from a few steps; all 0 without adaptation."""
    if not settings.adapt.num_steps or settings.adapt.adapter is not None:
        return AdaptationPace()
    is_drawn = settings.adapt.draws_at(settings.adapt.steps - 1)  # then the last half of the timed steps is
    never = {
        "validate_every": 10**6,
        "checkpoint_every": 10**6,
        "distribution_steps": _TIMED_STEPS,
        "until": "steps",
    }
    short = settings.adapt.model_copy(update={"steps": (1 + is_drawn) * _TIMED_STEPS, **never})
    with tempfile.TemporaryDirectory() as folder:
        steps = adapt(
            adaptable(generator),
            data,
            settings=short,
            seed=settings.seed,
            folder=Path(folder),
            visual=settings.visual,
        )
        times = [time.monotonic() for _ in steps]
    # The time before the first step does not count: libraries are imported and images encoded, once per run.
    *before, last = np.diff(times)  # the loss on validation images is measured after the last step
    plain = float(np.mean(before[: _TIMED_STEPS - 1]))
    of_last = float(np.mean(before[_TIMED_STEPS - 1 :])) if is_drawn else plain
    return AdaptationPace(step=plain, drawing=of_last - plain, validation=max(0.0, float(last) - of_last))


def some_of(data: LabelledSet) -> LabelledSet:
    """A set that takes as long for each image: all images, or some of a large set, evenly spaced."""
    return data.select(np.unique(np.linspace(0, len(data) - 1, _MOST_IMAGES).astype(np.int64)))


def time_training(train: LabelledSet, settings: Settings, *, device: str) -> tuple[TrainedClassifier, float]:
    """A classifier after a few steps, and the seconds of one step."""
    short = settings.compare.model_copy(update={"steps": 2 * _TIMED_STEPS})
    data, times = TrainingData(train=some_of(train), synthetic=None), []
    with one_thread(device):
        for step in fit_steps("real", data, settings=short, seed=settings.seed, device=device):
            float(step.loss)  # waits for a GPU
            times.append(time.monotonic())
            classifier = step.classifier
    # As in an adaptation, the time before the first step does not count.
    return classifier, (times[-1] - times[0]) / (len(times) - 1)


def time_prediction(classifier: TrainedClassifier, images: LabelledSet) -> float:
    """Seconds to classify one image."""
    few, start = images.select(range(min(len(images), _TIMED_IMAGES))), time.monotonic()
    classifier.predict(few)
    return (time.monotonic() - start) / len(few)


def time_private(train: LabelledSet, settings: Settings, *, device: str) -> float:
    """Seconds of one step of the differentially private reference; 0 without a reference."""
    epsilon = settings.membership.private_epsilon
    if not settings.membership.measure or epsilon is None:
        return 0.0
    half = take_share(some_of(train), 0.5, seed=settings.seed)
    short = settings.compare.model_copy(update={"steps": 2 * _TIMED_STEPS})
    with one_thread(device):
        steps = fit_private(half, settings=short, seed=settings.seed, device=device, epsilon=epsilon)
        times = [time.monotonic() for _ in steps]
    # The time before the first step does not count: the noise level is then searched, once per run.
    return (times[-1] - times[0]) / (len(times) - 1)


def time_corruptions(test: LabelledSet, settings: Settings, *, size: int) -> float:
    """Seconds to corrupt one test image, without classifying it; 0 if none is corrupted."""
    names = settings.shift.corruptions if settings.shift.measure else ()
    few, start = test.select(range(min(len(test), _TIMED_IMAGES))), time.monotonic()
    for name in names:
        measure_corruption(name, 3, test=few, arms={}, size=size, seed=settings.seed)
    return (time.monotonic() - start) / len(few) / max(len(names), 1) if names else 0.0
