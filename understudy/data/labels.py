"""Compare the labels found in a source with the declared class names, and with each other."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.lookalikes import in_latin, is_mixed, letters_alike
from understudy.data.settings import DataSettings

Label = str | int
_COPIED = re.compile(r"(?P<before>.+?)(?: \(\d+\)| - copy(?: \(\d+\))?| copy(?: \d+)?)|copy of (?P<after>.+)")
"""Names of folders that Windows, macOS and Linux make when they copy one, in lower case."""


@final
@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes of a source.

    Attributes:
        keys: name of each class, or its number as text, in the order of the labels.
        key_of: key of the class by how the source writes its label; several spellings may mean one class.
        numbered: whether the source has numbers without names.
        notes: what was taken for what, in sentences.
    """

    keys: tuple[str, ...]
    key_of: Mapping[Label, str]
    numbered: bool = False
    notes: tuple[str, ...] = ()


def is_missing(label: Label | None) -> bool:
    """Whether a label says that there is none: null, empty text, or -1 as in hidden test sets."""
    return label is None or label == -1 or (isinstance(label, str) and not label.strip())


def find_classes(
    labels: Sequence[Label], declared: tuple[str, ...] | None, settings: DataSettings
) -> Classes:
    """Find the classes that labels stand for.

    Args:
        labels: label of each image, none of them missing.
        declared: class names by label if the source declares them.
        settings: ``similar_labels`` says what to do with spellings that differ in case, outer spaces or
            leading zeros only.

    Raises:
        InputError: for labels that are not declared, several spellings of a name, names next to numbers, and
            fewer than two classes.
    """
    counts = Counter(labels)
    if declared is not None:
        classes = _declared_classes(counts, declared, settings)
    elif all(isinstance(label, int) for label in counts):
        numbers = sorted(int(label) for label in counts)
        keys = tuple(str(number) for number in numbers)
        classes = Classes(keys=keys, key_of=dict(zip(numbers, keys, strict=True)), numbered=True)
    else:
        classes = _named_classes(_as_text(counts, settings.source), settings)
    classes = replace(classes, notes=classes.notes + _several(classes.keys) + _mixed(classes.keys))
    if len(classes.keys) < 2:
        raise InputError(
            f"at least two classes are needed, got one: {classes.keys[0]!r}: give images of others as well, "
            "each class in a folder or with a label of its own"
        )
    return classes


def _declared_classes(
    counts: Mapping[Label, int], declared: tuple[str, ...], settings: DataSettings
) -> Classes:
    if len(set(declared)) != len(declared):
        raise InputError(f"class names must differ, got {listed(declared)}")
    _check_range([label for label in counts if isinstance(label, int)], declared, settings.source)
    by_form = defaultdict(list)
    for name in declared:
        by_form[_form(name)].append(name)
    key_of: dict[Label, str] = {}
    joined, unknown = [], []
    for label in counts:
        fitting = _fitting(label, by_form) if isinstance(label, str) else [declared[label]]
        if label in declared or isinstance(label, int):
            key_of[label] = label if isinstance(label, str) else fitting[0]
        elif len(fitting) == 1 and (settings.similar_labels == "join" or _same(label, fitting[0])):
            key_of[label] = fitting[0]
            joined.append(f"{label!r} as {fitting[0]!r}")
        else:
            unknown.append((label, fitting))
    if unknown:
        similar = "if they mean the same, join them with --set data.similar_labels=join"
        raise InputError(
            f"{settings.source}: labels must be among the declared class names, got "
            f"{listed(sorted(repr(label) for label, _ in unknown))}; declared are "
            f"{listed([repr(name) for name in declared])}: ",
            similar if all(len(each) == 1 for _, each in unknown) else "correct the labels or the names",
        )
    return Classes(keys=declared, key_of=key_of, notes=_notes(joined))


def _check_range(labels: Sequence[int], declared: tuple[str, ...], source: str) -> None:
    odd = sorted(label for label in labels if not 0 <= label < len(declared))
    if odd:
        from_one = min(labels) == 1 and max(labels) == len(declared)
        raise InputError(
            f"{source}: label must be in [0, {len(declared)}), one for each of the declared class names "
            f"{listed(declared)}, got {listed([str(label) for label in odd])}: "
            + ("count from 0, not from 1" if from_one else "correct the labels or the names")
        )


def _as_text(counts: Mapping[Label, int], source: str) -> dict[str, int]:
    """Labels as text; numbers next to names are refused, unless the names are numbers with leading zeros."""
    if any(isinstance(label, int) for label in counts):
        names = [label for label in counts if isinstance(label, str) and not re.fullmatch("[0-9]+", label)]
        if names:
            numbers = sorted(label for label in counts if isinstance(label, int))
            raise InputError(
                f"the labels of {source} must all be numbers or all be names, got both, such as {numbers[0]} "
                f"and {min(names)!r}"
            )
    return {str(label): count for label, count in counts.items()}


def _named_classes(counts: Mapping[str, int], settings: DataSettings) -> Classes:
    """Classes of labels that are names; ``similar_labels`` decides about several spellings of one name."""
    groups = defaultdict(list)
    forms = {_form(label) for label in counts}
    alike = Counter(filter(None, {_form(label): _latin_form(label) for label in counts}.values()))
    forms |= {form for form, number in alike.items() if number > 1}
    for label in counts:
        groups[label if settings.similar_labels == "keep" else _original(label, forms)].append(label)
    key_of: dict[Label, str] = {}
    joined, unclear = [], []
    for group in groups.values():
        spellings = sorted(group, key=lambda label: (-counts[label], label))
        for label in spellings:
            key_of[label] = spellings[0]
        others = [label for label in spellings[1:] if not _same(label, spellings[0])]
        if others and settings.similar_labels == "refuse":
            unclear.append(" and ".join(f"{label!r} ({_told(label, counts)})" for label in spellings))
        else:
            joined += [f"{label!r} as {spellings[0]!r}" for label in spellings[1:]]
    if unclear:
        raise InputError(
            f"{settings.source} has labels that differ only in case, spaces, leading zeros, invisible "
            "characters, letters of other alphabets that look alike, or as copied folders do, such as "
            f"'cat (1)': {listed(unclear)}: ",
            "correct them, or say with --set data.similar_labels=join or =keep whether they are one class",
        )
    keys = tuple(sorted(set(key_of.values())))
    # Where names are numbers with leading zeros, 10 is read as a number.
    key_of |= {int(label): key for label, key in key_of.items() if re.fullmatch("[1-9][0-9]*|0", str(label))}
    return Classes(keys=keys, key_of=key_of, notes=_notes(joined))


def _notes(joined: Sequence[str]) -> tuple[str, ...]:
    return (f"labels: {listed(sorted(joined))}",) if joined else ()


def _same(label: str, other: str) -> bool:
    """Whether two labels differ only in how their accents are stored."""
    return unicodedata.normalize("NFC", label) == unicodedata.normalize("NFC", other)


def _form(label: str) -> str:
    """What spellings of one name share. Single letters keep their case: r and R may well be two classes."""
    seen = "".join(
        each for each in unicodedata.normalize("NFKC", label) if unicodedata.category(each) != "Cf"
    )
    text = " ".join(seen.split())
    if re.fullmatch("[0-9]+", text):
        return text.lstrip("0") or "0"
    return text.casefold() if len(text) > 1 else text


def _latin_form(label: str) -> str | None:
    """The form of a label in which letters of other alphabets look like Latin ones; None for other labels."""
    latin = in_latin(unicodedata.normalize("NFKC", label))
    return None if latin is None else _form(latin)


def _fitting(label: str, by_form: Mapping[str, list[str]]) -> list[str]:
    """The declared names of which a label may be another spelling."""
    return by_form.get(_form(label)) or by_form.get(_latin_form(label) or "") or []


def _told(label: str, counts: Mapping[str, int]) -> str:
    """The number of images of a label, and its letters that look like others."""
    letters = letters_alike(label) if _latin_form(label) else ""
    return f"{counts[label]:,} images" + (f", {letters}" if letters else "")


def _mixed(keys: Sequence[str]) -> tuple[str, ...]:
    """A warning if letters of two alphabets that look alike stand in one word."""
    mixed = [f"{key!r} ({letters_alike(key)})" for key in keys if is_mixed(key)]
    if not mixed:
        return ()
    told = (
        f"words in {len(mixed):,} of {len(keys):,} class names mix letters of two alphabets that look alike"
    )
    return (
        f"warning: {told}: {listed(mixed, most=3)}; if they are slips, correct them, as prompts hold them",
    )


def _original(label: str, forms: Collection[str]) -> str:
    """The form that other spellings of a label have, if there are any.

    In Latin letters, or without what programs add when they copy a folder.
    """
    form, latin = _form(label), _latin_form(label)
    if latin is not None and latin in forms:
        return latin
    found = _COPIED.fullmatch(form)
    name = (found["before"] or found["after"]) if found else form
    return name if name in forms else form


def _several(keys: Sequence[str]) -> tuple[str, ...]:
    """A warning if classes look like several labels of one image."""
    lists = [key for key in keys if re.fullmatch(r"\[.*\]|\(.*,.*\)|\{.*\}", key)]
    others = set(keys)
    joined = [
        key
        for key in keys
        if len(parts := re.split(r"\s*[|;,+&/]\s*", key)) > 1 and all(part in others for part in parts)
    ]
    if not lists and not joined:
        return ()
    named = listed([repr(key) for key in lists or joined], most=3)
    told = f"{len(lists or joined):,} of {len(keys):,} classes look like several labels of one image"
    return (f"warning: {told}: {named}; each is read as one class of its own, so give every image one label",)
