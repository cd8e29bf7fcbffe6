"""Read the words that prompts use for each class from a text file."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.cleaned_names import abbreviations, tells_nothing, words_of_names
from understudy.data.settings import DataSettings

_SEPARATORS = ":\t=,;"
_ALWAYS_KEYED = ":\t=;"
"""Separators that stand after a class; a comma may also stand within words."""


def read_class_names(path: Path, class_names: Sequence[str]) -> tuple[str, ...]:
    """Read the words that prompts use for each class.

    Args:
        path: UTF-8 text with one line per class; empty lines are ignored. Lines that begin with a class and
            a colon, tab, equals sign, comma or semicolon name their class, and may stand in any order; so may
            lines that are the class names themselves, and lines with a number or code (``n01440764 tench``).
            Otherwise each line holds words, in the order of the labels. Words may be followed by ``|`` and a
            kind of thing, which is put in parentheses: ``crane | construction machine`` becomes ``crane
            (construction machine)``.
        class_names: class names by label.

    Returns:
        Words by label.

    Raises:
        InputError: if the file is missing or not UTF-8 text, the number of lines differs from the number of
            classes, a class is unknown or named twice, the order of the lines is ambiguous, or ``|`` does not
            stand between words and one kind.
    """
    lines = _lines(path, class_names)
    if len(lines) != len(class_names):
        raise InputError(
            f"class names file {path} must have a line for each of {len(class_names)} classes "
            f"({listed(class_names)}), got {len(lines)} lines: {_example(class_names)}"
        )
    keys = _Keys(class_names)
    found = [keys.split(line) for line in lines]
    if _names_classes(path, lines, found, class_names):
        return _by_class(path, lines, found, class_names)
    _check_order(path, lines, class_names)
    return tuple(_with_kind(path, line) for line in lines)


def name_classes(
    keys: tuple[str, ...], settings: DataSettings, *, numbered: bool
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Class names, words for prompts, by label, and what to know about the words, in sentences.

    Numeric classes get names from the class names file. Without that file, the words are the cleaned names.

    Args:
        keys: how the source names the classes, by label.
        settings: ``class_names`` is the file.
        numbered: whether the source only has numbers.

    Raises:
        InputError: if numeric classes have no file, or it cannot be read or gives two of them the same name.
    """
    path = settings.class_names
    words = words_of_names(keys) if path is None else read_class_names(path, keys)
    if numbered and path is None:
        raise InputError(
            f"every label needs a class name, but {settings.source} has only the numbers {listed(keys)}: ",
            f"give --class-names FILE with {len(keys)} lines, one name per line, in the order of the labels",
        )
    if numbered and len(set(words)) != len(words):
        raise InputError(
            f"class names file {path} must give every class a different name, got {listed(words)}"
        )
    names = words if numbered else keys
    return names, words, words_in_prompts(keys, names, words, cleaned=path is None)


def normal(name: str) -> str:
    """A name as names are compared: composed (NFC), without outer spaces and byte order marks."""
    return unicodedata.normalize("NFC", name).strip().strip("\ufeff\u200b").strip()


def _example(class_names: Sequence[str], words: Mapping[str, str] | None = None) -> str:
    """The lines that a file for these classes has, with words where they are known."""
    known = words or {}
    lines = [f"{name}: {known.get(name, 'words for prompts')}" for name in class_names[:2]]
    more = f", and so on for all {len(class_names)}" if len(class_names) > 2 else ""
    return f"write a line for each class, such as '{lines[0]}' and '{lines[-1]}'{more}"


def _from_json(text: str, class_names: Sequence[str]) -> dict[str, str]:
    """The words that a JSON file gives some classes, for the example in a message."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if isinstance(content, list):
        content = dict(zip(class_names, content, strict=False)) if len(content) == len(class_names) else {}
    found = content if isinstance(content, dict) else {}
    return {name: words for name, words in found.items() if isinstance(words, str) and "\n" not in words}


def _lines(path: Path, class_names: Sequence[str]) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"class names file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(
            f"class names file {path} must be UTF-8 text: {_example(class_names)}, and save the file as UTF-8"
        ) from None
    if text.lstrip()[:1] in ("{", "["):
        example = _example(class_names, _from_json(text, class_names))
        raise InputError(f"class names file {path} must be text, one class per line, got JSON: {example}")
    # A tab after a class separates, so only spaces are stripped.
    return [
        _unquoted(unicodedata.normalize("NFC", line.strip(" "))) for line in text.splitlines() if line.strip()
    ]


def _unquoted(line: str) -> str:
    """A line of CSV without its quotes: ``"1","a cat"`` becomes ``1,a cat``."""
    if not line.startswith('"'):
        return line
    separator = next((each for each in _SEPARATORS if f'"{each}' in line), ",")
    try:
        return separator.join(next(csv.reader([line], delimiter=separator, strict=True)))
    except csv.Error:
        return line


@final
@dataclass(frozen=True)
class _Keyed:
    """A line that begins with a class; the separator is empty if the line is the name of the class."""

    name: str
    words: str
    separator: str


@final
class _Keys:
    """Finds the class that a line begins with."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.by_text = {normal(name): name for name in class_names}
        numbers = {int(name): name for name in class_names if _is_number(name)}
        # 1 means the folder 001 if all classes are different numbers.
        self.by_number = numbers if len(numbers) == len(class_names) else {}
        # A code such as n01440764 begins no words, so that a space may follow it.
        self.are_codes = all(re.fullmatch(r"\S*\d\S*", text) for text in self.by_text)

    def split(self, line: str) -> _Keyed | None:
        """The class that a line begins with, and its words; None if it begins with none."""
        text = line.strip()
        fitting = []
        for separator in [*_SEPARATORS, *(" " if self.are_codes else "")]:
            start = 0
            while (at := line.find(separator, start)) >= 0:
                name = self.find(line[:at])
                if name is not None:
                    fitting.append(_Keyed(name, line[at + 1 :].strip(), separator))
                start = at + 1
        if fitting:
            # Class names may contain separators, so the longest match wins.
            return max(fitting, key=lambda each: len(each.name))
        return _Keyed(self.by_text[text], text, "") if text in self.by_text else None

    def find(self, text: str) -> str | None:
        """The class with this name or number."""
        key = normal(text)
        if key in self.by_text:
            return self.by_text[key]
        return self.by_number.get(int(key)) if _is_number(key) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _names_classes(
    path: Path, lines: Sequence[str], found: Sequence[_Keyed | None], class_names: Sequence[str]
) -> bool:
    """Whether the lines name their classes, rather than stand in the order of the labels."""
    if all(found):
        return True
    used = {each.separator for each in found if each}
    if ":" in used or any(
        all(separator in line.strip() for line in lines)
        for separator in _SEPARATORS
        if separator in used or separator in _ALWAYS_KEYED
    ):
        return True
    misplaced = [
        (line, each.name)
        for line, each, name in zip(lines, found, class_names, strict=True)
        if each and each.name != name
    ]
    if misplaced:
        line, name = misplaced[0]
        raise InputError(
            f"class names file {path}: the line {line!r} names the class {name!r} but stands in the place of "
            f"another, and not all lines name a class: write all lines as 'class: words'"
        )
    return False


def _by_class(
    path: Path, lines: Sequence[str], found: Sequence[_Keyed | None], class_names: Sequence[str]
) -> tuple[str, ...]:
    words: dict[str, str] = {}
    for line, each in zip(lines, found, strict=True):
        if each is None:
            unknown = re.split("[:\t=,;]", line)[0].strip()
            raise InputError(
                f"class names file {path}: unknown class {unknown!r}; known: {listed(class_names)}"
            )
        name, text = each.name, each.words
        if name in words:
            raise InputError(f"class names file {path}: class {name!r} must have one line, got two")
        if not text:
            raise InputError(
                f"class names file {path}: class {name!r} must have words after its name, got none"
            )
        words[name] = _with_kind(path, text)
    return tuple(words[name] for name in class_names)


def _check_order(path: Path, lines: Sequence[str], class_names: Sequence[str]) -> None:
    """Check that everybody sorts the classes in the same way, so that lines without classes are clear.

    Programs differ in whether they sort by number (2 before 10) and whether upper case comes first.
    """
    others = [sorted(class_names, key=_natural), sorted(class_names, key=str.casefold)]
    different = next((order for order in others if order != list(class_names)), None)
    if list(class_names) != sorted(class_names) or different is None:
        return  # the source orders its classes, or all orders agree
    at = next(index for index, name in enumerate(class_names) if name != different[index])
    raise InputError(
        f"class names file {path} gives words without classes, and the order of the classes is ambiguous: "
        f"is {lines[at].strip()!r} the class {class_names[at]!r} or {different[at]!r}? Write each line as "
        f"'class: words', for instance '{class_names[at]}: ...'"
    )


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts numbers within names by their value, and ignores case."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return [(0, int(part), "") if _is_number(part) else (1, 0, part) for part in parts]


def _with_kind(path: Path, text: str) -> str:
    """Turn ``words | kind`` into ``words (kind)``, which tells a text encoder which meaning is meant."""
    parts = [part.strip() for part in text.split("|")]
    if len(parts) == 1:
        return text.strip()
    if len(parts) > 2 or not all(parts):
        raise InputError(
            f"class names file {path}: '|' must stand between words and one kind of thing ('crane | bird'), "
            f"got {text!r}"
        )
    return f"{parts[0]} ({parts[1]})"


def words_in_prompts(
    keys: Sequence[str], class_names: Sequence[str], prompt_names: Sequence[str], *, cleaned: bool = False
) -> tuple[str, ...]:
    """What to know about the words for prompts, in sentences that say what to do.

    Args:
        keys: how the source names C classes, by label: names, or numbers.
        class_names: their names.
        prompt_names: their words in prompts.
        cleaned: whether the words are cleaned names, rather than those of a file.
    """
    notes = []
    pairs = [
        f"{key} = {words}"
        for key, words in zip(keys, prompt_names, strict=True)
        if not cleaned or key != words
    ]
    if tuple(keys) != tuple(prompt_names):
        told = "; other words with --class-names FILE, lines 'class: words'" if cleaned else ""
        notes.append(f"words: {listed(pairs)}{told}")
    by_words: dict[str, list[str]] = {}
    for name, words in zip(class_names, prompt_names, strict=True):
        by_words.setdefault(re.sub(r"[\s_-]+", " ", normal(words).casefold()), []).append(name)
    same = [_together(names) for names in by_words.values() if len(names) > 1]
    if same:
        notes.append(
            f"words: the classes {listed(same)} have the same words in prompts, up to case, so a generator "
            "cannot tell them apart: give each class its own words with --class-names FILE, such as 'crane | "
            "bird' and 'crane | construction machine'"
        )
    bare = [words for words in prompt_names if tells_nothing(words)]
    if bare:
        notes.append(
            f"words: {len(bare):,} of {len(prompt_names):,} classes are bare numbers or ids in prompts "
            f"({listed(bare)}), which tell a generator nothing: give lines 'class: words' with --class-names "
            "FILE"
        )
    if cleaned and (short := abbreviations(prompt_names)):
        notes.append(
            f"words: a text encoder may not know what seem to be abbreviations ({listed(short)}): write them "
            "out in lines 'class: words' with --class-names FILE"
        )
    return tuple(notes)


def _together(names: Sequence[str]) -> str:
    shown = [repr(name) for name in names]
    return " and ".join(shown) if len(shown) < 4 else listed(shown, most=3)
