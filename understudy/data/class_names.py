"""Read the words that prompts use for each class from a text file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from understudy.core.errors import InputError


def read_class_names(path: Path, class_names: Sequence[str]) -> tuple[str, ...]:
    """Words for each class.

    Args:
        path: UTF-8 text, empty lines ignored. If every line has a colon, or any begins with a class and a
            colon, lines are ``class: words``, in any order; otherwise they are words, in the order of the
            labels (for image folders, the sorted folder names). Words may be followed by ``|`` and what kind
            of thing they mean, which then stands in parentheses: ``crane | construction machine`` gives
            ``crane (construction machine)``.
        class_names: the classes by label.

    Returns:
        Words by label.

    Raises:
        InputError: if the file is missing or not text, if the number of lines is not that of the classes, or
            if a line names an unknown class or one twice, or has a ``|`` without words before it and one kind
            behind it.
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
    """``words | kind`` as ``words (kind)``: tells a text encoder which of several meanings is meant."""
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
