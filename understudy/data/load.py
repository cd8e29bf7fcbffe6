"""Load a source into checked train, val and test sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.core.progress import Observer
from understudy.data.copy_groups import CopyGroups, looked_for, shared_sentences
from understudy.data.image_groups import about_groups, check_apart, joined, num_groups
from understudy.data.labelled_set import LabelledSet
from understudy.data.leaks import check_leaks, without_shared
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
from understudy.data.sources.archives import what_instead
from understudy.data.sources.leftovers import LeftOut
from understudy.data.sources.shards import check_one_kind
from understudy.data.sources.source import SOURCES, AbstractSource
from understudy.data.sources.split_names import RealSplit
from understudy.data.splits import stratified_split, take_at_most, take_shots

_ORDER: tuple[RealSplit, ...] = ("train", "val", "test")
_UNEVEN = 0.75  # images by which a class may miss its share of a split unsaid, as every rounding does
_UNEVEN_SHARE = 0.05
_JOIN = "put the images of all splits together and divide them again, with --set data.split_names=join"


@final
@dataclass(frozen=True, eq=False)
class Splits:
    """The real images of a run.

    Attributes:
        train: images to train on.
        val: images for model selection.
        test: images for testing, sealed until the end.
        prompt_names: words for prompts by label; the cleaned class names unless a file gives others.
        skipped: (file, reason) for each file left out.
        known_ids: ids of all real images, including those that ``data.shots`` left out.
        spare: a second sample of ``data.shots`` train images per class, or None if too few are left; only for
            measuring how far two real sets differ.
        notes: what was taken for what, in sentences.
        left_out: files that are no images of the set, counted by reason.
        copies: which copies were looked for, and which splits that were given share pictures.
        split_off: those of validation and test that were taken from the train images of the source.
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
    split_off: tuple[RealSplit, ...] = ()


def load_splits(settings: DataSettings, *, seed: int, observer: Observer | None = None) -> Splits:
    """Read a source and divide it into train, val and test sets that share no image.

    The source's own splits are kept; missing ones are taken from its train split, stratified by class, with
    exact, near and changed copies in the same split. ``data.shots`` then limits train and val.

    Args:
        settings: the source and how to read it.
        seed: seed of the split and the shots.
        observer: shows a bar for a large source.

    Raises:
        InputError: if the source has a fault; the message says what and where.
    """
    source = find_source(settings.source)
    pool = _with_val_as_test(read_pool(source.open(settings.source, settings), settings, observer), settings)
    search = settings.model_copy(update={"changed_copies": False}) if source.is_checked else settings
    groups = CopyGroups.find(pool.images, pool.fingerprints, search)
    parts = _divide(pool, groups, settings, seed=seed)
    sets, shared_out = _sets(pool, parts, settings)
    check_apart(sets.values(), advice=_JOIN)
    sets, spare = _few(sets, settings, seed=seed)
    check_leaks(
        [(sets[split], pool.fingerprints.select(sets[split].ids)) for split in _ORDER],
        max_distance=settings.near_duplicate_distance,
    )
    shared = groups.shared({split: sets[split] for split in _ORDER})
    notes = (
        *pool.notes,
        *_joined(pool, settings),
        *_without_test(pool, settings),
        *_lost(pool),
        *shared_out,
        *groups.sentences(),
        *about_groups(sets.values()),
        *_uneven(pool, groups, parts, settings),
        *(f"warning: {each}" for each in shared_sentences(shared)),
        *_single_images(sets["train"], shots=settings.shots),
        *_few_val_images(sets["val"], settings, is_given="val" in pool.declared),
    )
    return Splits(
        sets["train"],
        sets["val"],
        sets["test"],
        pool.prompt_names,
        pool.skipped,
        frozenset(pool.images.ids),
        spare,
        notes,
        pool.left_out,
        looked_for(settings, pool.fingerprints, is_checked=source.is_checked) | {"shared": shared},
        tuple(_missing(pool, settings)),
    )


def _few(
    sets: dict[RealSplit, LabelledSet], settings: DataSettings, *, seed: int
) -> tuple[dict[RealSplit, LabelledSet], LabelledSet | None]:
    """The sets with ``data.shots`` images per class, and as many further train images if there are."""
    if settings.shots is None:
        return sets, None
    # A subset becomes a negative seed, which no run has.
    choice = seed if settings.subset is None else -1 - settings.subset
    everything = sets["train"]
    train = take_shots(everything, settings.shots, seed=choice)
    taken = set(train.ids)
    left = everything.select([index for index, name in enumerate(everything.ids) if name not in taken])
    spare = take_shots(left, settings.shots, seed=choice) if left.counts.min() >= settings.shots else None
    return sets | {"train": train, "val": take_at_most(sets["val"], settings.shots, seed=choice)}, spare


def find_source(location: str) -> AbstractSource:
    """Find the source that reads ``location``; a name may be built in, or a path.

    Raises:
        InputError: if no source can read the location, it is the folder of a study, or several sources can
            read it.
    """
    if (Path(location) / "study.yaml").is_file():
        runs = [str(path.parent) for path in sorted(Path(location).glob("runs/*/settings.yaml"))]
        raise InputError(
            f"{location} is the folder of a study, not of images: go on with the command that began it, "
            f"'understudy study KIND DATA --out {location}' or 'understudy run DATA --repeats N --out "
            f"{location}', or give one of its runs, {listed(runs or [f'{location}/runs/NAME'])}"
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
        raise _other_file(Path(location))
    if "://" in location:
        raise InputError(
            f"DATA must be on this machine, got the address {location}: download it, and give the file or "
            "folder; a data set of the Hugging Face hub is given as org/name"
        )
    try:
        SOURCES[location]
    except InputError as error:
        raise InputError(f"no file or folder at {location!r}, and {error}") from None
    raise InputError(f"{location!r} is a kind of source, not a path: give the path of your images")


def _other_file(path: Path) -> InputError:
    """The error for a file of a kind that no source reads."""
    found = what_instead(path) if path.is_file() else ""
    advice = (
        f"but it is {found}"
        if found
        else (
            "got another file: write the images into class folders, as in cat/1.png, or into a Parquet file "
            "with the columns image and label"
        )
    )
    return InputError(f"{path} must be a folder, or a .zip, .parquet or .tar file, {advice}")


def _divide(
    pool: Pool, groups: CopyGroups, settings: DataSettings, *, seed: int
) -> dict[RealSplit, np.ndarray]:
    """Indices per split: declared splits are kept, and missing ones are taken from the train split."""
    is_joined = settings.split_names == "join"
    declared = np.array(["train" if is_joined or split is None else split for split in pool.declared])
    parts = {split: np.flatnonzero(declared == split) for split in _ORDER if (declared == split).any()}
    _check_classes(pool.images, parts)
    missing = _missing(pool, settings)
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
        groups=joined([groups.numbers[index] for index in rest.tolist()], images),
        test_seed=settings.test_split,
    )
    return parts | {split: rest[indices] for split, indices in divided.items()}


def _missing(pool: Pool, settings: DataSettings) -> dict[RealSplit, float]:
    """Splits that the source does not give, with their share of the train images."""
    given = set() if settings.split_names == "join" else set(pool.declared)
    wanted: dict[RealSplit, float] = {"val": settings.val_fraction, "test": settings.test_fraction}
    return {split: share for split, share in wanted.items() if split not in given}


def _sets(
    pool: Pool, parts: Mapping[RealSplit, np.ndarray], settings: DataSettings
) -> tuple[dict[RealSplit, LabelledSet], tuple[str, ...]]:
    """The images of each split, and a sentence about those that ``data.shared_images`` has left out.

    Raises:
        InputError: if a class loses all images of a split.
    """
    sets = {split: pool.images.select(parts[split]).with_split(split) for split in _ORDER}
    if settings.shared_images == "refuse":
        return sets, ()
    splits = [(data, pool.fingerprints.select(data.ids)) for data in sets.values()]
    kept = without_shared(splits, max_distance=settings.near_duplicate_distance)
    lost = {split: len(data) - len(left) for (split, data), left in zip(sets.items(), kept, strict=True)}
    for split, data in zip(sets, kept, strict=True):
        if empty := [name for name, count in zip(data.class_names, data.counts, strict=True) if not count]:
            raise InputError(
                f"data.shared_images=leave-out leaves no {split} images of {listed(empty)}, because all have "
                "copies in other splits: ",
                _JOIN,
            )
    counts = listed([f"{count:,} of {split}" for split, count in lost.items() if count])
    told = f"copies: left out as copies of images of other splits (data.shared_images): {counts}"
    return dict(zip(sets, kept, strict=True)), (told,) if any(lost.values()) else ()


def _uneven(
    pool: Pool, groups: CopyGroups, parts: Mapping[RealSplit, np.ndarray], settings: DataSettings
) -> tuple[str, ...]:
    """A sentence if classes are not divided by the shares that the settings give, and why."""
    missing = _missing(pool, settings)
    shares: dict[RealSplit, float] = {"train": 1 - sum(missing.values()), **missing}
    images = pool.images
    counts = np.array([np.bincount(images.labels[parts[s]], minlength=images.num_classes) for s in shares]).T
    totals, aims = counts.sum(axis=1, keepdims=True), np.array(list(shares.values()))
    off = np.abs(counts - totals * aims).max(axis=1)
    is_odd = (off > _UNEVEN) & (np.abs(counts / totals - aims).max(axis=1) > _UNEVEN_SHARE)
    odd = [label for label in np.argsort(-off, kind="stable").tolist() if is_odd[label]]
    if not odd:
        return ()
    named = [f"{images.class_names[label]} {'/'.join(map(str, counts[label]))}" for label in odd]
    has_copies = len(set(groups.numbers)) < len(images)
    kept = ["copies of a picture"] * has_copies + ["images of a group"] * bool(num_groups([images]))
    together = f"; {' and '.join(kept)} stay in one split" if kept else ""
    percent = "/".join(f"{100 * share:g}" for share in aims)
    told = f"the shares of {'/'.join(shares)}, {percent}%, hold for all classes together"
    where = f"in {len(odd):,} of {images.num_classes:,} classes they differ"
    return (f"splits: {told}; {where} (images: {listed(named, most=3)}){together}",)


def _with_val_as_test(pool: Pool, settings: DataSettings) -> Pool:
    """The same images; those that the source calls validation images are test images, if the settings say so.

    Raises:
        InputError: if the source has no validation images, or test images too.
    """
    if settings.split_names != "val-as-test":
        return pool
    if not _has_val_alone(pool):
        has = "has test images" if "test" in {*pool.declared, *pool.lost} else "has no validation images"
        raise InputError(
            "data.split_names=val-as-test is for a source with validation images and without test images, "
            f"but {settings.source} {has}: leave data.split_names out"
        )
    return replace(pool, declared=tuple("test" if split == "val" else split for split in pool.declared))


def _has_val_alone(pool: Pool) -> bool:
    """Whether the source has validation images and no test images, usable or not."""
    declared = {*pool.declared, *pool.lost}
    return "val" in declared and "test" not in declared


def _without_test(pool: Pool, settings: DataSettings) -> tuple[str, ...]:
    """A sentence if the source has validation images that others may take for test images."""
    if settings.split_names == "join" or not _has_val_alone(pool):
        return ()
    told = (
        f"splits: the source has validation but no test images, so {settings.test_fraction:.0%} of its train "
        "images are now test images; if others report results on its validation images, as for ImageNet, "
        "test on them too, with --set data.split_names=val-as-test"
    )
    return (told,)


def _joined(pool: Pool, settings: DataSettings) -> tuple[str, ...]:
    """A sentence if the splits of the source were put together."""
    if settings.split_names != "join" or not any(pool.declared):
        return ()
    return ("splits: the images of all splits were put together and divided again (data.split_names=join)",)


def _lost(pool: Pool) -> tuple[str, ...]:
    """A sentence for each split of which no image could be used, so that train images take their place."""
    return tuple(
        f"warning: none of the {split} images of the source can be used, so {split} images are split off "
        "from train"
        for split in pool.lost
        if split != "train"
    )


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


def _few_val_images(val: LabelledSet, settings: DataSettings, *, is_given: bool) -> tuple[str, ...]:
    """A sentence if classes have fewer validation images than shots, because there are no more."""
    shots = settings.shots or 0
    counts = zip(val.class_names, val.counts, strict=True)
    few = [f"{name} {count}" for name, count in counts if count < shots]
    if not few:
        return ()
    is_given = is_given and settings.split_names != "join"
    how = "add validation images" if is_given else "raise data.val_fraction, or add images"
    note = (
        f"val: {len(few):,} of {val.num_classes:,} classes have fewer validation images than the {shots} "
        f"of data.shots ({listed(few)}), because the validation split holds no more: {how}"
    )
    return (note,)


def _check_classes(images: LabelledSet, parts: Mapping[RealSplit, np.ndarray]) -> None:
    """Check that all declared splits have the same classes, and that no class is empty."""
    if "train" not in parts:
        raise InputError(
            f"the source must have train images, got only {' and '.join(parts)}, as the names say: ",
            f"add train images, or {_JOIN}",
        )
    counts = {
        split: np.bincount(images.labels[indices], minlength=images.num_classes)
        for split, indices in parts.items()
    }
    absent = [images.class_names[label] for label in np.flatnonzero(images.counts == 0)]
    if absent:
        raise InputError(
            f"every class must have images, but these have none: {listed(absent)}: add images, or leave "
            "these classes out of the list of class names (classes.txt, dataset_info.json, the features of "
            "the table)"
        )
    lacking = [
        f"{split} {_lacks(images, np.flatnonzero(count == 0))}"
        for split, count in counts.items()
        if not count.all()
    ]
    if lacking:
        raise InputError(
            f"every split must have the same classes, but {' and '.join(lacking)}: ",
            f"add images of these classes there, or move the classes elsewhere, or {_JOIN}",
        )


def _lacks(images: LabelledSet, labels: np.ndarray) -> str:
    """Say which classes a split lacks, and where another one has an image of the first of them."""
    paths, first = images.provenance("source_path"), int(np.flatnonzero(images.labels == labels[0])[0])
    return f"lacks {listed([images.class_names[label] for label in labels])} (as in {paths[first]})"
