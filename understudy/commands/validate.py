"""Command validate: check data, settings, generator and backbone, and write nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.core.device_memory import free_bytes
from understudy.core.host_memory import ImageMemory
from understudy.core.listing import listed, shortened
from understudy.core.progress import Observer
from understudy.core.threads import use_threads
from understudy.data.captions.captions import caption_sets
from understudy.data.image_kind import Look, look_at
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits, load_splits
from understudy.data.settings import CaptionSettings
from understudy.data.sources.leftovers import LeftOut
from understudy.evaluation.class_sizes import too_few_test_images
from understudy.generators.load import load_generator
from understudy.generators.pipeline_size import is_large
from understudy.generators.room import bytes_of_weights, less_memory
from understudy.generators.silence import no_progress_bars
from understudy.pipeline.checks import check_fits, check_names, loads_networks
from understudy.pipeline.class_words import known_words, notes_on_words
from understudy.pipeline.learning_from_scratch import about_learning_from_scratch
from understudy.pipeline.load import (
    about_grey_and_small,
    about_large_pipelines,
    about_other_tools,
    about_photographs,
)
from understudy.pipeline.run import check_stages
from understudy.sampling.plan import quotas
from understudy.settings import Settings

FEWEST = 10
"""Train images of a class below which a generator trained from scratch mostly repeats them."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The data of a run that passed all checks.

    Attributes:
        rows: for each class its name, its words in prompts, and its number of train, val and test images.
        skipped: files left out, with the reason.
        notes: what was taken for what, and which classes have too few test images, in sentences.
        left_out: files that are no images of the set, counted by reason.
        look: what the train images look like.
        wanted: synthetic images that the run would draw in its first round.
    """

    rows: tuple[tuple[str, str, int, int, int], ...]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    look: Look
    wanted: int

    @property
    def words(self) -> str:
        """The outcome in a few words."""
        warns = any(note.startswith("warning") for note in self.notes)
        return f"ready to run{', with a warning' if warns else ''}"

    @property
    def counted(self) -> str:
        """How many images there are for what, in a few words."""
        train, val, test = (sum(counts) for counts in zip(*(row[2:] for row in self.rows), strict=True))
        return f"{len(self.rows):,} classes; images: {train:,} train, {val:,} val, {test:,} test"

    @property
    def sentences(self) -> list[str]:
        """What to know besides the classes, a line each."""
        unused = shortened([each.sentence for each in self.left_out])
        skipped = shortened([f"{path}: {reason}" for path, reason in self.skipped])
        return [
            *self.notes,
            *(f"not used: {line}" for line in unused),
            *(f"skipped: {line}" for line in skipped),
        ]


def shown_classes(rows: Sequence[tuple[str, str, int, int, int]]) -> list[tuple[object, ...]]:
    """The rows of the first classes, and one with the images of all others."""
    names = shortened([name for name, *_ in rows])
    others = rows[len(names) - 1 :]
    if len(others) <= 1:
        return list(rows)
    counts = (f"{sum(row[column] for row in others):,}" for column in (2, 3, 4))  # type: ignore[misc]
    return [*rows[: len(names) - 1], (names[-1], "", *counts)]


def validate(settings: Settings, *, device: str = "cpu", observer: Observer | None = None) -> Checked:
    """Read and split the data, and load generator and backbone; a bar shows the reading of many images.

    Raises:
        InputError: for the first problem that would stop a run.
    """
    splits, _ = splits_and_captioned_sets(settings, device=device, observer=observer)
    counts = zip(splits.train.counts, splits.val.counts, splits.test.counts, strict=True)
    names = zip(splits.train.class_names, splits.prompt_names, strict=True)
    rows = tuple(
        (name, words, int(train), int(val), int(test))
        for (name, words), (train, val, test) in zip(names, counts, strict=True)
    )
    small = too_few_test_images(splits.test.class_names, splits.test.counts.tolist())
    few = _too_few_to_learn(settings, splits.train)
    known = None
    if loads_networks(settings, splits):  # otherwise this would be all that loads one
        known = known_words(settings, splits.train, splits.prompt_names, device=device)
    look = look_at(splits.train)
    notes = (
        *splits.notes,
        *about_photographs(look.kind, settings, splits.prompt_names),
        *about_grey_and_small(look, settings),
        *about_learning_from_scratch(look, settings),
        *about_large_pipelines(settings),
        *about_other_tools(settings, splits),
        *_about_ready_made(settings, splits),
        *_about_memory(settings),
        *notes_on_words(known),
        *(note for note in (small, few) if note),
    )
    return Checked(
        rows=rows,
        skipped=splits.skipped,
        notes=notes,
        left_out=splits.left_out,
        look=look,
        wanted=int(quotas(splits.train, settings.draw).sum()),
    )


def _about_ready_made(settings: Settings, splits: Splits) -> tuple[str, ...]:
    """A warning if there are fewer ready-made images than a run would take."""
    if not settings.generator.is_ready_made:
        return ()
    train, wanted = splits.train, quotas(splits.train, settings.draw)
    there = load_generator(settings.generator, device="cpu").available(train.class_names)
    if there is None or (there >= wanted).all():
        return ()
    short = [
        f"{name} {have:,} of {want:,}"
        for name, have, want in zip(train.class_names, there.tolist(), wanted.tolist(), strict=True)
        if have < want
    ]
    told = f"warning: fewer ready-made images than the run wants ({listed(short)}), and some will be rejected"
    return (f"{told}: lower draw.per_class and draw.of_classes, or draw.times and draw.min_per_class",)


def _about_memory(settings: Settings) -> tuple[str, ...]:
    """How much memory the weights of a large pipeline take, and whether a GPU of this machine holds them."""
    import torch  # slow to import; commands that only list names do not need it

    generator = settings.generator
    if not is_large(generator.name):
        return ()
    need = bytes_of_weights(generator, on_device=True)
    if not need:  # not all files need be there if the hub was interrupted
        return ("memory: what the weights take is known once the hub has sent them",)
    what = "the weights of the denoiser" if generator.cpu_offload else "the weights"
    told = f"memory: {what} take {need / 1e9:.1f} GB in generator.precision={generator.precision}; "
    told += "adapting and drawing need more"
    gpu = torch.accelerator.current_accelerator(check_available=True)
    free = None if gpu is None else free_bytes(str(gpu))
    if free is None:
        return (told,)
    if need > free:
        told = f"warning: {told}, and {free / 1e9:.1f} GB are free on the device '{gpu}': "
        told += less_memory(generator, str(gpu))
    return (told,)


def _too_few_to_learn(settings: Settings, train: LabelledSet) -> str:
    """Name the classes with too few images for a generator that learns from them alone; empty if none."""
    if settings.generator.name != "class_conditional" or settings.adapt.adapter is not None:
        return ""
    few = [
        f"{name} ({count})"
        for name, count in zip(train.class_names, train.counts, strict=True)
        if count < FEWEST
    ]
    if not few:
        return ""
    return (
        "the generator 'class_conditional' learns from the train images alone and hardly draws anything new "
        f"for classes with fewer than {FEWEST}: {listed(few)}"
    )


def splits_and_captioned_sets(
    settings: Settings, *, device: str, observer: Observer | None = None
) -> tuple[Splits, Sequence[LabelledSet]]:
    """The real images of a run, and train and validation images with captions that need no model.

    Raises:
        InputError: as a run would.
    """
    check_names(settings)
    use_threads(settings.compute.threads)
    ImageMemory(settings.data.memory).use()
    splits = load_splits(settings.data, seed=settings.seed, observer=observer)
    captions = CaptionSettings() if settings.captions.is_written else settings.captions
    captioned = caption_sets(
        [splits.train, splits.val],
        splits.prompt_names,
        captions,
        folder=Path(),
        device=device,
        others=splits.known_ids,
    )
    if loads_networks(settings, splits):
        no_progress_bars()
    check_fits(settings, splits, device=device)
    check_stages(settings, splits)
    return splits, captioned
