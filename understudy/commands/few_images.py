"""Draw a few images as a run would, and time it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np

from understudy.commands.validate import splits_and_captioned_sets
from understudy.core.durations import rough_duration
from understudy.core.micro_batch import MicroBatch
from understudy.core.progress import Observer
from understudy.data.contact_sheet import MOST_CLASSES, MOST_PER_CLASS
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits
from understudy.evaluation.domain import ENOUGH
from understudy.generators.generator import Generator, PlanRow
from understudy.generators.load import load_generator
from understudy.generators.precision import drawing_precision
from understudy.pipeline.checks import add_adapter_or_tokens
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
            It never draws more than these.
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
    rows, takes = _rows_to_draw(planner, images, seconds, device=device)
    if observer is not None and seconds is None and takes > _PATIENCE:
        fewer = "" if images is not None else "; --images 10 draws fewer"
        observer.say(f"drawing {len(rows)} images takes about {rough_duration(takes)}{fewer}")
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


def _rows_to_draw(
    planner: Planner, images: int | None, seconds: float | None, *, device: str
) -> tuple[list[PlanRow], float]:
    """The images to draw, fewer if the generator is slow, and the seconds that they will take."""
    train, generator = planner.train, planner.generator
    none, available = np.zeros(train.num_classes, dtype=np.int64), generator.available(train.class_names)
    wanted = _first_classes(train.num_classes, images, available)
    planner.check(none, wanted)
    rows, start = list(planner.rows(none, wanted)), time.monotonic()
    # does not count as drawing: the first call includes set-up
    MicroBatch(1, work="drawing").fit(partial(draw_rows, generator, rows[:1], train=train))
    one, most = time.monotonic() - start, len(rows)
    if device != "cpu" and len(rows) * one > _PATIENCE:  # the set-up of a GPU takes long
        start = time.monotonic()
        draw_rows(generator, rows[:1], 1, train=train)
        one = time.monotonic() - start
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
