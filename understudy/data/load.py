"""Load a source into checked train, val and test sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.copy_groups import CopyGroups, looked_for, shared_sentences
from understudy.data.labelled_set import LabelledSet
from understudy.data.leaks import check_leaks
from understudy.data.pool import Pool, read_pool
from understudy.data.settings import DataSettings
from understudy.data.sources import (
    arrow,  # noqa: F401 - they register themselves
    digits,  # noqa: F401 - they register themselves
    folder,  # noqa: F401 - they register themselves
    hub,  # noqa: F401 - they register themselves
    parquet,  # noqa: F401 - they register themselves
    webdataset,  # noqa: F401 - they register themselves
    zips,  # noqa: F401 - they register themselves
)
from understudy.data.sources.leftovers import LeftOut
from understudy.data.sources.shards import check_one_kind
from understudy.data.sources.source import SOURCES, AbstractSource
from understudy.data.sources.split_names import RealSplit
from understudy.data.splits import stratified_split, take_at_most, take_shots

_ORDER: tuple[RealSplit, ...] = ("train", "val", "test")


@final
@dataclass(frozen=True, eq=False)
class Splits:
    """The real images of a run.

    Attributes:
        train: images to train on.
        val: images for model selection.
        test: images for testing, sealed until the end.
        prompt_names: words for prompts by label; the class names unless a file gives others.
        skipped: (file, reason) for each file left out.
        known_ids: ids of all real images, including those that ``data.shots`` left out.
        spare: a second sample of ``data.shots`` train images per class, or None if too few are left; only for
            measuring how far two real sets differ.
        notes: what was taken for what, in sentences.
        left_out: files that are no images of the set, counted by reason.
        copies: which copies were looked for, and which splits that were given share pictures.
    """

    train: LabelledSet
    val: LabelledSet
    test: LabelledSet
    prompt_names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    known_ids: frozenset[str]
    spare: LabelledSet | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    copies: Mapping[str, Any] = field(default_factory=dict)


def load_splits(settings: DataSettings, *, seed: int) -> Splits:
    """Read a source and divide it into train, val and test sets that share no image.

    The source's own splits are kept; missing ones are taken from its train split, stratified by class, with
    exact, near and changed copies in the same split. ``data.shots`` then limits train and val.

    Args:
        settings: the source and how to read it.
        seed: seed of the split and the shots.

    Raises:
        InputError: if the source has a fault; the message says what and where.
    """
    source = find_source(settings.source)
    pool = read_pool(source.open(settings.source, settings), settings)
    search = settings.model_copy(update={"changed_copies": False}) if source.is_checked else settings
    groups = CopyGroups.find(pool.images, pool.fingerprints, search)
    sets: dict[RealSplit, LabelledSet] = {
        split: pool.images.select(indices).with_split(split)
        for split, indices in _divide(pool, groups, settings, seed=seed).items()
    }
    spare = None
    if settings.shots is not None:
        # A subset becomes a negative seed, which no run has.
        choice = seed if settings.subset is None else -1 - settings.subset
        everything = sets["train"]
        sets["train"] = take_shots(everything, settings.shots, seed=choice)
        taken = set(sets["train"].ids)
        left = everything.select([index for index, name in enumerate(everything.ids) if name not in taken])
        spare = take_shots(left, settings.shots, seed=choice) if left.counts.min() >= settings.shots else None
        sets["val"] = take_at_most(sets["val"], settings.shots, seed=choice)
    check_leaks(
        [(sets[split], pool.fingerprints.select(sets[split].ids)) for split in _ORDER],
        max_distance=settings.near_duplicate_distance,
    )
    shared = groups.shared({split: sets[split] for split in _ORDER})
    notes = pool.notes + groups.sentences() + tuple(f"warning: {each}" for each in shared_sentences(shared))
    return Splits(
        sets["train"],
        sets["val"],
        sets["test"],
        pool.prompt_names,
        pool.skipped,
        frozenset(pool.images.ids),
        spare,
        notes + _single_images(sets["train"], shots=settings.shots),
        pool.left_out,
        looked_for(settings, is_checked=source.is_checked) | {"shared": shared},
    )


def find_source(location: str) -> AbstractSource:
    """Find the source that reads ``location``; a name may be built in, or a path.

    Raises:
        InputError: if no source can read the location, it is the folder of a study, or several sources can
            read it.
    """
    if (Path(location) / "study.yaml").is_file():
        raise InputError(
            f"{location} is the folder of a study, not of images: continue the study with 'understudy study "
            f"KIND DATA --out {location}', or one of its runs with 'understudy run "
            f"{Path(location) / 'runs'}/NAME'"
        )
    if location in SOURCES and SOURCES[location].accepts(location):
        if Path(location).exists():
            raise InputError(
                f"{location!r} is a built-in data set and also a path here: write ./{location} for the path, "
                "or work in another folder for the built-in one"
            )
        return SOURCES[location]
    check_one_kind(location)
    for name in SOURCES:
        if SOURCES[name].accepts(location):
            return SOURCES[name]
    if Path(location).exists():
        raise InputError(f"{location} must be a folder, or a .zip, .parquet or .tar file")
    try:
        SOURCES[location]
    except InputError as error:
        raise InputError(f"no file or folder at {location!r}, and {error}") from None
    raise InputError(f"{location!r} is a kind of source, not a path: give the path of your images")


def _divide(
    pool: Pool, groups: CopyGroups, settings: DataSettings, *, seed: int
) -> dict[RealSplit, np.ndarray]:
    """Indices per split: declared splits are kept, and missing ones are taken from the train split."""
    declared = np.array([split or "train" for split in pool.declared])
    parts = {split: np.flatnonzero(declared == split) for split in _ORDER if (declared == split).any()}
    _check_classes(pool.images, parts)
    shares: dict[RealSplit, float] = {"val": settings.val_fraction, "test": settings.test_fraction}
    missing: Mapping[RealSplit, float] = {
        split: share for split, share in shares.items() if split not in parts
    }
    if not missing:
        return parts
    rest = parts["train"]
    images = pool.images.select(rest)
    groups.check_shares()
    divided = stratified_split(
        images.ids,
        images.labels,
        missing,
        class_names=images.class_names,
        seed=seed,
        groups=[groups.numbers[index] for index in rest.tolist()],
    )
    return parts | {split: rest[indices] for split, indices in divided.items()}


def _single_images(train: LabelledSet, *, shots: int | None) -> tuple[str, ...]:
    """A sentence if classes have a single train image, unless the user chose one shot."""
    single = [name for name, count in zip(train.class_names, train.counts, strict=True) if count == 1]
    if not single or shots == 1:
        return ()
    note = (
        f"train: {len(single):,} of {train.num_classes:,} classes have a single train image "
        f"({listed(single)}), so that a classifier can hardly learn them: add images"
    )
    return (note,)


def _check_classes(images: LabelledSet, parts: Mapping[RealSplit, np.ndarray]) -> None:
    """Check that all declared splits have the same classes, and that no class is empty."""
    classes = {
        split: {images.class_names[label] for label in images.labels[indices]}
        for split, indices in parts.items()
    }
    if "train" not in classes:
        raise InputError(
            f"the source must have train images, got only {' and '.join(parts)}, as the names say: add train "
            "images, or divide all images into splits with --set data.split_names=ignore"
        )
    for split in list(classes)[1:]:
        if classes[split] != classes["train"]:
            only = [classes["train"] - classes[split], classes[split] - classes["train"]]
            differences = " and ".join(
                f"only {name} has {listed(sorted(names))}"
                for name, names in zip(("train", split), only, strict=True)
                if names
            )
            raise InputError(f"every split must have the same classes, but {differences}")
    absent = [name for name in images.class_names if name not in classes["train"]]
    if absent:
        raise InputError(f"every class must have images, but these have none: {listed(absent)}")
