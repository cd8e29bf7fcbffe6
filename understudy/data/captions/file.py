"""Captions from a CSV or JSON Lines file."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.labelled_set import LabelledSet
from understudy.data.pool import stable_ids

_NAMES = ("id", "file_name")
_TEXTS = ("caption", "text")


def read_captions(path: Path, sets: Sequence[LabelledSet], *, others: Collection[str]) -> list[str]:
    """Read a caption for every image from a file.

    Args:
        path: ``.csv`` with a header, or ``.jsonl`` or ``.ndjson``; UTF-8. Each line has
            ``id`` (id of the image) or ``file_name`` (path in the source, with forward slashes), and
            ``caption`` or ``text``. ``id`` and ``caption`` take precedence.
        sets: the images, N in all.
        others: ids or paths of other images that the file may name.

    Returns:
        N captions in the order of the sets, with whitespace collapsed to single spaces.

    Raises:
        InputError: if the file has another format, a caption is empty or given twice, an image has no
            caption, or the file names unknown images.
    """
    column, captions = _by_name(path)
    names = [_composed(name) for data in sets for name in _names(data, column)]
    absent = [name for name in names if name not in captions]
    known = {*names, *map(_composed, others)}
    extra = [
        name
        for name in captions
        if name not in known and (column == "id" or known.isdisjoint(_possible_ids(name)))
    ]
    if absent or extra:
        raise InputError(_difference(path, column, absent=absent, extra=extra, total=len(names)))
    return [captions[name] for name in names]


def _names(data: LabelledSet, column: str) -> list[str]:
    """The name of each image in the given column."""
    is_path = column == "file_name" and data.has("source_path")
    return data.provenance("source_path") if is_path else data.ids


def _composed(name: str) -> str:
    """A name as names are compared; macOS stores accents apart, Linux as written (NFC)."""
    return unicodedata.normalize("NFC", name)


def _possible_ids(name: str) -> list[str]:
    """The id of an image with this path, whichever way its accents are stored."""
    return [stable_ids([unicodedata.normalize(form, name)])[0] for form in ("NFC", "NFD")]


def _difference(path: Path, column: str, *, absent: Sequence[str], extra: Sequence[str], total: int) -> str:
    parts = []
    if absent:
        parts.append(f"{len(absent)} of {total} have no caption ({listed(absent)})")
    if extra:
        parts.append(f"{len(extra)} in the file are not in the source ({listed(extra)})")
    return (
        f"captions file {path} must have the {column} of every image and no other, but "
        f"{' and '.join(parts)}: correct the file"
    )


def _by_name(path: Path) -> tuple[str, dict[str, str]]:
    """The column that names images, and the caption of each name."""
    rows = _rows(path)
    name_column, text_column = "", ""
    captions: dict[str, str] = {}
    for line, row in rows:
        if not name_column:
            name_column, text_column = _columns(path, row)
        name, text = (_string(path, line, row, column) for column in (name_column, text_column))
        name = _composed(name)
        if name in captions:
            raise InputError(
                f"captions file {path}, line {line}: every image must have one caption, but {name!r} has a "
                "second one here: remove one of them"
            )
        captions[name] = " ".join(text.split())
    if not captions:
        raise InputError(f"captions file {path} must have a caption for every image, but is empty")
    return name_column, captions


def _columns(path: Path, row: Mapping[str, Any]) -> tuple[str, str]:
    found = [next((column for column in columns if column in row), "") for columns in (_NAMES, _TEXTS)]
    if not all(found):
        raise InputError(
            f"captions file {path} must have a column {' or '.join(_NAMES)} and a column "
            f"{' or '.join(_TEXTS)}, got {listed(list(row))}: in a CSV file, the first line names the columns"
        )
    return found[0], found[1]


def _string(path: Path, line: int, row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise InputError(
            f"captions file {path}, line {line}: {column} must be a text that is not empty, got {value!r}"
        )
    return value


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line number and columns of each entry."""
    readers = {".csv": _csv_rows, ".jsonl": _json_rows, ".ndjson": _json_rows}
    if path.suffix.lower() not in readers:
        raise InputError(f"captions file must be {', '.join(readers)}, got {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"captions file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"captions file {path} must be UTF-8 text") from None
    return readers[path.suffix.lower()](path, text)


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        for fields in reader:
            if fields and len(fields) != len(header):
                raise InputError(
                    f"captions file {path}, line {reader.line_num}: must have {len(header)} fields like the "
                    f"header, got {len(fields)}: put captions that contain commas in double quotes"
                )
            if fields:
                yield reader.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise InputError(f"captions file {path}, line {reader.line_num}: must be CSV, but: {error}") from None


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # Not splitlines, because captions may contain other line separators.
    for line, entry in enumerate(text.split("\n"), start=1):
        if not entry.strip():
            continue
        try:
            row = json.loads(entry)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"captions file {path}, line {line}: must be JSON, but: {error}") from None
        if not isinstance(row, dict):
            raise InputError(
                f"captions file {path}, line {line}: must be a JSON object, got {entry.strip()[:40]}"
            )
        yield line, row
