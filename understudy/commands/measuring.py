"""Measure the pace of this machine: time a few steps of every kind of work but drawing."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from understudy.adaptation.inputs import AdaptData
from understudy.commands import cost
from understudy.commands.cost import AdaptationPace, Estimate, Pace, estimate
from understudy.commands.few_images import FewImages
from understudy.commands.recognised import recognised
from understudy.core.executors.side_by_side import side_by_side
from understudy.data.load import Splits
from understudy.generators.load import give_back, load_generator
from understudy.pipeline.checks import learns_words
from understudy.pipeline.class_words import about_words, known_words
from understudy.pipeline.encoders import term_encoders
from understudy.settings import Settings


@final
@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the cost of a run with any number of steps, images and seeds follows from.

    Attributes:
        splits: real images of the run.
        pace: of everything but adaptation.
        adaptation: pace of an adaptation.
        strength: mean noise that drawn images start from, 0 to 1.
        passing: share of the drawn images that are not rejected.
        recognised: how many of the drawn images look like their class, in a sentence; may be empty.
        words: whether CLIP knows the words of the classes, in a sentence; empty without CLIP.
        reading: seconds to read and check the real images.
        spent: seconds that measuring took, reading included.
        input_size: width and height of the images that classifiers see, in pixels.
    """

    splits: Splits
    pace: Pace
    adaptation: AdaptationPace
    strength: float
    passing: float
    recognised: str
    words: str
    reading: float
    spent: float
    input_size: int

    def estimate(self, settings: Settings) -> Estimate:
        """Time and disk space of a run with other numbers of steps, images and seeds."""
        pace = replace(self.pace, adaptations=self.adaptation.seconds(settings.adapt))
        return estimate(settings, self.splits, pace, strength=self.strength, passing=self.passing)

    def decoded_mb(self, images: int) -> float:
        """Megabytes of the train images and so many synthetic ones, decoded for classifiers."""
        return 3 * self.input_size**2 * (len(self.splits.train) + images) / 1e6


def measure(settings: Settings, few: FewImages, *, device: str) -> Measured:
    """Time a few steps of every kind of work but drawing.

    Args:
        settings: of the run.
        few: what was drawn. Its generator is given back, so draw nothing with it afterwards.
        device: torch device.
    """
    splits, drawn, generator = few.splits, few.drawn, few.generator
    if learns_words(settings):  # adapting adds these words
        generator = load_generator(settings.generator, device=device)
    data = AdaptData(
        train=cost.some_of(few.captioned[0]),
        val=cost.some_of(few.captioned[1]),
        prompt_names=splits.prompt_names,
        encoders=term_encoders(settings, device=device),
    )
    adaptation = cost.time_adaptation(generator, data, settings)
    give_back(generator, settings.generator, device=device)
    at_once = side_by_side(settings.compute, device)
    classifier, step_seconds = cost.time_training(splits.train, settings, device=device)
    pace = Pace(
        adaptations=0.0,
        images=few.image_seconds / at_once.drawing,
        steps=step_seconds / at_once.trainings,
        private_steps=cost.time_private(splits.train, settings, device=device),
        predictions=cost.time_prediction(classifier, splits.val),
        corruptions=cost.time_corruptions(splits.test, settings, size=classifier.backbone.input_size),
        image_bytes=float(np.mean([len(drawn.encoded(index)) for index in range(len(drawn))])),
        classifier_bytes=sum(int(value.nbytes) for value in classifier.backbone.model.state_dict().values()),
    )
    agreement, told = recognised(settings, splits.train, splits.val, drawn, device=device)
    return Measured(
        splits=splits,
        pace=pace,
        adaptation=adaptation,
        strength=few.strength,
        passing=agreement if settings.curate.score == "agreement" else 1.0,
        recognised=told,
        words=about_words(known_words(settings, splits.train, splits.prompt_names, device=device)),
        reading=few.reading,
        spent=time.monotonic() - few.started,
        input_size=classifier.backbone.input_size,
    )
