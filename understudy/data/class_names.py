"""Read the words that prompts use for each class from a text file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from understudy.core.errors import InputError


def read_class_names(path: Path, class_names: Sequence[str]) -> tuple[str, ...]:
    """Read the words that prompts use for each class.

    Args:
        path: UTF-8 text with one line per class; empty lines are ignored. If every line has a colon, or any
            line begins with a class name and a colon, lines read ``class: words``, in any order. Otherwise
            each line holds words, in the order of the labels (for image folders: sorted folder names). Words
            may be followed by ``|`` and a kind of thing, which is put in parentheses: ``crane | construction
            machine`` becomes ``crane (construction machine)``.
        class_names: class names by label.

    Returns:
        Words by label.

    Raises:
        InputError: if the file is missing or not UTF-8 text, the number of lines differs from the number of
            classes, a class is unknown or named twice, or ``|`` does not stand between words and one kind.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"class names file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"class names file {path} must be UTF-8 text, one class per line") from None
    if len(lines) != len(class_names):
        listed = ", ".join(class_names)
        raise InputError(
            f"class names file {path} must have a line for each of {len(class_names)} classes ({listed}), "
            f"got {len(lines)} lines"
        )
    if all(":" in line for line in lines) or any(_class_of(line, class_names) is not None for line in lines):
        return _by_class(path, lines, class_names)
    return tuple(_with_kind(path, line) for line in lines)


def _by_class(path: Path, lines: Sequence[str], class_names: Sequence[str]) -> tuple[str, ...]:
    words: dict[str, str] = {}
    for line in lines:
        name = _class_of(line, class_names)
        if name is None:
            unknown = line.partition(":")[0].strip()
            raise InputError(
                f"class names file {path}: unknown class {unknown!r}; known: {', '.join(class_names)}"
            )
        if name in words:
            raise InputError(f"class names file {path}: class {name!r} must have one line, got two")
        text = line[len(name) :].lstrip().removeprefix(":").strip()
        if not text:
            raise InputError(
                f"class names file {path}: class {name!r} must have words after the colon, got none"
            )
        words[name] = _with_kind(path, text)
    return tuple(words[name] for name in class_names)


def _with_kind(path: Path, text: str) -> str:
    """Turn ``words | kind`` into ``words (kind)``, which tells a text encoder which meaning is meant."""
    parts = [part.strip() for part in text.split("|")]
    if len(parts) == 1:
        return text
    if len(parts) > 2 or not all(parts):
        raise InputError(
            f"class names file {path}: '|' must stand between words and one kind of thing ('crane | bird'), "
            f"got {text!r}"
        )
    return f"{parts[0]} ({parts[1]})"


def _class_of(line: str, class_names: Sequence[str]) -> str | None:
    """The class that a line ``class: words`` begins with, or None.

    Class names may contain colons, so the longest match wins.
    """
    fitting = [
        name for name in class_names if line.startswith(name) and line[len(name) :].lstrip().startswith(":")
    ]
    return max(fitting, key=len, default=None)
