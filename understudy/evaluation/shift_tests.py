"""Further labelled test sets for trained classifiers, with some or all classes of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.copy_groups import looked_for, shared_with
from understudy.data.labelled_set import LabelledSet
from understudy.data.leaks import Fingerprints, check_leaks
from understudy.data.load import find_source
from understudy.data.pool import Pool, read_pool
from understudy.data.settings import DataSettings
from understudy.data.sources.source import AbstractSource
from understudy.evaluation.imagenet import TEST_SETS, imagenet_classes


@final
@dataclass(frozen=True, eq=False)
class FurtherTestSet:
    """A further test set of a run.

    Attributes:
        images: with the labels and class names of the run.
        classes: labels that occur, ascending.
        copies: which copies of the images that the run learned from were looked for, and how many images
            have a changed one; see :func:`understudy.data.copy_groups.shared_with`.
        left_out: number of ``images`` of ``classes`` that the run does not have; only sets of
            :data:`understudy.evaluation.imagenet.TEST_SETS` may have them.
    """

    images: LabelledSet
    classes: list[int]
    copies: Mapping[str, Any]
    left_out: Mapping[str, int]


def load_test_set(
    name: str,
    path: Path,
    *,
    class_names: Sequence[str],
    learned_from: Sequence[LabelledSet],
    settings: DataSettings,
) -> FurtherTestSet:
    """Read a further test set, in any form in which a run can read images.

    If the source has a test split, only its test images are used; otherwise all images.

    Args:
        name: the user's name for the test set, or one of :data:`understudy.evaluation.imagenet.TEST_SETS`,
            whose folders then stand for classes of ImageNet.
        path: image folder, zip, Parquet or WebDataset.
        class_names: class names of the run, by label.
        learned_from: real images that the run trained or selected on.
        settings: how the run read its images. ``source`` is not used, nor ``class_names`` if the test set is
            labelled with names.

    Raises:
        InputError: if the path does not exist or cannot be read, or if the test set has a class that the run
            does not have (those of the test sets of ImageNet are left out), fewer than two classes, or exact
            or near copies of images that the run learned from.
    """
    pool = _read(name, path, settings)
    declared = np.array([split == "test" for split in pool.declared])
    found = pool.images.select(np.flatnonzero(declared if declared.any() else np.ones(len(declared))))
    every = found
    found, names = _named(name, path, every, class_names)
    left_out = {
        "images": len(every) - len(found),
        "classes": int((every.counts > 0).sum() - (found.counts > 0).sum()),
    }
    present = [found.class_names[label] for label in np.flatnonzero(found.counts)]
    if len(present) < 2:
        raise InputError(
            f"the test set {name!r} ({path}) must have test images of two classes or more, got only "
            f"{listed(present) or 'none'}"
        )
    labels = [class_names.index(names[found.class_names[label]]) for label in found.labels]
    data = LabelledSet.from_files(
        found.files,
        labels,
        class_names=class_names,
        split="test",
        ids=found.ids,
        provenance={"source_path": [f"{name}/{each}" for each in found.provenance("source_path")]},
    )
    prints = pool.fingerprints.select(data.ids)
    known = [(part, Fingerprints.of_set(part)) for part in learned_from]
    _check_new(name, data, prints, known, max_distance=settings.near_duplicate_distance)
    shared = shared_with(data, prints, known, settings)
    searched = Fingerprints.joined([prints, *(of_part for _, of_part in known)])
    copies = looked_for(settings, searched, is_checked=False) | {"shared": shared}
    return FurtherTestSet(data, sorted(set(labels)), copies, left_out)


def left_out_sentence(name: str, left_out: Mapping[str, int]) -> str:
    """Say how many images of a test set have classes that the run lacks; empty if there are none.

    Example:
        >>> left_out_sentence("imagenet-a", {"images": 7, "classes": 2})
        "7 images of the test set 'imagenet-a' are left out: the run does not have their 2 classes"
    """
    if not left_out.get("images"):
        return ""
    whose = "class" if left_out["classes"] == 1 else f"{left_out['classes']:,} classes"
    return (
        f"{left_out['images']:,} images of the test set {name!r} are left out: the run does not have their "
        f"{whose}"
    )


def _named(
    name: str, path: Path, found: LabelledSet, class_names: Sequence[str]
) -> tuple[LabelledSet, Mapping[str, str]]:
    """The images with classes of the run, and by class of the test set the class of the run.

    Raises:
        InputError: for a class that the run does not have; a set of :data:`TEST_SETS` may have such classes.
    """
    present = [found.class_names[label] for label in np.flatnonzero(found.counts)]
    if name in TEST_SETS:
        names = imagenet_classes(name, present, class_names)
        kept = [number for number, label in enumerate(found.labels) if found.class_names[label] in names]
        return found.select(kept), names
    unknown = [each for each in present if each not in class_names]
    if unknown:
        raise InputError(
            f"the test set {name!r} ({path}) must have classes of the run ({listed(class_names)}), got "
            f"also {listed(unknown)}: rename these classes, or leave them out"
        )
    return found, {each: each for each in present}


def _read(name: str, path: Path, settings: DataSettings) -> Pool:
    if not path.exists():  # find_source would read a built-in data set for a word such as digits
        raise InputError(
            f"the test set {name!r} must be a folder, or a .zip, .parquet or .tar file, but nothing is at "
            f"{path}"
        )
    location = str(path.absolute())
    # Other sets name their files otherwise; their figures count images.
    settings = settings.model_copy(update={"source": location, "group_pattern": None, "group_column": None})
    try:
        source = find_source(location)
        if settings.class_names is not None and _has_names(source, location, settings):
            # The file then holds only words for prompts, and a test set needs no prompts.
            settings = settings.model_copy(update={"class_names": None})
        return read_pool(source.open(location, settings), settings)
    except InputError as error:
        problem = f"the test set {name!r} ({path}): {error.problem}"
        advice = (
            "change the files of the test set, because a run keeps its settings; for a new run instead: "
            f"{error.advice}"
        )
        raise InputError(problem, error.advice and advice) from None


def _has_names(source: AbstractSource, location: str, settings: DataSettings) -> bool:
    """Whether the source labels images with names rather than numbers, which get their names from a file."""
    contents = source.open(location, settings)
    first = next((item.label for item in contents.items if not item.problem), "")
    return contents.class_names is not None or isinstance(first, str)


def _check_new(
    name: str,
    data: LabelledSet,
    prints: Fingerprints,
    known: Sequence[tuple[LabelledSet, Fingerprints]],
    *,
    max_distance: int,
) -> None:
    for part in known:
        try:
            check_leaks([part, (data, prints)], max_distance=max_distance)
        except InputError as error:
            raise InputError(
                f"the test set {name!r} must be new to the classifiers: {error.problem}",
                "remove these images from the test set; if the near copies are in fact different images, "
                "start a new run with --set data.near_duplicate_distance=-1",
            ) from None
