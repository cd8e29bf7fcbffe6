"""Which images of a source show one picture: before they are divided, and across splits that were given."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from understudy.core.errors import InputError
from understudy.data.changed_copies import LOOKED_FOR, NOT_LOOKED_FOR
from understudy.data.labelled_set import LabelledSet
from understudy.data.leaks import Fingerprints, changed_links, copies
from understudy.data.row_index import MOST_COMPARED, uses_index
from understudy.data.settings import DataSettings

_MOST_OF_CLASS = 0.5  # share of the pictures of a class that may be copies of one another
_FEWEST = 10  # fewer copies are no reason for doubt
_EXAMPLES = 3


@final
@dataclass(frozen=True, eq=False)
class CopyGroups:
    """Groups of images that show one picture: exact, near and changed copies, directly or in a chain.

    Attributes:
        images: N images with the provenance column ``source_path``.
        prints: their fingerprints.
        max_distance: ``data.near_duplicate_distance``.
        changed: pairs of changed copies, int64 (pairs, 2); None if they were not looked for.
        numbers: group of each image.
    """

    images: LabelledSet
    prints: Fingerprints
    max_distance: int
    changed: np.ndarray | None
    numbers: list[int]

    @classmethod
    def find(cls, images: LabelledSet, prints: Fingerprints, settings: DataSettings) -> CopyGroups:
        """Look for all kinds of copies that the settings name."""
        changed, numbers = _grouped(prints, settings)
        return cls(images, prints, settings.near_duplicate_distance, changed, numbers)

    def check_shares(self) -> None:
        """Check that no group takes most of a class, before images are divided into splits.

        Raises:
            InputError: naming the class, and the setting without which its images count as different.
        """
        found = self._largest(self.numbers)
        if found is None:
            return
        near = self._largest(copies(self.prints, max_distance=self.max_distance)) is not None
        exact = copies(self.prints, max_distance=-1, changed=self.changed)
        changed = self.changed is not None and self._largest(exact) is not None
        options = ["data.near_duplicate_distance=-1"] * near + ["data.changed_copies=false"] * changed
        if not options:  # only both searches together link so many
            options = ["data.changed_copies=false"]
        indices, total = found
        name = self.images.class_names[self.images.labels[indices[0]]]
        paths = self._paths
        raise InputError(
            f"the images of a class must be different, but {len(indices):,} of the {total:,} pictures of "
            f"{name!r} look like copies of one another, such as {paths[indices[0]]} and {paths[indices[1]]}, "
            "and copies stay in one split: ",
            "if they are different images, such as those of a fixed camera, use "
            + " ".join(f"--set {option}" for option in options)
            + "; if they are copies, add other images",
        )

    def sentences(self) -> tuple[str, ...]:
        """Changed copies and copies of different classes, in words."""
        said = []
        if self.changed is not None and len(self.changed):
            sizes = Counter(self.numbers)
            linked = {self.numbers[index] for index in np.unique(self.changed).tolist()}
            said.append(
                f"copies: {sum(sizes[group] for group in linked):,} images show {len(linked):,} pictures, "
                f"most of them changed, such as {self._pair(*self.changed[0])}"
            )
        labels = self.images.labels.tolist()
        first: dict[int, int] = {}
        two = [
            (first[group], index)
            for index, group in enumerate(self.numbers)
            if labels[first.setdefault(group, index)] != labels[index]
        ]
        if two:
            i, j = two[0]
            names = (self.images.class_names[labels[index]] for index in (i, j))
            said.append(
                f"labels: {len({self.numbers[j] for _, j in two}):,} pictures have copies of "
                "different classes, such as "
                + " and ".join(
                    f"{self._paths[index]} ({name})" for index, name in zip((i, j), names, strict=True)
                )
            )
        return tuple(said)

    def shared(self, sets: Mapping[str, LabelledSet]) -> list[dict[str, Any]]:
        """For each two splits, how many images of the later one have a copy in the earlier one.

        Args:
            sets: some of the images by split.

        Returns:
            For each two splits that share pictures: ``split``, ``in``, ``images``, ``of`` and up to three
            ``examples`` (two paths).
        """
        rows = {split: [self.images.place[name] for name in data.ids] for split, data in sets.items()}
        return _shared(self.numbers, self._paths, rows)

    def _largest(self, numbers: Sequence[int]) -> tuple[list[int], int] | None:
        """A group with most pictures of a class: an image of each picture, and the pictures of the class."""
        pictures: dict[tuple[int, int], dict[str, int]] = {}
        totals: dict[int, set[str]] = {}
        for index, (group, label) in enumerate(zip(numbers, self.images.labels.tolist(), strict=True)):
            pictures.setdefault((group, label), {}).setdefault(self.prints.exact[index], index)
            totals.setdefault(label, set()).add(self.prints.exact[index])
        for (_, label), shown in pictures.items():
            if len(shown) >= _FEWEST and len(shown) > _MOST_OF_CLASS * len(totals[label]):
                return list(shown.values()), len(totals[label])
        return None

    def _pair(self, i: int, j: int) -> str:
        return f"{self._paths[i]} and {self._paths[j]}"

    @property
    def _paths(self) -> list[str]:
        return self.images.provenance("source_path")


def shared_with(
    data: LabelledSet,
    prints: Fingerprints,
    known: Sequence[tuple[LabelledSet, Fingerprints]],
    settings: DataSettings,
) -> list[dict[str, Any]]:
    """How many images of a further test set have a copy among the images that a run learned from.

    Args:
        data: the test set, with the provenance column ``source_path``.
        prints: its fingerprints.
        known: sets of the run with their fingerprints.
        settings: the kinds of copies to look for.

    Returns:
        As :meth:`CopyGroups.shared`, for the test set and each of the other sets.
    """
    sets = [*known, (data, prints)]
    _, numbers = _grouped(Fingerprints.joined([each for _, each in sets]), settings)
    paths = [path for part, _ in sets for path in part.provenance("source_path")]
    starts = np.cumsum([0, *(len(part) for part, _ in sets)]).tolist()
    rows: dict[str, Sequence[int]] = {
        part.split: range(*ends) for (part, _), ends in zip(sets, itertools.pairwise(starts), strict=True)
    }
    return [each for each in _shared(numbers, paths, rows) if each["split"] == data.split]


def _grouped(prints: Fingerprints, settings: DataSettings) -> tuple[np.ndarray | None, list[int]]:
    """Pairs of changed copies if they are looked for, and the group of each image."""
    changed = changed_links(prints) if settings.changed_copies else None
    return changed, copies(prints, max_distance=settings.near_duplicate_distance, changed=changed)


def _shared(
    numbers: Sequence[int], paths: Sequence[str], rows: Mapping[str, Sequence[int]]
) -> list[dict[str, Any]]:
    """What :meth:`CopyGroups.shared` returns, from the group and path of each image, and rows by split."""
    found = []
    for before, split in itertools.combinations(rows, 2):
        partner = {numbers[index]: index for index in reversed(rows[before])}
        shared = [index for index in rows[split] if numbers[index] in partner]
        if shared:
            examples = [[paths[index], paths[partner[numbers[index]]]] for index in shared[:_EXAMPLES]]
            counts = {"images": len(shared), "of": len(rows[split])}
            found.append({"split": split, "in": before, **counts, "examples": examples})
    return found


def looked_for(settings: DataSettings, prints: Fingerprints, *, is_checked: bool) -> dict[str, Any]:
    """The kinds of copies that are looked for, and those that are not, in words, and whether all kinds are.

    Args:
        settings: of the run.
        prints: of all images that were searched.
        is_checked: whether a test of the package has searched the source for changed copies, so that the run
            does not.
    """
    distance = settings.near_duplicate_distance
    kinds, missing = ["the same pixels"], []
    if distance >= 0:
        kinds.append(f"near copies (perceptual hashes within {distance} of 64 bits, and similar pixels)")
    else:
        missing.append("near copies (data.near_duplicate_distance is -1)")
    if settings.changed_copies:
        by_whom = "searched by a test of the package, not again by this run: " if is_checked else ""
        kinds.append(f"changed copies ({by_whom}{LOOKED_FOR})")
        missing.append(NOT_LOOKED_FOR)
        if not is_checked and uses_index(len(set(prints.exact))):
            missing.append(
                f"a few changed copies that the index of more than {MOST_COMPARED:,} images misses"
            )
    else:
        missing.append("changed copies such as flips, turns and crops (data.changed_copies is false)")
    return {
        "looked_for": ", ".join(kinds),
        "not_looked_for": ", ".join(missing),
        "all_kinds": distance >= 0 and settings.changed_copies,
    }


def shared_sentences(shared: Sequence[Mapping[str, Any]], *, test: str = "test images") -> tuple[str, ...]:
    """What :meth:`CopyGroups.shared` found, in words; ``test`` says which test images."""
    words = {"train": "train images", "val": "validation images", "test": test}
    return tuple(
        f"{each['images']:,} of {each['of']:,} {words[each['split']]} have a changed copy among the "
        f"{words[each['in']]}" + _such_as(each["examples"])
        for each in shared
    )


def _such_as(examples: Sequence[Sequence[str]]) -> str:
    return f", such as {'; '.join(f'{a} of {b}' for a, b in examples)}" if examples else ""
