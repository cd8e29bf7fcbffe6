"""Parquet in the Hugging Face image layout: a struct ``image`` with bytes and path, and a ``label``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pyarrow.parquet as pq

from understudy.core.errors import InputError
from understudy.data.settings import DataSettings
from understudy.data.sources.shards import Shards, find_shards, shards
from understudy.data.sources.source import (
    SOURCES,
    AbstractSource,
    Contents,
    Item,
)

_IMAGE_COLUMNS = ("image", "img")


@final
class ParquetSource(AbstractSource):
    """One Parquet file, or a folder of shards whose names may say train, val or test."""

    def accepts(self, location: str) -> bool:
        """A ``.parquet`` file, or a folder with such files in it or in its subfolders."""
        return bool(shards(location, ".parquet"))

    def open(self, location: str, settings: DataSettings) -> Contents:
        """Check the columns and find the class names, then read images in batches."""
        found = find_shards(location, ".parquet", settings)
        files = found.files
        by_file = {file: _class_names(file) for file in files}
        names = by_file[files[0]]
        different = [file.name for file in files if by_file[file] != names]
        if different:
            raise InputError(
                f"all files must have the class names of {files[0].name}, but these differ: "
                f"{', '.join(different)}"
            )
        if names is None:
            names = _paired_names(files)
        return Contents(_read(found, names), names, found.notes)


SOURCES.register("parquet", summary="Parquet files in the Hugging Face image layout")(ParquetSource())


def class_label_names(metadata: dict[bytes, bytes] | None) -> tuple[str, ...] | None:
    """Class names by label from Hugging Face schema metadata; None if it has none."""
    info = json.loads((metadata or {}).get(b"huggingface", b"{}")).get("info", {})
    names = info.get("features", {}).get("label", {}).get("names")
    return None if names is None else tuple(str(name) for name in names)


def _class_names(file: Path) -> tuple[str, ...] | None:
    """Check the columns of a file and return the class names from its metadata."""
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} must be a Parquet file, but it cannot be read: {error}") from None
    if "label" not in schema.names or not any(name in schema.names for name in _IMAGE_COLUMNS):
        raise InputError(f"{file} must have the columns image and label, got {', '.join(schema.names)}")
    kind = schema.field("label").type
    if not pa.types.is_integer(kind) and not pa.types.is_string(kind):
        raise InputError(f"{file}: label must be an integer or a string, got {kind}")
    image = schema.field(_image_column(schema)).type
    if not pa.types.is_binary(image) and not (
        pa.types.is_struct(image) and image.get_field_index("bytes") >= 0
    ):
        raise InputError(f"{file}: image must be bytes, or a struct with bytes, got {image}")
    return class_label_names(schema.metadata)


def _image_column(schema: pa.Schema) -> str:
    return next(name for name in _IMAGE_COLUMNS if name in schema.names)


def _paired_names(files: Sequence[Path]) -> tuple[str, ...] | None:
    """Class names by label from the ``class_name`` columns; None if any file lacks the column."""
    names: dict[Any, str] = {}
    for file in files:
        if "class_name" not in pq.read_schema(file).names:
            return None
        table = pq.read_table(file, columns=["label", "class_name"])
        for label, name in zip(table["label"].to_pylist(), table["class_name"].to_pylist(), strict=True):
            if names.setdefault(label, name) != name:
                raise InputError(
                    f"{file}: label {label} must have one class name, got {names[label]!r} and {name!r}"
                )
    if sorted(names) != list(range(len(names))):
        raise InputError(
            f"labels with a class_name column must be 0 to {len(names) - 1}, got {sorted(names)}"
        )
    return tuple(names[label] for label in sorted(names))


def _read(found: Shards, names: tuple[str, ...] | None) -> Iterator[Item]:
    for file, file_name, split in zip(found.files, found.names, found.splits, strict=True):
        with pq.ParquetFile(file) as parquet:
            column, row = _image_column(parquet.schema_arrow), 0
            for batch in parquet.iter_batches(batch_size=1024, columns=[column, "label"]):
                for image, label in zip(
                    batch.column(column).to_pylist(), batch.column("label").to_pylist(), strict=True
                ):
                    data = image.get("bytes") if isinstance(image, dict) else image
                    path = f"{file_name}#{row:08d}"
                    problem = "" if data else "no image bytes"
                    yield Item(
                        path=path,
                        label=named(path, label, names),
                        split=split,
                        data=data or b"",
                        problem=problem,
                    )
                    row += 1


def named(path: str, label: Any, names: tuple[str, ...] | None) -> str | int:
    """Check a label, and turn a number into a class name if the names are known.

    Raises:
        InputError: if the label is missing or has no name.
    """
    if label is None:
        raise InputError(f"{path}: every image must have a label, but this one has none")
    if isinstance(label, str):
        return label
    if names is None:
        return int(label)
    if not 0 <= label < len(names):
        raise InputError(
            f"{path}: label must be in [0, {len(names)}), got {label}: "
            "leave unlabelled images out of the source"
        )
    return names[int(label)]
