"""Splits that rows of a table, or the JSON files of a tar, say themselves: in a column or field ``split``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.sources.split_names import RealSplit, split_of

SAYS_SPLIT = "split"
"""Name of the column or field that is read."""
_LIKE_SPLITS = re.compile(
    "splits?|usage|(sub)?set|partition|fold|dev|holdout"
    "|train(ing|set)?|val(id|idation)?|eval(uation)?|test(ing|set)?"
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


def may_say_split(name: str) -> bool:
    """Whether a column or field may say splits: whether its name has such a word.

    Example:
        >>> [may_say_split(name) for name in ("Usage", "data_split", "isTrain", "settings")]
        [True, True, True, False]
    """
    return any(_LIKE_SPLITS.fullmatch(word.lower()) for word in _WORD.findall(name))


def split_said(value: Any, of_name: RealSplit | None, *, what: str) -> RealSplit | None:
    """The split that a row or sample says.

    Args:
        value: in its column or field; None if there is none.
        of_name: split that the name of its file, part or folder says.
        what: the column or field, for messages, such as ``the column 'split'``.

    Raises:
        InputError: if the value is no name of a split, or contradicts the name of the file.
    """
    if value is None and of_name is not None:
        return of_name
    split = split_of(value) if isinstance(value, str) else None
    if split is None or of_name not in (None, split):
        expected = f"{of_name}, as the name of the file does" if split else "train, validation or test"
        raise InputError(
            f"{what} must say {expected}, got {value!r}: ",
            "correct it, or read no name as a split with --set data.split_names=ignore",
        )
    return split


def split_field(samples: Iterable[Mapping[str, Any]]) -> tuple[bool, tuple[str, ...]]:
    """Whether some of the samples say their split in a field of text, and what was taken for what."""
    others: dict[str, str] = {}
    for fields in samples:
        if isinstance(fields.get(SAYS_SPLIT), str):
            return True, (f"splits: from the field {SAYS_SPLIT} of the JSON files",)
        for name, value in fields.items():
            if may_say_split(name) and value is not None:
                others.setdefault(name, type(value).__name__)
    return False, not_read(others, kind="field")


def not_read(found: Mapping[str, str], *, kind: str) -> tuple[str, ...]:
    """A warning about columns or fields that may say splits and are not read.

    Args:
        found: what each of them holds, by name, such as ``{"split": "int64"}``.
        kind: ``column`` or ``field``.
    """
    if not found:
        return ()
    words = "the words train, validation or test"
    if SAYS_SPLIT in found:
        holds = f"the {kind} {SAYS_SPLIT} is not read, because it holds {found[SAYS_SPLIT]} and no text"
        return (f"warning: {holds}: write {words} into it",)
    named = f"the {kind}{'s' * (len(found) > 1)} {listed(list(found))}"
    advice = (
        f"only a {kind} called {SAYS_SPLIT} is read, with {words}: write one, or rename it if it has them"
    )
    return (f"warning: {named} may say splits, but {advice}",)
