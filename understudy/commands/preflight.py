"""Before a run: check everything, or draw a handful of images and estimate what the run will cost."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from understudy.adaptation.fit import adapt
from understudy.commands.cost import Estimate, Pace, estimate
from understudy.core.files import check_replaceable, write_atomically
from understudy.data.captions.captions import caption_sets
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits, load_splits
from understudy.data.settings import CaptionSettings
from understudy.data.splits import take_share
from understudy.evaluation.shift import measure_corruption
from understudy.generators.generator import Generator
from understudy.generators.load import load_generator
from understudy.pipeline.study import add_tokens, check_fits, check_names, learns_words
from understudy.sampling.plan import Planner, batches
from understudy.settings import Settings
from understudy.training.classifier import TrainedClassifier
from understudy.training.fit import fit_arm
from understudy.training.private import fit_private

_MARK = "understudy preview"  # in the file, so that a picture of the user's is not taken for one to be replaced
_PER_CLASS = 4
_TIMED_STEPS = 4
_TIMED_IMAGES = 32


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What :func:`validate` found.

    Attributes:
        rows: class, words in prompts, and images in train, val and test.
        skipped: files left out, with the reason.
    """

    rows: tuple[tuple[str, str, int, int, int], ...]
    skipped: tuple[tuple[str, str], ...]


def validate(settings: Settings, *, device: str = "cpu") -> Checked:
    """Read and split the data, load generator and backbone; write nothing.

    Raises:
        InputError: for the first thing that would stop a run.
    """
    check_names(settings)
    splits = load_splits(settings.data, seed=settings.seed)
    _captioned(splits, settings, device=device)
    check_fits(settings, splits, device=device)
    counts = zip(splits.train.counts, splits.val.counts, splits.test.counts, strict=True)
    names = zip(splits.train.class_names, splits.prompt_names, strict=True)
    rows = tuple((name, words, int(a), int(b), int(c)) for (name, words), (a, b, c) in zip(names, counts, strict=True))
    return Checked(rows=rows, skipped=splits.skipped)


def preview(settings: Settings, to: Path, *, device: str = "cpu") -> Estimate:
    """Draw a few images per class with the generator as it is, and time a few steps of every stage.

    Args:
        settings: of the run to come.
        to: picture to write: real images above, synthetic ones below, a column per class.
        device: torch device.

    Returns:
        The estimate.

    Raises:
        InputError: as a run would.
    """
    check_replaceable(to, mark=_MARK.encode())
    check_names(settings)
    splits = load_splits(settings.data, seed=settings.seed)
    captioned = _captioned(splits, settings, device=device)
    check_fits(settings, splits, device=device)
    generator = load_generator(settings.generator, device=device)
    drawn, image_seconds, strength = _draw_a_few(generator, captioned[0], settings, splits.prompt_names)
    mark = PngInfo()
    mark.add_text("Software", _MARK)
    write_atomically(to, lambda path: _contact_sheet(splits.train, drawn, generator.image_size).save(path, format="PNG", pnginfo=mark))
    if learns_words(settings):  # adaptation adds them itself
        generator = load_generator(settings.generator, device=device)
    adaptation = _time_adaptation(generator, captioned, settings, splits.prompt_names)
    classifier, step_seconds = _time_training(splits.train, settings, device=device)
    asked, start = splits.val.select(range(min(len(splits.val), _TIMED_IMAGES))), time.monotonic()
    classifier.predict(asked)
    pace = Pace(
        adaptation=adaptation,
        image=image_seconds,
        strength=strength,
        step=step_seconds,
        private_step=_time_private(splits.train, settings, device=device),
        prediction=(time.monotonic() - start) / len(asked),
        corruption=_time_corruptions(splits.test, settings, size=classifier.backbone.input_size),
        image_bytes=float(np.mean([len(drawn.encoded(index)) for index in range(len(drawn))])),
        classifier_bytes=sum(int(value.nbytes) for value in classifier.backbone.model.state_dict().values()),
    )
    return estimate(settings, splits, pace)


def _draw_a_few(
    generator: Generator, train: LabelledSet, settings: Settings, prompt_names: tuple[str, ...]
) -> tuple[LabelledSet, float, float]:
    """Images of each class, seconds for one, and how far they start from noise."""
    draw = settings.draw
    add_tokens(generator, settings, num_classes=train.num_classes)
    generator.learn_classes(prompt_names, seed=settings.seed)  # a network from nothing draws noise, in the time that it will take
    planner = Planner(
        train=train,
        generator=generator,
        settings=draw,
        prompt_names=prompt_names,
        seed=settings.seed,
        tokens=settings.adapt.tokens(train.num_classes),
    )
    rows = planner.rows(np.zeros(train.num_classes, dtype=np.int64), np.full(train.num_classes, _PER_CLASS))
    generator.draw(rows[:1], train)  # the first call pays for set-up
    start = time.monotonic()
    pixels = np.concatenate([generator.draw(batch, train) for batch in batches(rows, draw.batch_size)])
    seconds = (time.monotonic() - start) / len(rows)
    drawn = LabelledSet.from_images(pixels, [row.label for row in rows], class_names=train.class_names, split="synthetic")
    return drawn, seconds, rows[0].strength


def _time_adaptation(
    generator: Generator, captioned: Sequence[LabelledSet], settings: Settings, prompt_names: tuple[str, ...]
) -> float:  # fmt: skip
    """Seconds of the whole adaptation, by a few of its steps; 0 if there is none."""
    if not settings.adapt.num_steps or settings.adapt.adapter is not None:
        return 0.0
    short = settings.adapt.model_copy(update={"steps": _TIMED_STEPS, "validate_every": 10**6, "checkpoint_every": 10**6})
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        steps = adapt(
            generator,
            *captioned,
            settings=short,
            prompt_names=prompt_names,
            seed=settings.seed,
            folder=Path(folder),
            visual=settings.visual,
        )
        times = [time.monotonic() for _ in steps]
    validation = times[0] - start
    per_step = (times[-2] - times[0]) / (len(times) - 2)
    return per_step * settings.adapt.steps + validation * (1 + settings.adapt.steps / settings.adapt.validate_every)


def _time_training(train: LabelledSet, settings: Settings, *, device: str) -> tuple[TrainedClassifier, float]:
    """A classifier that has hardly learned anything, and seconds of a step."""
    short = settings.compare.model_copy(update={"steps": 2 * _TIMED_STEPS})
    start = time.monotonic()
    classifier = fit_arm("real", train=train, synthetic=None, settings=short, seed=settings.seed, device=device)
    return classifier, (time.monotonic() - start) / short.steps


def _time_private(train: LabelledSet, settings: Settings, *, device: str) -> float:
    """Seconds of a step of the differentially private reference; 0 if none is asked for."""
    epsilon = settings.membership.private_epsilon
    if not settings.membership.measure or epsilon is None:
        return 0.0
    half = take_share(train, 0.5, seed=settings.seed)
    short = settings.compare.model_copy(update={"steps": 2 * _TIMED_STEPS})
    times: list[float] = []
    fit_private(half, settings=short, seed=settings.seed, device=device, epsilon=epsilon, on_step=lambda: times.append(time.monotonic()))
    return (times[-1] - times[0]) / (len(times) - 1)  # looking for the noise takes seconds too, once


def _time_corruptions(test: LabelledSet, settings: Settings, *, size: int) -> float:
    """Seconds for a changed test image, no classifier being asked; 0 if none is changed."""
    names = settings.shift.corruptions if settings.shift.measure else ()
    few, start = test.select(range(min(len(test), _TIMED_IMAGES))), time.monotonic()
    for name in names:
        measure_corruption(name, 3, test=few, arms={}, size=size, seed=settings.seed)
    return (time.monotonic() - start) / len(few) / max(len(names), 1) if names else 0.0


def _captioned(splits: Splits, settings: Settings, *, device: str) -> list[LabelledSet]:
    """Train and val with the captions that cost nothing; those of a model are left out."""
    captions = settings.captions
    if captions.source == "model":
        captions = CaptionSettings()
    return caption_sets(
        [splits.train, splits.val], splits.prompt_names, captions, folder=Path(), device=device, others=splits.known_ids
    )  # fmt: skip


def _contact_sheet(train: LabelledSet, drawn: LabelledSet, size: int) -> Image.Image:
    """Up to four real images of each class above as many drawn ones."""
    columns = []
    for label in range(train.num_classes):
        column = [_stack(data.select(np.flatnonzero(data.labels == label)[:_PER_CLASS]).pixels(size), size) for data in (train, drawn)]
        columns.append(np.concatenate([column[0], np.full((3, size // 4, size), 255, np.uint8), column[1]], axis=1))
    sheet = np.concatenate(columns, axis=2).transpose(1, 2, 0)
    zoom = max(1, 64 // size)
    return Image.fromarray(sheet.repeat(zoom, axis=0).repeat(zoom, axis=1))


def _stack(pixels: np.ndarray, size: int) -> np.ndarray:
    blank = np.full((_PER_CLASS - len(pixels), 3, size, size), 255, np.uint8)
    return np.concatenate([*pixels, *blank], axis=1)
