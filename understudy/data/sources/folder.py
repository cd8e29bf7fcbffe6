"""Image folders, on disk or zipped: ``class/img.png``, or ``train/class/img.png`` and so on per split."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

from understudy.core.errors import InputError
from understudy.data.settings import DataSettings
from understudy.data.sources.arrow import is_saved
from understudy.data.sources.layout import find_places
from understudy.data.sources.shards import shards
from understudy.data.sources.source import (
    MAX_FILE_BYTES,
    SOURCES,
    AbstractSource,
    Contents,
    Item,
    check_entry,
    check_unique,
)

_SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "__macosx"}


@final
class FolderSource(AbstractSource):
    """A folder with one subfolder per class."""

    def accepts(self, location: str) -> bool:
        """A folder without Parquet or tar files, which ``save_to_disk`` did not write."""
        others = is_saved(location) or shards(location, ".parquet") or shards(location, ".tar")
        return Path(location).is_dir() and not others

    def open(self, location: str, settings: DataSettings) -> Contents:
        """List the files, then read them one at a time."""
        root = Path(location)
        items, notes = _layout(_walk(root), location, settings)
        return Contents(_read_folder(root, items), notes=notes)


@final
class ZipSource(AbstractSource):
    """A zipped image folder; nothing is unpacked to disk."""

    def accepts(self, location: str) -> bool:
        """A file named ``.zip``."""
        return Path(location).is_file() and location.lower().endswith(".zip")

    def open(self, location: str, settings: DataSettings) -> Contents:
        """Check all entries, then read them one at a time."""
        try:
            with zipfile.ZipFile(location) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, OSError) as error:
            raise InputError(f"{location} must be a zip file, but it cannot be read: {error}") from None
        for entry in entries:
            mode = entry.external_attr >> 16
            check_entry(
                location,
                entry.filename,
                plain=not stat.S_IFMT(mode) or stat.S_ISREG(mode) or stat.S_ISDIR(mode),
            )
        files = [entry.filename for entry in entries if not entry.is_dir()]
        check_unique(files, location)
        items, notes = _layout(files, location, settings)
        return Contents(_read_zip(location, items), notes=notes)


SOURCES.register("folder", summary="class/img.png, or the same below train/, val/ and test/")(FolderSource())
SOURCES.register("zip", summary="an image folder, zipped")(ZipSource())


def _walk(root: Path) -> list[str]:
    """Files below ``root``, and empty folders (with a trailing slash).

    Symbolic links to folders are followed once.
    """
    found, visited = [], set()

    def stop(error: OSError) -> None:
        raise InputError(f"folder {error.filename} must be readable: {error.strerror}")

    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=stop):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        relative = Path(folder).relative_to(root)
        found += [(relative / file).as_posix() for file in files]
        if not files and not subfolders and folder != str(root):
            found.append(relative.as_posix() + "/")
    return found


def _layout(
    paths: Sequence[str], location: str, settings: DataSettings
) -> tuple[list[Item], tuple[str, ...]]:
    """Read the class and split of each file from its path; and what was taken for what.

    Hidden files, and a ``metadata.csv`` or ``README.md`` above the classes, are left out.
    """
    split_paths = [(path, tuple(path.split("/"))) for path in sorted(paths)]
    visible = [(path, parts) for path, parts in split_paths if not any(_is_hidden(part) for part in parts)]
    places = find_places([parts for _, parts in visible], location, settings)
    items = []
    for (path, parts), label, split in zip(visible, places.labels, places.splits, strict=True):
        if label is not None:
            problem = "an empty folder" if path.endswith("/") else ""
            items.append(Item(path=path, label=label, split=split, problem=problem))
        elif parts[-1] not in ("metadata.csv", "metadata.jsonl", "README.md"):
            items.append(Item(path=path, split=split, problem="not in a class folder"))
    if not any(not item.problem for item in items):
        raise InputError(
            f"{location} must hold class folders with images (class/img.png), but none was found"
        )
    return items, places.notes


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _read_folder(root: Path, items: Sequence[Item]) -> Iterator[Item]:
    for item in items:
        if item.problem:
            yield item
            continue
        try:
            size = (root / item.path).stat().st_size
            yield (
                _filled(item, (root / item.path).read_bytes())
                if size <= MAX_FILE_BYTES
                else _with_problem(item, _too_large(size))
            )
        except OSError as error:
            yield _with_problem(item, f"cannot be read: {error.strerror}")


def _read_zip(location: str, items: Sequence[Item]) -> Iterator[Item]:
    with zipfile.ZipFile(location) as archive:
        for item in items:
            size = archive.getinfo(item.path).file_size
            if item.problem or size > MAX_FILE_BYTES:
                yield _with_problem(item, item.problem or _too_large(size))
                continue
            try:
                yield _filled(item, archive.read(item.path))
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
                yield _with_problem(item, f"cannot be unpacked: {error}")


def _filled(item: Item, data: bytes) -> Item:
    return Item(path=item.path, label=item.label, split=item.split, data=data)


def _with_problem(item: Item, problem: str) -> Item:
    return Item(path=item.path, label=item.label, split=item.split, problem=problem)


def _too_large(size: int) -> str:
    return f"{size:,} bytes, more than {MAX_FILE_BYTES:,}"
