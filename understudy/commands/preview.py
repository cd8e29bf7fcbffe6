"""Command preview: draw a few images per class, and estimate what the whole run costs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from PIL.PngImagePlugin import PngInfo

from understudy.adaptation.inputs import AdaptData
from understudy.commands import cost
from understudy.commands.cost import Estimate, Pace, estimate
from understudy.commands.validate import splits_and_captioned_sets
from understudy.core.errors import InputError
from understudy.core.files import check_replaceable, write_atomically
from understudy.core.threads import use_threads
from understudy.core.workers import num_workers
from understudy.data.contact_sheet import MOST_CLASSES, MOST_PER_CLASS, contact_sheet
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.domain import measure_domain
from understudy.functional.allocation import first_of_each_class
from understudy.functional.distances import nearest_neighbours
from understudy.generators.generator import Generator
from understudy.generators.load import load_generator
from understudy.generators.precision import drawing_precision
from understudy.pipeline.checks import add_adapter_or_tokens, learns_words
from understudy.pipeline.domain import what_else
from understudy.pipeline.encoders import term_encoders
from understudy.sampling.plan import Planner, batches
from understudy.settings import Settings
from understudy.training.backbones import pretrained_classifier
from understudy.training.classifier import TrainedClassifier

_MARK = "understudy preview"  # stored in the file, so that other pictures of the user are never replaced
_TO_COMPARE_WITH = 20  # train images of each class whose mean feature stands for the class


@final
@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a preview found.

    Attributes:
        estimate: time and disk space of a run.
        recognised: how many of the drawn images look like their class, in a sentence; empty without a
            pretrained network to look at them.
    """

    estimate: Estimate
    recognised: str


def preview(settings: Settings, to: Path, *, device: str = "cpu", images: int | None = None) -> Preview:
    """Draw a few images per class, and time a few steps of every kind of work.

    Args:
        settings: of the run to come.
        to: picture to write: a column for each of at most 40 classes, real images above synthetic ones.
        device: torch device.
        images: how many to draw, spread over the classes; four per class if not given, which is the most.

    Raises:
        InputError: as a run would.
    """
    use_threads(settings.compute.threads)
    if images is not None and images < 1:
        raise InputError(f"--images must be at least 1, got {images}")
    check_replaceable(to, mark=_MARK.encode(), suffix=".png")
    splits, captioned = splits_and_captioned_sets(settings, device=device)
    generator = load_generator(settings.generator, device=device)
    drawn, image_seconds, strength = _draw_a_few(
        generator, captioned[0], settings, splits.prompt_names, device=device, images=images
    )
    mark = PngInfo()
    mark.add_text("Software", _MARK)
    sheet = contact_sheet(splits.train, drawn, size=generator.image_size)
    write_atomically(to, lambda path: sheet.save(path, format="PNG", pnginfo=mark))
    if learns_words(settings):  # adapting adds these words
        generator = load_generator(settings.generator, device=device)
    data = AdaptData(
        train=captioned[0],
        val=captioned[1],
        prompt_names=splits.prompt_names,
        encoders=term_encoders(settings, device=device),
    )
    adaptation = cost.time_adaptation(generator, data, settings)
    classifier, step_seconds = cost.time_training(splits.train, settings, device=device)
    pace = Pace(
        adaptations=adaptation,
        images=image_seconds,
        steps=step_seconds / num_workers(settings.compute.workers, device),
        private_steps=cost.time_private(splits.train, settings, device=device),
        predictions=cost.time_prediction(classifier, splits.val),
        corruptions=cost.time_corruptions(splits.test, settings, size=classifier.backbone.input_size),
        image_bytes=float(np.mean([len(drawn.encoded(index)) for index in range(len(drawn))])),
        classifier_bytes=sum(int(value.nbytes) for value in classifier.backbone.model.state_dict().values()),
    )
    agreement, recognised = _recognised(settings, splits.train, splits.val, drawn, device=device)
    passing = agreement if settings.curate.score == "agreement" else 1.0
    return Preview(
        estimate=estimate(settings, splits, pace, strength=strength, passing=passing),
        recognised=recognised,
    )


def _recognised(
    settings: Settings, train: LabelledSet, val: LabelledSet, drawn: LabelledSet, *, device: str
) -> tuple[float, str]:
    """The share of drawn images that look like their class to the network that arms start from, in words too.

    It is 1, and nothing is said, without such a network and for a generator that has learned nothing yet.
    """
    backbone = pretrained_classifier(settings.compare)
    has_adapter = settings.adapt.adapter is not None
    if backbone is None or (settings.generator.name == "class_conditional" and not has_adapter):
        return 1.0, ""
    backbone.model.to(device)
    network = TrainedClassifier(backbone, train.class_names, device)
    found = _near_their_class(network, train, drawn)
    limits, is_adapted = found["agreement"], settings.adapt.num_steps and not has_adapter
    shares = f"{limits['mean']:.0%} [{limits['low']:.0%}, {limits['high']:.0%}] of {len(drawn)} drawn images"
    when = " before adaptation" if is_adapted else ""
    if len(val):
        of_val = _near_their_class(network, train, _first(val, MOST_PER_CLASS))
        shares += f" and {of_val['agreement']['mean']:.0%} of validation images"
    told = (
        f"the generator{when}: {shares} are nearest to the real images of their class (chance: "
        f"{found['chance']:.0%}; features of compare.backbone={settings.compare.backbone})"
    )
    if found["knows"] is False:
        unless = "unless adaptation changes this, " if is_adapted else ""
        told = f"{told}. It does not know such images; {unless}{what_else(settings)}"
    return limits["mean"], told


def _near_their_class(network: TrainedClassifier, train: LabelledSet, data: LabelledSet) -> dict[str, Any]:
    """How many images are nearer to the mean feature of their class than to those of other classes."""
    few = _first(train, _TO_COMPARE_WITH)
    features, labels = network.features(few), np.unique(few.labels)
    means = np.stack([features[few.labels == label].mean(axis=0) for label in labels])
    nearest, _ = nearest_neighbours(network.features(data), means)
    return measure_domain(data.labels, labels[nearest] == data.labels)


def _first(data: LabelledSet, per_class: int) -> LabelledSet:
    return data.select(first_of_each_class(data.labels, np.full(data.num_classes, per_class)))


def _draw_a_few(
    generator: Generator,
    train: LabelledSet,
    settings: Settings,
    prompt_names: tuple[str, ...],
    *,
    device: str,
    images: int | None,
) -> tuple[LabelledSet, float, float]:
    """A few images of the first classes, seconds per image, and the mean strength that these start from."""
    draw = settings.draw
    add_adapter_or_tokens(generator, settings, num_classes=train.num_classes)
    if settings.adapt.adapter is None:  # an untrained network draws noise, which takes as long
        generator.learn_classes(prompt_names, seed=settings.seed)
    planner = Planner(
        train=train,
        generator=generator,
        settings=draw,
        prompt_names=prompt_names,
        seed=settings.seed,
        tokens=settings.adapt.tokens(train.num_classes),
        precision=drawing_precision(draw.precision, settings.generator, device),
    )
    shown = min(train.num_classes, MOST_CLASSES)
    total = shown * MOST_PER_CLASS if images is None else min(images, shown * MOST_PER_CLASS)
    wanted = np.zeros(train.num_classes, dtype=np.int64)
    wanted[:shown] = (total + shown - 1 - np.arange(shown)) // shown
    rows = planner.rows(np.zeros_like(wanted), wanted)
    generator.draw(rows[:1], train)  # not timed: the first call includes set-up
    start = time.monotonic()
    pixels = np.concatenate([generator.draw(batch, train) for batch in batches(rows, draw.batch_size)])
    seconds = (time.monotonic() - start) / len(rows)
    labels = [row.label for row in rows]
    drawn = LabelledSet.from_images(pixels, labels, class_names=train.class_names, split="synthetic")
    return drawn, seconds, float(np.mean([row.strength for row in rows]))
