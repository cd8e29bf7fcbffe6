"""Which split of a data set a folder or file name stands for.

A name stands for a split if it has one of the words of :data:`SPLIT_WORDS` between characters that are no
letters: ``Training``, ``seg_train``, ``train2017``, ``shapes-validation-00.tar``. These are the words of the
datasets package. Words may be written together with a word for a collection (``trainset``, ``TestImages``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar, final

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.settings import DataSettings

RealSplit = Literal["train", "val", "test"]

SPLIT_WORDS: dict[str, RealSplit] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
SPLITS: tuple[RealSplit, ...] = ("train", "val", "test")

_COLLECTION = r"(?:sets?|data|datasets?|images?|imgs?|pictures|photos|files|folder|split|samples)"
_SPLIT = re.compile(rf"({'|'.join(SPLIT_WORDS)}){_COLLECTION}?")


_Name = TypeVar("_Name", bound=Any)
_FEW = 5
"""More parts than this with different names are no splits."""


@final
@dataclass(frozen=True)
class SplitName:
    """A name and what it says about splits."""

    name: str

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Runs of letters in lower case; an upper-case letter after a lower-case one begins a word."""
        return tuple(re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.name).lower()))

    @cached_property
    def splits(self) -> frozenset[RealSplit]:
        """The splits that the words of the name stand for; more than one if the name is ambiguous."""
        found = (_SPLIT.fullmatch(word) for word in self.words)
        return frozenset(SPLIT_WORDS[match[1]] for match in found if match)

    @property
    def split(self) -> RealSplit | None:
        """The split that the name stands for; None if it has no word for a split, or words for several."""
        return next(iter(self.splits)) if len(self.splits) == 1 else None

    @cached_property
    def rest(self) -> tuple[str, ...]:
        """The words that neither stand for a split nor for a collection."""
        return tuple(
            word for word in self.words if not re.fullmatch(rf"{_SPLIT.pattern}|{_COLLECTION}", word)
        )

    @property
    def is_plain(self) -> bool:
        """Whether the name says a split and nothing else, as ``test`` and ``training_set_1`` do."""
        return self.split is not None and not self.rest


def split_of(name: str) -> RealSplit | None:
    """The split that a name stands for, or None.

    Example:
        >>> [split_of(name) for name in ("Validation", "train-00000-of-00002.parquet", "strainer")]
        ['val', 'train', None]
    """
    return SplitName(name).split


def public_as_val(splits: Mapping[_Name, RealSplit | None]) -> dict[_Name, RealSplit | None]:
    """The splits of names, with a public test split as validation if there is a private one.

    Competitions such as FER-2013 have ``Training``, ``PublicTest`` and ``PrivateTest``. The public one was
    open to choose models by, and papers use it so.

    Args:
        splits: of each name, as :func:`split_of` returns them.
    """
    words = {
        name: SplitName(name).words
        for name, split in splits.items()
        if split == "test" and isinstance(name, str)
    }
    has_private = any("private" in each for each in words.values())
    if not has_private or "val" in splits.values():
        return dict(splits)
    return {name: "val" if "public" in words.get(name, ()) else split for name, split in splits.items()}


def named_splits(names: Sequence[str], location: str, settings: DataSettings) -> dict[str, RealSplit | None]:
    """The split of each part of a data set that is stored in named parts; None if its images are divided.

    Raises:
        InputError: if a name is no split, or none is the train split.
    """
    if len(names) == 1 or settings.split_names == "ignore":
        return dict.fromkeys(names)
    splits = public_as_val({name: split_of(name) for name in names})
    if None in splits.values() or "train" not in splits.values():
        raise InputError(
            f"{location}: splits must be train, validation and test, got {listed(names)}: ",
            "rename them, or divide all images again with --set data.split_names=ignore",
        )
    return splits


def part_notes(
    splits: Mapping[str, RealSplit | None], kind: str, settings: DataSettings, *, are_divided: bool
) -> tuple[str, ...]:
    """What the names of parts were taken for, in sentences.

    Args:
        splits: as :func:`named_splits` returns them.
        kind: ``folder`` or ``split``, as the parts are called.
        settings: whether names are read as splits.
        are_divided: whether nothing but the names says splits.
    """
    if any(splits.values()):
        return (f"splits: {taken_as(splits, source=f'the {kind} names')}",)
    if settings.split_names == "ignore":
        return ()
    return only_one(next(iter(splits)), kind, are_divided=are_divided)


def only_one(name: str, kind: str, *, are_divided: bool) -> tuple[str, ...]:
    """A sentence if the only file, folder or part of a data set has the name of a split that is not train.

    Args:
        name: its name, which is not read as a split.
        kind: ``file``, ``folder`` or ``split``.
        are_divided: whether nothing else says the splits of its images.
    """
    split = split_of(name)
    if split in (None, "train"):
        return ()
    what = "its images are divided into train, val and test" if are_divided else "the name is not read"
    return (f"splits: the {kind} {name} says {split}, but it is the only one: {what}",)


def names_say_none(names: Collection[str], kind: str) -> tuple[str, ...]:
    """A sentence if names differ in a few words, none of which says a split: they may in another language.

    Args:
        names: of the parts of a data set, none of which is read as a split.
        kind: what the parts are, such as ``files``.
    """
    words = {SplitName(name.rpartition(".")[0] or name).words for name in names}
    if not 2 <= len(words) <= _FEW:
        return ()  # numbers of shards, or checksums
    told = f"no word for a split is in the names of the {kind} ({listed(sorted(names), most=3)})"
    return (
        f"splits: {told}, so all images are divided; if the names are splits, call them train, val, test",
    )


def splits_by_name(names: Collection[str]) -> dict[str, SplitName]:
    """What each of several names says about splits.

    A word that all names begin or end with does not count if a name has words for two splits: in
    ``train-signs-train`` and ``train-signs-test``, the last word decides.
    """
    found = {name: SplitName(name) for name in names}
    if not any(len(each.splits) > 1 for each in found.values()):
        return found
    words = [each.words for each in found.values()]
    start = _shared(words)
    end = _shared([tuple(reversed(each[start:])) for each in words])
    return {
        name: SplitName("_".join(each.words[start : len(each.words) - end])) for name, each in found.items()
    }


def written_together(names: Collection[str]) -> list[str]:
    """Names that differ only in letters that could stand for splits, such as ``mytrain`` and ``mytest``."""
    variants: dict[str, dict[RealSplit, str]] = {}
    for name in sorted(names):
        plain = re.sub(r"[\W\d_]", "", name.lower())
        for word, split in SPLIT_WORDS.items():
            if word in plain:
                variants.setdefault(plain.replace(word, "*"), {}).setdefault(split, name)
    return next((list(each.values()) for each in variants.values() if len(set(each.values())) > 1), [])


def both_readings(
    location: str, names: Sequence[str], *, what: str, otherwise: str, splits: str
) -> InputError:
    """An error for names that can be read as splits or otherwise; ``splits`` says how to write splits."""
    return InputError(
        f"{location} can be read in two ways, because of the {what} "
        f"{listed([repr(name) for name in names])}: as splits (train, val, test), or as {otherwise}. ",
        f"For splits, {splits}. For the other reading, use --set data.split_names=ignore",
    )


def taken_as(splits: Mapping[str, RealSplit | None], *, source: str = "") -> str:
    """Which names stand for which split, in one line.

    Example:
        >>> taken_as({"Training/": "train", "Testing/": "test"}, source="the folder names")
        'train: Training/, test: Testing/ (from the folder names)'
    """
    parts = [
        f"{split}: {listed(names, most=3)}"
        for split in SPLITS
        if (names := sorted(name for name, each in splits.items() if each == split))
    ]
    return ", ".join(parts) + (f" (from {source})" if source else "")


def _shared(words: Sequence[Sequence[str]]) -> int:
    """How many words all lists begin with."""
    count = 0
    for same in zip(*words, strict=False):
        if len(set(same)) > 1:
            break
        count += 1
    return count
