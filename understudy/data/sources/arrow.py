"""Folders written by ``save_to_disk`` of the ``datasets`` package: Arrow files, in a folder per split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import pyarrow as pa

from understudy.core.errors import InputError
from understudy.core.files import read_json
from understudy.data.settings import DataSettings
from understudy.data.sources.column_splits import column_splits
from understudy.data.sources.columns import Columns, find_columns, read_rows
from understudy.data.sources.said_splits import SaidSplits
from understudy.data.sources.source import SOURCES, AbstractSource, Contents, Item
from understudy.data.sources.split_names import RealSplit, named_splits, part_notes

_MEND = "write the folder again with save_to_disk of the datasets package"


@final
class ArrowSource(AbstractSource):
    """A data set, or several splits of one, as ``save_to_disk`` writes them."""

    def accepts(self, location: str) -> bool:
        """A folder with ``dataset_dict.json`` or ``state.json``."""
        return is_saved(location)

    def open(self, location: str, settings: DataSettings) -> Contents:
        """Check the columns and find the class names, then read images in batches."""
        root = Path(location)
        if (root / "dataset_dict.json").is_file():
            parts = read_json(root / "dataset_dict.json", mend=_MEND, keys=["splits"])["splits"]
            folders = {str(part): root / str(part) for part in parts}
        else:
            folders = {root.name: root}
        splits = named_splits(list(folders), location, settings)
        files = [(name, file) for name, folder in folders.items() for file in _files(folder)]
        if not files:
            raise InputError(f"{location} must hold Arrow files, but none is listed in state.json: {_MEND}")
        columns = find_columns(_open(files[0][1]).schema, str(files[0][1]), settings)
        said, told = column_splits(
            [columns], partial(_batches, files, splits), settings, named=any(splits.values())
        )
        notes = part_notes(splits, "folder", settings, are_divided=not said.names)
        items = _read(files, splits, columns, said)
        return Contents(items, columns.names, notes + told, total=_num_rows(files))


SOURCES.register("arrow", summary="a folder written by save_to_disk of the datasets package")(ArrowSource())


def is_saved(location: str) -> bool:
    """Whether ``save_to_disk`` wrote the folder."""
    return any((Path(location) / name).is_file() for name in ("dataset_dict.json", "state.json"))


def _files(folder: Path) -> list[Path]:
    if not (folder / "state.json").is_file():
        raise InputError(f"{folder / 'state.json'} is missing: {_MEND}")
    entries = read_json(folder / "state.json", mend=_MEND, keys=["_data_files"])["_data_files"]
    try:
        return [folder / Path(str(entry["filename"])).name for entry in entries]
    except (TypeError, KeyError):
        raise InputError(f"{folder / 'state.json'} is damaged: {_MEND}") from None


def _open(file: Path) -> Any:
    """A reader of the batches of an Arrow file; the package writes streams."""
    try:
        return pa.ipc.open_stream(pa.memory_map(str(file)))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} must be an Arrow stream, but it cannot be read: {error}: {_MEND}") from None


def _num_rows(files: list[tuple[str, Path]]) -> int | None:
    """Number of rows, from the heads of the batches; None if one is damaged, which reading explains."""
    try:
        return sum(int(batch.num_rows) for _, file in files for batch in _open(file))
    except (pa.ArrowException, OSError):
        return None


def _batches(
    files: list[tuple[str, Path]], splits: dict[str, RealSplit | None], _names: Sequence[str]
) -> Iterator[tuple[RealSplit | None, pa.RecordBatch]]:
    """All rows, and the split of the folder; of files in memory maps, only columns that are used are read."""
    for name, file in files:
        for batch in _open(file):
            yield splits[name], batch


def _read(
    files: list[tuple[str, Path]], splits: dict[str, RealSplit | None], columns: Columns, said: SaidSplits
) -> Iterator[Item]:
    rows = dict.fromkeys(splits, 0)
    for name, file in files:
        reader = _open(file)
        missing = [each for each in columns.read if each not in reader.schema.names]
        if missing:
            raise InputError(
                f"{file} must have the columns of the first file, but lacks {' and '.join(missing)}"
            )
        try:
            for batch in reader:
                roots = (file.parent, file.parent.parent)
                found = read_rows(
                    batch, columns, roots, said=said, of_part=splits[name], name=name, start=rows[name]
                )
                for item in found:
                    yield item
                    rows[name] += 1
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{file}: rows from {rows[name]:,} on cannot be read: {error}: {_MEND}"
            ) from None
