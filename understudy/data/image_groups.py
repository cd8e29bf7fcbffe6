"""Images that belong together, such as those of one patient: they stay in one split.

A regular expression finds the group in the path of an image, or a column of a table names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.labelled_set import LabelledSet
from understudy.data.settings import DataSettings
from understudy.functional.clusters import clusters_of_classes

_COLUMN = "group"
_LEAST = 2  # groups of test images; the interval of one is not known
_ENOUGH = 10  # groups of test images, from which on intervals held the truth in simulations


def provenance_of_groups(
    paths: Sequence[str], in_table: Iterable[str | None], settings: DataSettings
) -> dict[str, list[str]]:
    """The provenance column with the group of each image; no column if the settings name no groups.

    Args:
        paths: of the images.
        in_table: what the column ``data.group_column`` holds; None where it holds nothing.
        settings: say where groups are found.

    Raises:
        InputError: if the group of an image is not found.
    """
    if settings.group_pattern is not None:
        where, found = "data.group_pattern", _in_paths(paths, settings.group_pattern)
        advice = "paths are relative to DATA: change the pattern, or rename the files"
    elif settings.group_column is not None:
        where, found = "data.group_column", list(in_table)
        advice = "fill the column; of images in folders or archives, data.group_pattern finds the group"
    else:
        return {}
    named = [group for group in found if group is not None]
    if len(named) < len(found):
        without = [path for path, group in zip(paths, found, strict=True) if group is None]
        raise InputError(
            f"every image must belong to a group ({where}), but {len(without):,} of {len(paths):,} have "
            f"none, such as {listed(without, most=3)}: ",
            advice,
        )
    _check_spelling(named, where)
    return {_COLUMN: named}


def _check_spelling(groups: Sequence[str], where: str) -> None:
    """Check that no two groups differ in case alone, since they may be one patient.

    Raises:
        InputError: naming two of them.
    """
    spellings: dict[str, str] = {}
    for group in groups:
        other = spellings.setdefault(group.casefold(), group)
        if other != group:
            raise InputError(
                f"groups must not differ in case alone ({where}), but {other!r} and {group!r} do: spell "
                "them alike"
            )


def _in_paths(paths: Sequence[str], pattern: str) -> list[str | None]:
    """The group that the pattern finds in each path; None where it finds none."""
    return [_named(match) if (match := re.search(pattern, path)) else None for path in paths]


def _named(match: re.Match[str]) -> str | None:
    """What the brackets hold, or the match of a pattern without any; None if that is nothing."""
    parts = [part or "" for part in (match.groups() if match.re.groups else (match[0],))]
    return "/".join(parts) if any(parts) else None


def groups_of(images: LabelledSet) -> np.ndarray | None:
    """Number of the group of each image, int64 (N,); None if images have no groups."""
    if not images.has(_COLUMN):
        return None
    return np.unique(images.provenance(_COLUMN), return_inverse=True)[1]


def joined(copies: Sequence[int], images: LabelledSet) -> Sequence[int]:
    """Numbers of units that must not be divided: images are linked by being copies, and by their group.

    Args:
        copies: number of the picture that each image shows.
        images: with their groups, if they have any.

    Example:
        >>> from PIL import Image
        >>> pixel = [Image.new("RGB", (1, 1))] * 3
        >>> group = {"group": ["ann", "ben", "ben"]}
        >>> images = LabelledSet.from_images(
        ...     pixel, [0, 0, 0], class_names=["a"], split="train", provenance=group
        ... )
        >>> joined([0, 0, 1], images), joined([0, 1, 2], images)
        ([0, 0, 0], [0, 1, 1])
    """
    groups = groups_of(images)
    if groups is None:
        return copies
    pictures = np.unique(copies, return_inverse=True)[1]
    first = int(pictures.max()) + 1
    size = first + int(groups.max()) + 1
    links = coo_matrix((np.ones(len(groups)), (pictures, first + groups)), shape=(size, size))
    units: list[int] = connected_components(links, directed=False)[1][pictures].tolist()
    return units


def check_apart(sets: Iterable[LabelledSet], *, advice: str) -> None:
    """Check that no group has images in two splits, and that the test images are of several groups.

    Args:
        sets: of all splits.
        advice: how to have the splits of the source divided again.

    Raises:
        InputError: naming the groups.
    """
    names = {images.split: set(images.provenance(_COLUMN)) for images in sets if images.has(_COLUMN)}
    for before, later in combinations(names, 2):
        if shared := sorted(names[before] & names[later]):
            raise InputError(
                f"images of a group must stay in one split, but {before} and {later} both have images of "
                f"{listed(shared, most=5)}: ",
                advice,
            )
    if "test" in names and len(names["test"]) < _LEAST:
        raise InputError(
            f"the test images must be of at least {_LEAST} groups, got only {listed(sorted(names['test']))}: "
            "add groups, or divide them otherwise"
        )


def about_groups(sets: Iterable[LabelledSet]) -> tuple[str, ...]:
    """Sentences about the groups of each split; none if images have no groups."""
    sets = list(sets)
    counted = num_groups(sets)
    if not counted:
        return ()
    each = ", ".join(f"{count:,} of {split}" for split, count in counted.items())
    told = f"groups: {each}; images of a group stay in one split, and intervals count groups"
    if sum(counted.values()) == sum(map(len, sets)):
        return (
            told,
            "warning: every image is a group of its own: is that what the pattern or column should say?",
        )
    if counted.get("test", _ENOUGH) < _ENOUGH:
        few = f"warning: the test images are of {counted['test']} groups only: with fewer than {_ENOUGH}"
        return (told, f"{few}, intervals of accuracy for 95% held the truth in 88% of simulations")
    return (told,)


def num_groups(sets: Iterable[LabelledSet]) -> dict[str, int]:
    """The number of groups of each split; empty if images have no groups."""
    numbers = {images.split: groups_of(images) for images in sets}
    return {split: len(np.unique(found)) for split, found in numbers.items() if found is not None}


def groups_of_classes(images: LabelledSet) -> list[int] | None:
    """The number of groups with images of each class; None if images have no groups."""
    groups = groups_of(images)
    if groups is None:
        return None
    counts: list[int] = clusters_of_classes(groups, images.labels, images.num_classes).tolist()
    return counts
