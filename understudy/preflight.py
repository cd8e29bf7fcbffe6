"""Before a run: check everything, or draw a handful of images and estimate what the run will cost."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from understudy.adaptation import adapt
from understudy.data import LabelledSet, Splits, caption_sets, load_splits
from understudy.generators import load_generator
from understudy.runs import write_atomically
from understudy.sampling import batches, make_plan, quotas, times_of
from understudy.settings import CaptionSettings, Settings
from understudy.study import add_tokens, check_fits, check_names, learns_words
from understudy.training import TrainedClassifier, find_arm, fit_arm, pairs

_PER_CLASS = 4
_TIMED_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What :func:`validate` found.

    Attributes:
        rows: class, words in prompts, and images in train, val and test.
        skipped: files left out, with the reason.
    """

    rows: tuple[tuple[str, str, int, int, int], ...]
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run will take, from short measurements.

    Attributes:
        adapt_seconds, draw_seconds, compare_seconds: per stage; refills are not counted.
        images: synthetic images of the first round.
        images_per_second: measured.
        disk_mb: synthetic images and trained classifiers on disk.
    """

    adapt_seconds: float
    draw_seconds: float
    compare_seconds: float
    images: int
    images_per_second: float
    disk_mb: float

    def rows(self) -> list[tuple[str, str]]:
        """For a table."""
        return [
            ("adapt", _duration(self.adapt_seconds)),
            ("draw", f"{_duration(self.draw_seconds)} for {self.images} images at {self.images_per_second:.1f} images/s"),
            ("compare", _duration(self.compare_seconds)),
            ("disk", f"{self.disk_mb:.1f} MB of synthetic images and classifiers"),
        ]


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
    check_names(settings)
    splits = load_splits(settings.data, seed=settings.seed)
    generator = load_generator(settings.generator, device=device)
    train, val = _captioned(splits, settings, device=device)
    draw = settings.draw
    add_tokens(generator, settings, num_classes=train.num_classes)
    generator.learn_classes(splits.prompt_names, seed=settings.seed)  # a network from nothing draws noise, in the time that it will take
    strength = None if draw.start_snr is None else generator.strength_at(draw.start_snr, sampler=draw.sampler, steps=draw.steps)
    rows = make_plan(
        train,
        np.full(train.num_classes, _PER_CLASS),
        settings=draw,
        prompt_names=splits.prompt_names,
        seed=settings.seed,
        tokens=settings.adapt.tokens(train.num_classes),
        strength=strength,
    )
    generator.draw(rows[:1], train)  # the first call pays for set-up
    start = time.monotonic()
    pixels = np.concatenate([generator.draw(batch, train) for batch in batches(rows, draw.batch_size)])
    images_per_second = len(rows) / (time.monotonic() - start)
    drawn = LabelledSet.from_images(pixels, [row.label for row in rows], class_names=splits.train.class_names, split="synthetic")
    write_atomically(to, lambda path: _contact_sheet(splits.train, drawn, generator.image_size).save(path, format="PNG"))

    adapt_seconds = 0.0
    if settings.adapt.num_steps and settings.adapt.adapter is None:
        if learns_words(settings):  # adaptation adds them itself
            generator = load_generator(settings.generator, device=device)
        short = settings.adapt.model_copy(update={"steps": _TIMED_STEPS, "validate_every": 10**6, "checkpoint_every": 10**6})
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            steps = adapt(
                generator,
                train,
                val,
                settings=short,
                prompt_names=splits.prompt_names,
                seed=settings.seed,
                folder=Path(folder),
                visual=settings.visual,
            )
            times = [time.monotonic() for _ in steps]
        validation = times[0] - start
        per_step = (times[-2] - times[0]) / (len(times) - 2)
        adapt_seconds = per_step * settings.adapt.steps + validation * (1 + settings.adapt.steps / settings.adapt.validate_every)
    start = time.monotonic()
    short_compare = settings.compare.model_copy(update={"steps": 2 * _TIMED_STEPS})
    classifier = fit_arm("real", train=splits.train, synthetic=None, settings=short_compare, seed=settings.seed, device=device)
    per_step = (time.monotonic() - start) / (2 * _TIMED_STEPS)
    images = max(int(quotas(train, settings.draw).sum()), *(int(times_of(train, times).sum()) for times in settings.scale.times), 0)
    sizes = len(settings.scale.times) * len(settings.scale.arms) + (len(settings.scale.real_shares) if settings.scale.times else 0)
    bytes_per_image = float(np.mean([len(drawn.encoded(index)) for index in range(len(drawn))]))
    return Estimate(
        adapt_seconds=adapt_seconds,
        draw_seconds=images / images_per_second,
        compare_seconds=per_step * (_arm_steps(settings, len(train), images) + sizes * settings.compare.steps * settings.compare.num_seeds),
        images=images,
        images_per_second=images_per_second,
        disk_mb=(images * bytes_per_image + _weights(settings, classifier)) / 1e6,
    )


def _arm_steps(settings: Settings, num_real: int, num_synthetic: int) -> int:
    """Optimisation steps of all trainings of all arms, those that tune them among them."""
    arms = [find_arm(name, settings.compare) for name in {"real", *settings.compare.arms}]
    once = sum(sum(arm.phase_steps(settings.compare, num_real=num_real, num_synthetic=num_synthetic)) for arm in arms)
    trials = len(pairs(settings.compare, settings.tune)) * settings.tune.num_seeds if settings.tune.is_on else 0
    return once * (settings.compare.num_seeds + trials)


def _weights(settings: Settings, classifier: TrainedClassifier) -> int:
    """Bytes of all trainings of all arms, and of the best of each once more."""
    kept = len({"real", *settings.compare.arms}) * (settings.compare.num_seeds + 1)
    return kept * sum(int(value.nbytes) for value in classifier.backbone.model.state_dict().values())


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


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
