"""Zipped image folders, also as Windows programs write them; nothing is unpacked to disk."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import final

from understudy.core.errors import InputError
from understudy.data.settings import DataSettings
from understudy.data.sources.archives import why_unreadable
from understudy.data.sources.source import (
    MAX_FILE_BYTES,
    SOURCES,
    AbstractSource,
    Contents,
    Item,
    check_entry,
    check_unique,
    empty_folders,
    filled,
    too_large,
    with_problem,
)
from understudy.data.sources.tree import Tree, read_tree

_ENCRYPTED = 0x1
_UTF8 = 0x800
"""Flag of entries with UTF-8 names; others have a code page that the file does not say."""


@final
class ZipSource(AbstractSource):
    """A zipped image folder."""

    def accepts(self, location: str) -> bool:
        """A file named ``.zip``."""
        return Path(location).is_file() and location.lower().endswith(".zip")

    def open(self, location: str, settings: DataSettings) -> Contents:
        """Check all entries, then read them one at a time."""
        try:
            with zipfile.ZipFile(location) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, OSError) as error:
            reason = why_unreadable(Path(location), error)
            raise InputError(f"{location} must be a zip file, but {reason}") from None
        for entry in entries:
            mode = entry.external_attr >> 16
            check_entry(
                location,
                entry.filename,
                plain=not stat.S_IFMT(mode) or stat.S_ISREG(mode) or stat.S_ISDIR(mode),
            )
        stored, notes = _with_slashes([_stored_name(entry) for entry in entries])
        check_unique([name for name in stored if not name.endswith("/")], location)
        empty = empty_folders(stored)
        files = {
            name: entry
            for name, entry in zip(stored, entries, strict=True)
            if not name.endswith("/") or name in empty
        }
        tree = read_tree(list(files), location, settings)
        return Contents(
            _read(location, tree, files), None, notes + tree.notes, tree.left_out, len(tree.items)
        )


SOURCES.register("zip", summary="an image folder, zipped")(ZipSource())


def _stored_name(entry: zipfile.ZipInfo) -> str:
    """The name of an entry; bytes that are not UTF-8 as surrogates.

    Without the flag for UTF-8, ``zipfile`` reads code page 437, but programs write that of their system, or
    UTF-8. A name that ``zipfile`` found elsewhere (the extra field for Unicode paths) stays.
    """
    if entry.flag_bits & _UTF8 or entry.filename.isascii() or entry.filename != entry.orig_filename:
        return entry.filename
    return entry.filename.encode("cp437").decode("utf-8", "surrogateescape")


def _with_slashes(names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Names with forward slashes: some Windows programs write backslashes, in all names of an archive."""
    if not any("\\" in name for name in names) or any("/" in name for name in names):
        return list(names), ()
    note = "folders: the zip has backslashes between folders, which are read as slashes"
    return [name.replace("\\", "/") for name in names], (note,)


def _read(location: str, tree: Tree, entries: Mapping[str, zipfile.ZipInfo]) -> Iterator[Item]:
    with zipfile.ZipFile(location) as archive:
        for name, item in zip(tree.names, tree.items, strict=True):
            if item.problem:
                yield item
                continue
            entry = entries[name]
            if entry.file_size > MAX_FILE_BYTES:
                yield with_problem(item, too_large(entry.file_size))
                continue
            try:
                yield filled(item, archive.read(entry))
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
                is_locked = entry.flag_bits & _ENCRYPTED
                reason = (
                    "a password protects it, so unpack the zip and give the folder" if is_locked else error
                )
                yield with_problem(item, f"cannot be unpacked: {reason}")
