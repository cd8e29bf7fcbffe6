"""Splits that rows of a table, or the JSON files of a tar, say themselves in columns or fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.settings import DataSettings
from understudy.data.sources.split_candidates import (
    PUBLIC_TEST,
    SAYS_SPLIT,
    Candidate,
    Options,
    may_say_split,
    plain_value,
)
from understudy.data.sources.split_names import SPLITS, RealSplit, split_of

_IGNORE = "read no name as a split with --set data.split_names=ignore"
_WORDS = "the words train, validation or test"


@final
@dataclass(frozen=True)
class SaidSplits:
    """The columns or fields that say the split of each row.

    Attributes:
        kind: ``column`` or ``field``.
        readings: the splits of each value, by column; those that are trusted most come first.
        notes: warnings about columns that are not read, in sentences.
    """

    kind: Literal["column", "field"] = "column"
    readings: Mapping[str, Mapping[Any, Options]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(self.readings)

    def split(self, row: Sequence[Any], of_name: RealSplit | None) -> RealSplit | None:
        """The split of a row.

        Args:
            row: its values in the columns :attr:`names`.
            of_name: split that the name of its file, part or folder says.

        Raises:
            InputError: if a value says no split, columns contradict each other or the name, or none says a
                split.
        """
        left: Options = (of_name,) if of_name else SPLITS
        saying: dict[str, Any] = {}
        for name, value in zip(self.names, map(plain_value, row), strict=True):
            if value is None:
                continue
            options = self.readings[name].get(value, ()) if isinstance(value, Hashable) else ()
            both = [split for split in (left if saying else options) if split in left and split in options]
            if not both:
                raise self._odd(name, value, options, saying, of_name)
            left, saying[name] = tuple(both), value
        if self.names and not saying and of_name is None:
            raise self._odd(self.names[0], row[0], (), {}, of_name)
        return left[0] if saying or of_name else None

    def _odd(
        self,
        name: str,
        value: Any,
        options: Options,
        saying: Mapping[str, Any],
        of_name: RealSplit | None,
    ) -> InputError:
        """The error for a value that says no split, or contradicts the name or another column."""
        if options and saying:
            said = " and ".join(f"{each!r} ({one!r})" for each, one in {**saying, name: value}.items())
            return InputError(
                f"the {self.kind}s {said} contradict each other about the split: ",
                f"correct them, choose one with --set data.split_column={next(iter(saying))}, or {_IGNORE}",
            )
        expected = f"{of_name}, as the name of the file does" if options else "train, validation or test"
        return InputError(
            f"the {self.kind} {name!r} must say {expected}, got {value!r}: ",
            f"correct it, or {_IGNORE}",
        )

    def counted(self, rows: Iterable[tuple[RealSplit | None, Sequence[Any]]]) -> tuple[str, ...]:
        """Check all rows, and say what they were taken for, in sentences.

        Args:
            rows: of each row, the split that its file says, and its values in the columns :attr:`names`.

        Raises:
            InputError: as :meth:`split` does.
        """
        if not self.names:
            return self.notes
        counts = Counter(self.split(row, of_name) for of_name, row in rows)
        told = ", ".join(f"{split}: {counts[split]:,}" for split in SPLITS if counts[split])
        source = f"the {self.kind}{'s' * (len(self.names) > 1)} {' and '.join(self.names)}"
        files = " of the JSON files" if self.kind == "field" else ""
        return (f"splits: {told} (from {source}{files})", *self.notes)


def said_splits(
    candidates: Iterable[Candidate], settings: DataSettings, *, kind: Literal["column", "field"], named: bool
) -> SaidSplits:
    """Decide which columns or fields say splits.

    Text is read if all values are names of splits, and at least two splits occur; truth values are read if
    the name of the column says what they mean, as ``is_test`` does. If neither these columns nor the names of
    files say splits, names of files or images in a column do.

    Args:
        candidates: all columns apart from images and labels.
        settings: ``split_column`` chooses one of them.
        kind: what they are called in messages.
        named: whether the names of files or folders say splits.

    Raises:
        InputError: if truth values or numbers may be splits, but do not say which; or the chosen column does
            not exist or says no splits.
    """
    found = list(candidates)
    if settings.split_column is not None:
        return SaidSplits(kind, {settings.split_column: _chosen(found, settings, kind)})
    says = [each for each in found if each.is_strict or (each.all_say and len(each.splits) > 1)]
    readings = {each.name: each.by_words for each in says if each.is_strict or each.is_few}
    readings |= {each.name: each.by_flags for each in found if each.is_certain and each.has_both}
    if not readings and not named:
        readings = {each.name: each.by_words for each in says}
    if readings or named:
        return SaidSplits(kind, readings, _public(readings, kind))
    unclear = [each for each in found if each.is_unclear]
    if unclear and settings.split_names != "join":
        raise _unclear(unclear[0], kind)
    return SaidSplits(kind, notes=_not_read(found, kind))


def _chosen(found: Sequence[Candidate], settings: DataSettings, kind: str) -> Mapping[Any, Options]:
    """The splits of each value of the column that the settings choose."""
    name = settings.split_column
    chosen = [each for each in found if each.name == name]
    if not chosen:
        raise InputError(
            f"{settings.source} must have one {kind} {name!r} (data.split_column) besides images and labels"
        )
    options = chosen[0].by_words or chosen[0].by_flags
    if not options:
        raise InputError(
            f"the {kind} {name!r} (data.split_column) must hold {_WORDS}, or truth values under a name such "
            f"as is_test, got {_held(chosen[0])}"
        )
    return options


def _held(candidate: Candidate) -> str:
    """The first values of a column, or their types."""
    values = [repr(value) for value in candidate.values]
    return listed(values, most=3) or " and ".join(sorted(candidate.kinds)) or "no value"


def _public(readings: Mapping[str, Mapping[Any, Options]], kind: str) -> tuple[str, ...]:
    """A sentence for each column with a public test split, which is read as validation."""
    public = {
        name: [str(value) for value, splits in options.items() if splits == PUBLIC_TEST]
        for name, options in readings.items()
    }
    return tuple(
        f"splits: {listed(values, most=3)} in the {kind} {name} is read as validation, because there is a "
        "private test split"
        for name, values in public.items()
        if values
    )


def _unclear(candidate: Candidate, kind: str) -> InputError:
    """The error for truth values or numbers that may be splits, but do not say which."""
    name, ignore = candidate.name, "divide all images anew with --set data.split_names=ignore"
    write = f"write {_WORDS} into a {kind} {SAYS_SPLIT}"
    read = f"for {split_of(name)}, use --set data.split_column={name}" if candidate.by_flags else write
    return InputError(
        f"the {kind} {name!r} may say splits, but {_held(candidate)} do not say for certain which: ",
        f"{read}; if they are no splits, {ignore}",
    )


def _not_read(found: Sequence[Candidate], kind: str) -> tuple[str, ...]:
    """A warning about columns that may say splits by their names, and are not read."""
    named = [each for each in found if may_say_split(each.name)]
    alike = tuple(
        f"splits: the {kind} {each.name} says {each.says_everywhere} for every image, so all are divided"
        for each in named
        if each.says_everywhere
    )
    others = [
        f"{each.name} ({' and '.join(sorted(each.kinds))})"
        for each in named
        if each.is_few and not each.all_say and (len(each.values) > 1 or "lists" in each.kinds)
    ]
    if not others:
        return alike
    several = len(others) > 1
    told = f"the {kind}{'s' * several} {listed(others)} may say splits, but {'are' if several else 'is'}"
    return (*alike, f"warning: {told} not read: for splits, write {_WORDS} into a {kind} {SAYS_SPLIT}")
