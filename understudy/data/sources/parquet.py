"""Parquet files with a column of images and one of labels, in the layout of Hugging Face and others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pyarrow.parquet as pq

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.settings import DataSettings
from understudy.data.sources.archives import why_unreadable
from understudy.data.sources.column_splits import column_splits
from understudy.data.sources.columns import Columns, find_columns, plain, read_rows
from understudy.data.sources.said_splits import SaidSplits
from understudy.data.sources.shards import Shards, find_shards, shards
from understudy.data.sources.source import SOURCES, AbstractSource, Contents, Item
from understudy.data.sources.split_names import RealSplit


@final
class ParquetSource(AbstractSource):
    """One Parquet file, or a folder of shards whose names may say train, val or test."""

    def accepts(self, location: str) -> bool:
        """A ``.parquet`` file, or a folder with such files in it or in its subfolders."""
        return bool(shards(location, ".parquet"))

    def open(self, location: str, settings: DataSettings) -> Contents:
        """Check the columns and find the class names, then read images in batches."""
        found = find_shards(location, ".parquet", settings)
        columns = {file: find_columns(_schema(file), str(file), settings) for file in found.files}
        first = columns[found.files[0]]
        different = [file.name for file in found.files if columns[file] != first]
        if different:
            raise InputError(
                f"all files must have the columns ({', '.join(first.read)}) and the class names of "
                f"{found.files[0].name}, but these differ: {listed(different)}"
            )
        names = first.names
        if names is None:
            names = _paired_names(found.files, columns)
        root = Path(location) if Path(location).is_dir() else Path(location).parent
        said, told = column_splits(
            list(columns.values()), partial(_batches, found), settings, named=any(found.splits)
        )
        notes = found.notes_with(told, are_divided=not said.names)
        total = sum(pq.read_metadata(file).num_rows for file in found.files)
        return Contents(_read(found, columns, said, root), names, notes, found.left_out, total)


SOURCES.register("parquet", summary="Parquet files with a column of images and one of labels")(
    ParquetSource()
)


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        reason = why_unreadable(file, error)
        raise InputError(f"{file} must be a Parquet file, but {reason}") from None


def _paired_names(files: Sequence[Path], columns: Mapping[Path, Columns]) -> tuple[str, ...] | None:
    """Class names by label from the ``class_name`` columns.

    None if a file lacks the column, or has names as labels.
    """
    names: dict[Any, str] = {}
    for file in files:
        label = columns[file].label
        if "class_name" not in pq.read_schema(file).names or label == "class_name":
            return None
        table = pq.read_table(file, columns=[label, "class_name"])
        for number, name in zip(plain(table[label]), plain(table["class_name"]), strict=True):
            if isinstance(number, str):
                return None
            if names.setdefault(number, name) != name:
                raise InputError(
                    f"{file}: label {number} must have one class name, got {names[number]!r} and {name!r}"
                )
    numbers = {number: name for number, name in names.items() if number not in (None, -1)}
    if set(numbers) != set(range(len(numbers))):
        raise InputError(
            f"labels with a class_name column must be 0 to {len(numbers) - 1}, got {sorted(numbers, key=str)}"
        )
    return tuple(str(numbers[number]) for number in range(len(numbers)))


def _batches(found: Shards, names: Sequence[str]) -> Iterator[tuple[RealSplit | None, pa.RecordBatch]]:
    """Some columns of all rows, and the split of the file; a file may lack columns."""
    for file, split in zip(found.files, found.splits, strict=True):
        with pq.ParquetFile(file) as parquet:
            present = [name for name in names if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(batch_size=1024, columns=present):
                yield split, batch


def _read(found: Shards, columns: Mapping[Path, Columns], said: SaidSplits, root: Path) -> Iterator[Item]:
    for file, name, split in zip(found.files, found.names, found.splits, strict=True):
        each, row = columns[file], 0
        try:
            with pq.ParquetFile(file) as parquet:
                present = [name for name in said.names if name in parquet.schema_arrow.names]
                for batch in parquet.iter_batches(batch_size=1024, columns=[*each.read, *present]):
                    roots = (root, file.parent)
                    for item in read_rows(batch, each, roots, said=said, of_part=split, name=name, start=row):
                        yield item
                        row += 1
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file}: rows from {row:,} on cannot be read: {error}") from None
