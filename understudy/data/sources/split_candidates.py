"""Columns and fields that may say splits: what is known from their names and from all of their values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Number
from typing import Any, final

from understudy.data.sources.split_names import RealSplit, SplitName, public_as_val, split_of

SAYS_SPLIT = "split"
"""Name, in any case, of the column or field whose text must be splits."""
Options = tuple[RealSplit, ...]
"""The splits that a value allows, the likeliest first."""
PUBLIC_TEST: Options = ("val", "test")
"""The splits of a public test split beside a private one."""

_FEW = 20
"""A column with more values than this has names of files or images, not of splits."""
_FEW_NUMBERS = 3
_LIKE_SPLITS = re.compile(
    "splits?|usage|(sub)?set|partition|fold|dev|holdout"
    "|train(ing|set)?|val(id|idation)?|eval(uation)?|test(ing|set)?"
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_FLAG = frozenset(("is", "in", "for", "to", "of", "the", "use", "used", "flag", "mask", "sample", "subset"))
"""Words that leave the meaning of a column such as ``is_training`` as it is."""
_NEGATED = frozenset(("not", "no", "non", "un", "excluded", "exclude", "without"))
_UNCLEAR = _NEGATED | {"valid", "holdout", "hold", "out"}
"""Words of columns such as ``not_test`` and ``is_valid``, which may mean either."""
_UNNAMED = frozenset(("split", "splits", "usage", "subset", "partition", "holdout"))
"""Names of columns that say splits, but not which one a number stands for."""
_YES = frozenset((True, "true", "yes", "1", "y", "t"))
_NO = frozenset((False, "false", "no", "0", "n", "f"))
_OTHERWISE: Mapping[RealSplit, Options] = {
    "train": ("test", "val"),
    "val": ("train", "test"),
    "test": ("train", "val"),
}
"""What an image is that a column such as ``is_test`` says not to be of this split."""


def may_say_split(name: str) -> bool:
    """Whether a column or field may say splits: whether its name has such a word.

    Example:
        >>> [may_say_split(name) for name in ("Usage", "data_split", "isTrain", "settings")]
        [True, True, True, False]
    """
    return any(_LIKE_SPLITS.fullmatch(word.lower()) for word in _WORD.findall(name))


def plain_value(value: Any) -> Any:
    """A value as it is compared: bytes as text, and None for null, blank text and NaN."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value if value.strip() else None
    return None if isinstance(value, float) and math.isnan(value) else value


@final
@dataclass
class Candidate:
    """A column or field that may say splits.

    Attributes:
        name: of the column.
        values: its different values with the splits that text says, in the order in which they came. If some
            say none, only the first :data:`_FEW` or so.
        kinds: types of the values in words, such as ``numbers``.
        all_say: whether every value that is not missing says a split.
    """

    name: str
    values: dict[Any, RealSplit | None] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    all_say: bool = True

    def add(self, values: Iterable[Any]) -> None:
        """Take in the values of further rows."""
        try:
            new = dict.fromkeys(map(plain_value, values))
        except TypeError:  # lists cannot be keys
            self.kinds.add("lists")
            self.all_say = False
            return
        for value in new:
            if value is None or value in self.values:
                continue
            split = split_of(value) if isinstance(value, str) else None
            self.kinds.add(_kind(value))
            self.all_say &= split is not None
            if self.all_say or len(self.values) <= _FEW:
                self.values[value] = split

    @property
    def is_open(self) -> bool:
        """Whether further values matter."""
        return self.all_say or (may_say_split(self.name) and len(self.values) <= _FEW)

    @property
    def is_few(self) -> bool:
        """Whether there are so few values that they may be the names of splits."""
        return len(self.values) <= _FEW

    @property
    def splits(self) -> set[RealSplit]:
        """The splits that values say in words."""
        return {split for split in self.values.values() if split}

    @property
    def by_words(self) -> dict[Any, Options]:
        """The splits of each value that says one in words."""
        splits = public_as_val(self.values)
        return {
            value: (split,) if split == self.values[value] else PUBLIC_TEST
            for value, split in splits.items()
            if split
        }

    @property
    def by_flags(self) -> dict[Any, Options]:
        """The splits of each value of a column such as ``is_training``; empty if its name says no split."""
        name = SplitName(self.name)
        if name.split is None or not self.is_flag or not _NEGATED.isdisjoint(name.words):
            return {}
        return {
            value: (name.split,) if _folded(value) in _YES else _OTHERWISE[name.split]
            for value in self.values
        }

    @property
    def is_flag(self) -> bool:
        """Whether all values are truth values: true and false, yes and no, or 1 and 0."""
        return bool(self.values) and all(_folded(value) in _YES | _NO for value in self.values)

    @property
    def is_strict(self) -> bool:
        """Whether every value must say a split."""
        if self.name.casefold() == SAYS_SPLIT and self.kinds <= {"text"}:
            return True
        plain = {split for value, split in self.values.items() if split and SplitName(value).is_plain}
        return may_say_split(self.name) and len(plain) > 1

    @property
    def is_certain(self) -> bool:
        """Whether there are truth values, and a name such as ``is_training`` says what they mean."""
        name = SplitName(self.name)
        is_plain = set(name.rest) <= _FLAG and "valid" not in name.words
        return is_plain and bool(self.by_flags)

    @property
    def has_both(self) -> bool:
        """Whether both truth values occur."""
        return len({_folded(value) in _YES for value in self.values}) > 1

    @property
    def says_everywhere(self) -> RealSplit | None:
        """The split that the column says for every image; None for train, several, and none."""
        says = self.by_words if self.all_say else self.by_flags if self.is_certain else {}
        splits = {options[0] for options in says.values()}
        return next(iter(splits)) if len(splits) == 1 and splits != {"train"} else None

    @property
    def is_unclear(self) -> bool:
        """Whether truth values or a few numbers may well be splits, but do not say which."""
        name = SplitName(self.name)
        if len(self.values) < 2 or not set(name.rest) <= _FLAG | _UNCLEAR | _UNNAMED:
            return False
        is_unnamed = not _UNNAMED.isdisjoint(name.words)
        is_numbered = self.kinds == {"numbers"} and len(self.values) <= _FEW_NUMBERS
        return (self.is_flag and (is_unnamed or bool(name.splits))) or (is_numbered and is_unnamed)


def _kind(value: Any) -> str:
    kinds = ((str, "text"), (bool, "truth values"), (Number, "numbers"))
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)


def _folded(value: Any) -> Any:
    return value.strip().casefold() if isinstance(value, str) else value
