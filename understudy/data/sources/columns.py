"""Image and label columns of Arrow tables, whatever types the tool that wrote them used."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, final

import pyarrow as pa

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.settings import DataSettings
from understudy.data.sources.said_splits import SaidSplits
from understudy.data.sources.source import MAX_FILE_BYTES, Item
from understudy.data.sources.split_candidates import may_say_split
from understudy.data.sources.split_names import RealSplit


@final
@dataclass(frozen=True)
class _Kind:
    """What a column holds, its usual names, and its type in Hugging Face metadata."""

    what: str
    names: tuple[str, ...]
    feature: str


_IMAGE = _Kind("image", ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes"), "Image")
_LABEL = _Kind("label", ("label", "labels", "fine_label", "cls", "class"), "ClassLabel")
_BASE64 = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")
"""How PNG, JPEG, GIF and WebP begin as base64 text."""


@final
@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a table that hold the images and their labels.

    Attributes:
        image: name of the column with encoded images, or with paths of image files.
        label: name of the column with labels.
        names: class names by label if the metadata of the table has them.
        others: columns that may say the split of each image, by their type or name.
        classes: names by number of those among them that hold class labels.
        group: name of the column with what each image belongs to, such as its patient, if it is read.
    """

    image: str
    label: str
    names: tuple[str, ...] | None
    others: tuple[str, ...] = field(default=(), compare=False)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    group: str | None = None

    @property
    def read(self) -> list[str]:
        """The columns of images, labels and groups."""
        return list(dict.fromkeys([self.image, self.label, *([self.group] if self.group else [])]))

    def values(self, batch: Any, name: str) -> list[Any]:
        """The values of one of the other columns in a batch of rows; class labels as text."""
        if name not in batch.schema.names:
            return [None] * batch.num_rows
        values: list[Any] = batch.column(name).to_pylist()
        names = dict(enumerate(self.classes.get(name, ())))
        return [names.get(value, value) for value in values] if names else values


def find_columns(schema: pa.Schema, where: str, settings: DataSettings) -> Columns:
    """Find the columns by the settings, their usual names, or Hugging Face metadata; check their types.

    Args:
        schema: columns of the table.
        where: file or data set, for messages.
        settings: ``image_column``, ``label_column``, ``split_column`` and ``group_column`` name the columns,
            if set.

    Raises:
        InputError: if there is no such column, several fit, or its type cannot hold images or labels.
    """
    features = hub_features(schema.metadata)
    image = _find(schema, where, settings.image_column, _IMAGE, features)
    label = _find(schema, where, settings.label_column, _LABEL, features)
    _check_image_type(schema.field(image).type, f"{where}: {image}")
    _check_label_type(schema.field(label).type, f"{where}: {label}")
    names = class_label_names(features.get(label), where)
    classes, group = _others(schema, (image, label), settings, features), settings.group_column
    if group is not None:
        if schema.names.count(group) != 1 or group == image:
            raise InputError(
                f"{where} must have one column {group!r} (data.group_column) besides the images, got "
                f"{listed(schema.names)}"
            )
        _check_label_type(schema.field(group).type, f"{where}: {group}")
    return Columns(image=image, label=label, names=names, others=tuple(classes), classes=classes, group=group)


def _others(
    schema: pa.Schema, taken: Sequence[str], settings: DataSettings, features: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
    """Columns that may say splits by their name or type, with their class names if they hold class labels."""
    found = {}
    for name in schema.names:
        is_chosen = name == settings.split_column
        is_label = name in (*_LABEL.names, "class_name") and not is_chosen
        if name in taken or is_label or schema.names.count(name) > 1:
            continue
        names = _names_if_any(features.get(name))
        if is_chosen or may_say_split(name) or names or _is_text(_value_type(schema.field(name).type)):
            found[name] = names
    chosen = settings.split_column
    return found if chosen is None else {name: names for name, names in found.items() if name == chosen}


def _names_if_any(feature: Any) -> tuple[str, ...]:
    """Names of class labels; none if they are wrong, in a column that need not be read."""
    with suppress(InputError):
        return class_label_names(feature, "") or ()
    return ()


def read_rows(
    batch: pa.RecordBatch,
    columns: Columns,
    roots: Sequence[Path],
    *,
    said: SaidSplits,
    of_part: RealSplit | None,
    name: str,
    start: int,
) -> Iterator[Item]:
    """The rows of a batch, as the items NAME#00000000 and so on.

    Args:
        batch: rows with the columns.
        columns: as found by :func:`find_columns`.
        roots: folders that paths of image files may be relative to; files outside them are not read.
        said: the columns that say splits.
        of_part: split that the name of the file or part says.
        name: of the file or part.
        start: number of the first row.
    """
    images, labels = plain(batch.column(columns.image)), plain(batch.column(columns.label))
    rows = list(zip(*(columns.values(batch, name) for name in said.names), strict=True)) or [()] * len(images)
    splits = {row: said.split(row, of_part) for row in set(rows)}
    groups = [None] * len(images) if columns.group is None else plain(batch.column(columns.group))
    for number, (image, label, row, group) in enumerate(
        zip(images, labels, rows, groups, strict=True), start
    ):
        data, path = (image.get("bytes"), image.get("path")) if isinstance(image, dict) else (image, None)
        if isinstance(data, str):
            data, path = None, data
        problem = ""
        if not data:
            data, problem = read_file(path, roots) if path else (b"", "no image bytes")
        yield Item(
            path=f"{name}#{number:08d}",
            label=label_of(label),
            split=splits[row],
            data=data,
            problem=problem,
            group=_group_of(group),
        )


def _group_of(value: Any) -> str | None:
    """What an image belongs to, as text without outer spaces; None if the column is empty there."""
    if value is None:
        return None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip() or None


def plain(values: Any) -> list[Any]:
    """The values of an Arrow column as Python objects; whole numbers and booleans become integers."""
    return [_number(value) for value in values.to_pylist()]


def class_label_names(feature: Any, where: str) -> tuple[str, ...] | None:
    """Class names by label of a ``ClassLabel`` in Hugging Face metadata; None for other features.

    Raises:
        InputError: if the names are numbered, but not from 0 on without gaps.
    """
    names = feature.get("names") if isinstance(feature, Mapping) else None
    if isinstance(names, Mapping):  # {"0": "cat", "1": "dog"}
        numbers = {str(number): str(name) for number, name in names.items()}
        if set(numbers) != {str(number) for number in range(len(numbers))}:
            raise InputError(
                f"{where}: class names in the metadata must be numbered from 0 to {len(numbers) - 1}, got "
                f"{listed(sorted(numbers))}"
            )
        names = [numbers[str(number)] for number in range(len(numbers))]
    return tuple(str(name) for name in names) if isinstance(names, list) and names else None


def _find(schema: pa.Schema, where: str, given: str | None, kind: _Kind, features: Mapping[str, Any]) -> str:
    option = f"--set data.{kind.what}_column=NAME"
    if given is not None:
        if schema.names.count(given) != 1:
            raise InputError(
                f"{where} must have one column {given!r} (data.{kind.what}_column), got "
                f"{listed(schema.names)}"
            )
        return given
    typed = [
        name
        for name, feature in features.items()
        if isinstance(feature, Mapping) and feature.get("_type") == kind.feature and name in schema.names
    ]
    found = [name for name in kind.names if name in schema.names] or typed
    if len(found) > 1 or (found and schema.names.count(found[0]) > 1):
        raise InputError(
            f"{where} has several {kind.what} columns, {' and '.join(found)}: ", f"choose one with {option}"
        )
    if not found:
        raise InputError(
            f"{where} must have the columns image and label, got {listed(schema.names)}: ",
            f"if the {kind.what}s are in a column of another name, give it with {option}",
        )
    return found[0]


def hub_features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """The features in Hugging Face metadata; empty if it has none, or is not what the library writes."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def _check_image_type(kind: pa.DataType, where: str) -> None:
    inner = _value_type(kind)
    if pa.types.is_struct(inner) and inner.get_field_index("bytes") >= 0:
        inner = _value_type(inner.field("bytes").type)
    if not _is_bytes(inner) and not _is_text(inner) and not pa.types.is_null(inner):
        raise InputError(
            f"{where} must hold encoded image files as bytes, a struct with bytes, or paths of image files, "
            f"got {kind}"
        )


def _check_label_type(kind: pa.DataType, where: str) -> None:
    inner = _value_type(kind)
    fits = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_boolean,
        pa.types.is_null,
    )
    if not any(test(inner) for test in (*fits, _is_text, _is_bytes)):
        raise InputError(f"{where} must hold one number or name for each image, got {kind}")


def _value_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values inside dictionaries (categories) and extension types."""
    while pa.types.is_dictionary(kind) or isinstance(kind, pa.BaseExtensionType):
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind.storage_type
    return kind


def _is_bytes(kind: pa.DataType) -> bool:
    tests = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return any(test(kind) for test in tests)


def _is_text(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _number(value: Any) -> Any:
    if isinstance(value, (float, Decimal)) and math.isnan(value):
        return None
    if isinstance(value, (bool, float, Decimal)) and math.isfinite(value) and value == int(value):
        return int(value)
    return value


def label_of(value: Any) -> str | int | None:
    """A label as text or integer; None if it is missing.

    Raises:
        InputError: for fractions.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (float, Decimal)):
        raise InputError(f"labels must be whole numbers or names, got {value}")
    return value if value is None or isinstance(value, int) else str(value)


def read_file(path: str, roots: Sequence[Path]) -> tuple[bytes, str]:
    """An image file that a table names instead of holding it, or why it cannot be read.

    Args:
        path: as the table has it.
        roots: folders that the path may be relative to; files outside them are not read.
    """
    shown = repr(path if len(path) <= 100 else f"{path[:100]}...")
    if "base64," in path[:100] or (len(path) > 100 and path.startswith(_BASE64)):
        return b"", "an image as base64 text: decode the column, and store bytes"
    if "://" in path[:20]:
        return b"", f"an address, {shown}: download the image, and store its bytes"
    try:
        for root in roots:
            file = (root.resolve() / path).resolve()
            if file.is_relative_to(root.resolve()) and file.is_file():
                if file.stat().st_size > MAX_FILE_BYTES:
                    return b"", f"{file.stat().st_size:,} bytes, more than {MAX_FILE_BYTES:,}"
                return file.read_bytes(), ""
    except (OSError, ValueError) as error:  # a name that is too long, or has a null character
        return b"", f"no image bytes, and the file {shown} cannot be read: {error}"
    return b"", f"no image bytes, and no file {shown} in the folder of the data set"
