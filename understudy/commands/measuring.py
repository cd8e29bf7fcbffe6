"""Measure the pace of this machine: draw a few images, and time a few steps of every other kind of work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import numpy as np

from understudy.adaptation.inputs import AdaptData
from understudy.commands import cost
from understudy.commands.cost import AdaptationPace, Estimate, Pace, estimate
from understudy.commands.recognised import recognised
from understudy.commands.validate import splits_and_captioned_sets
from understudy.core.durations import rough_duration
from understudy.core.executors.side_by_side import side_by_side
from understudy.core.micro_batch import MicroBatch
from understudy.core.progress import Observer
from understudy.data.contact_sheet import MOST_CLASSES, MOST_PER_CLASS
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits
from understudy.evaluation.domain import ENOUGH
from understudy.generators.generator import Generator, PlanRow
from understudy.generators.load import give_back, load_generator
from understudy.generators.precision import drawing_precision
from understudy.pipeline.checks import add_adapter_or_tokens, learns_words
from understudy.pipeline.class_words import about_words, known_words
from understudy.pipeline.encoders import term_encoders
from understudy.sampling.draw import draw_rows
from understudy.sampling.plan import Planner, batches
from understudy.settings import Settings

_PATIENCE = 60.0  # seconds of drawing that need no announcement


@final
@dataclass(frozen=True, kw_only=True)
class FewImages:
    """A few drawn images, and the real ones.

    Attributes:
        splits: real images of the run.
        captioned: its train and validation images with captions.
        generator: which drew, at its resolution.
        drawn: the images.
        image_seconds: seconds for each of them.
        strength: mean noise that they start from, 0 to 1.
        started: when reading the real images began, by ``time.monotonic``.
        reading: seconds that reading and checking them took.
    """

    splits: Splits
    captioned: Sequence[LabelledSet]
    generator: Generator
    drawn: LabelledSet
    image_seconds: float
    strength: float
    started: float
    reading: float


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


def draw_a_few(
    settings: Settings,
    *,
    device: str,
    images: int | None = None,
    seconds: float | None = None,
    observer: Observer | None = None,
) -> FewImages:
    """Read the real images, and draw a few like them.

    Args:
        settings: of the run.
        device: torch device.
        images: how many to draw, spread over the classes; by default four per class, or 100 in all if that is
            more and takes no minute, because fewer often cannot show that the generator knows no such images.
            No more are drawn.
        seconds: draw fewer if all would take longer than this.
        observer: shows that many images are read, and is told how long drawing takes if that is long.

    Raises:
        InputError: as a run would.
    """
    started = time.monotonic()
    splits, captioned = splits_and_captioned_sets(settings, device=device, observer=observer)
    reading = time.monotonic() - started
    generator, train, draw = load_generator(settings.generator, device=device), captioned[0], settings.draw
    add_adapter_or_tokens(generator, settings, num_classes=train.num_classes)
    if settings.adapt.adapter is None:  # an untrained network draws noise, which takes as long
        generator.learn_classes(splits.prompt_names, seed=settings.seed)
    planner = Planner(
        train=train,
        generator=generator,
        settings=draw,
        prompt_names=splits.prompt_names,
        seed=settings.seed,
        tokens=settings.adapt.tokens(train.num_classes),
        precision=drawing_precision(draw.precision, settings.generator, device),
    )
    rows, takes = _rows_to_draw(planner, images, seconds)
    if observer is not None and seconds is None and takes > _PATIENCE:
        told = f"drawing {len(rows)} images takes about {rough_duration(takes)}"
        observer.say(f"{told}: --images N draws N")
    at_once = MicroBatch(draw.batch_size, work="drawing")
    timed = partial(_timed_drawing, generator, train=train)
    drawn = [at_once.fit(partial(timed, batch)) for batch in batches(rows, draw.batch_size)]
    pixels, labels = np.concatenate([images for images, _ in drawn]), [row.label for row in rows]
    return FewImages(
        splits=splits,
        captioned=captioned,
        generator=generator,
        drawn=LabelledSet.from_images(pixels, labels, class_names=train.class_names, split="synthetic"),
        image_seconds=sum(took for _, took in drawn) / len(rows),
        strength=float(np.mean([row.strength for row in rows])),
        started=started,
        reading=reading,
    )


def _rows_to_draw(planner: Planner, images: int | None, seconds: float | None) -> tuple[list[PlanRow], float]:
    """The images to draw, fewer if the generator is slow, and the seconds that they will take."""
    train, generator = planner.train, planner.generator
    none, available = np.zeros(train.num_classes, dtype=np.int64), generator.available(train.class_names)
    wanted = _first_classes(train.num_classes, images, available)
    planner.check(none, wanted)
    rows, start = list(planner.rows(none, wanted)), time.monotonic()
    # does not count as drawing: the first call includes set-up
    MicroBatch(1, work="drawing").fit(partial(draw_rows, generator, rows[:1], train=train))
    one, most = time.monotonic() - start, len(rows)
    if seconds is not None:
        most = max(1, int(seconds / one))
    elif images is None and len(rows) * one > _PATIENCE:
        most = min(train.num_classes, MOST_CLASSES) * MOST_PER_CLASS
    if most < len(rows):
        rows = list(planner.rows(none, _first_classes(train.num_classes, most, available)))
    return rows, len(rows) * one


def _timed_drawing(
    generator: Generator, rows: Sequence[PlanRow], size: int, *, train: LabelledSet
) -> tuple[np.ndarray, float]:
    """Images of rows, and the seconds that they took; attempts that ran out of memory do not count."""
    start = time.monotonic()
    return draw_rows(generator, rows, size, train=train), time.monotonic() - start


def _first_classes(num_classes: int, images: int | None, available: np.ndarray | None) -> np.ndarray:
    """How many images of each class to draw, int64 (num_classes,): what there is, at least one in all."""
    shown = min(num_classes, MOST_CLASSES)
    most = max(shown * MOST_PER_CLASS, ENOUGH)
    total = most if images is None else min(images, most)
    wanted = np.zeros(num_classes, dtype=np.int64)
    wanted[:shown] = (total + shown - 1 - np.arange(shown)) // shown
    if available is None:
        return wanted
    there: np.ndarray = np.minimum(wanted, available)
    if not there.any():
        there[available.argmax()] = 1
    return there


def measure(settings: Settings, few: FewImages, *, device: str) -> Measured:
    """Time a few steps of every kind of work but drawing.

    Args:
        settings: of the run.
        few: what :func:`draw_a_few` drew. Its generator is given back, so draw nothing with it afterwards.
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
