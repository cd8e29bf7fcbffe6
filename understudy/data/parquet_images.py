"""Parquet files of image sets, in small groups of rows, so that an image is read without all others."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from understudy.core.errors import InputError
from understudy.core.files import again, readable, temporary_path, write_atomically
from understudy.data.groups import in_groups
from understudy.data.recent import Recent
from understudy.data.stored_images import StoredImages

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""Type of the column ``image``; the datasets package recognises it."""
SHARD_BYTES = 256_000_000
"""Encoded images of a file, about; a larger set is a folder of files."""
_BYTES = "image.bytes"
_GROUP = (1000, 1_000_000)  # rows of a group, and bytes of their images, at most
_GROUPS = Recent[pa.Array](room=2**26, size=lambda group: group.nbytes)


@final
class ParquetImages:
    """The images of a Parquet file; the latest groups of rows are kept, 64 MiB of them.

    Args:
        path: the file, which must not change while it is used.

    Raises:
        InputError: if the file is damaged or missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with readable(path):
            self._metadata = pq.read_metadata(path)
            self._stamp = _stamp(path)
            groups = [self._metadata.row_group(group) for group in range(self._metadata.num_row_groups)]
            self._starts = np.cumsum([0, *(group.num_rows for group in groups)])
            self.num_bytes = sum(_image_bytes(group) for group in groups)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, number: int) -> bytes:
        """Encoded image ``number``.

        Raises:
            InputError: if the file is damaged, or was replaced or removed since it was opened.
        """
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        images = _GROUPS.get(f"{self._path} {self._stamp} {group}".encode(), lambda: self._read(group))
        return bytes(images[number - int(self._starts[group])].as_py())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._path,)

    def _read(self, group: int) -> pa.Array:
        with readable(self._path):
            self._check_unchanged()
            with pq.ParquetFile(self._path, metadata=self._metadata) as parquet:
                column = parquet.read_row_group(group, columns=[_BYTES]).column("image")
            return column.combine_chunks().field("bytes")

    def _check_unchanged(self) -> None:
        """Check that this is the file that was opened; some file systems change times by themselves."""
        stamp = _stamp(self._path) if self._path.exists() else None
        if stamp == self._stamp:
            return
        if stamp is None or stamp[1] != self._stamp[1] or pq.read_metadata(self._path) != self._metadata:
            raise InputError(f"{self._path} was changed while it was in use: give the same command again")
        self._stamp = stamp


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def num_files(images: StoredImages) -> int:
    """How many files of at most 256 MB or so hold the images."""
    return max(1, -(-images.num_bytes // SHARD_BYTES))


def write_set(
    path: Path, columns: pa.Table, images: StoredImages, metadata: Mapping[str, str], *, count: int
) -> None:
    """Write images and their columns to a file, or to a folder of files if they are many.

    A file appears whole or not at all, and so does a folder, but one that it replaces is removed before.

    Args:
        path: of the file or folder.
        columns: one row per image; the images become the column ``image`` behind the first.
        images: encoded images.
        metadata: of the schema.
        count: number of files; 1 for no folder.
    """
    temporary = temporary_path(path)
    _remove(temporary)  # of a run that was killed
    if count == 1:
        write_atomically(path, partial(_write_in_place_of, path, columns, images, metadata))
        return
    try:
        for number, rows in enumerate(np.array_split(np.arange(len(images)), count)):
            shard = temporary / f"part-{number:05d}-of-{count:05d}.parquet"
            write_atomically(shard, partial(_write, columns.take(rows), images.select(rows), metadata))
    except Exception:
        _remove(temporary)
        raise
    _remove(path)
    temporary.rename(path)


def files_of(path: Path) -> list[Path]:
    """The files of a set, in order.

    Raises:
        InputError: if there are none, or some are missing.
    """
    if path.is_file():
        return [path]
    files = sorted(path.glob("part-*-of-*.parquet"))
    if not files:
        raise InputError(f"no image set at {path}: {again(path)}")
    if len(files) != int(files[0].stem.rpartition("-")[2]):
        raise InputError(f"{path} lacks some of its files: {again(path)}")
    return files


def _write_in_place_of(
    old: Path, columns: pa.Table, images: StoredImages, metadata: Mapping[str, str], path: Path
) -> None:
    """Write a file; a folder that it will replace is removed last, because the images may come from it."""
    _write(columns, images, metadata, path)
    if old.is_dir():
        _remove(old)


def _write(columns: pa.Table, images: StoredImages, metadata: Mapping[str, str], path: Path) -> None:
    place, field = 1, pa.field("image", IMAGE)
    schema = columns.schema.insert(place, field).with_metadata(metadata)
    # Images are compressed already, and dictionaries and statistics of them would be of no use.
    others = columns.column_names
    options = {"use_dictionary": others, "write_statistics": others}
    with pq.ParquetWriter(path, schema, compression=dict.fromkeys(others, "snappy"), **options) as writer:
        start = 0
        for files in in_groups(images, len, most=_GROUP):
            column = pa.array([{"bytes": data, "path": None} for data in files], IMAGE)
            group = columns.slice(start, len(files)).add_column(place, field, column)
            writer.write_table(group.cast(schema), row_group_size=len(files))
            start += len(files)


def _image_bytes(group: Any) -> int:
    """Bytes of the images of a group of rows."""
    chunks = (group.column(number) for number in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == _BYTES)


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
