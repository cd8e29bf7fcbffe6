"""Image folders: ``class/img.png``, or ``train/class/img.png`` and so on per split."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import final

from understudy.core.errors import InputError
from understudy.data.settings import DataSettings
from understudy.data.sources.arrow import is_saved
from understudy.data.sources.entries import printable
from understudy.data.sources.shards import holds_runs, shards
from understudy.data.sources.source import (
    MAX_FILE_BYTES,
    SOURCES,
    AbstractSource,
    Contents,
    Item,
    filled,
    too_large,
    with_problem,
)
from understudy.data.sources.tree import Tree, read_tree


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
        names, again = _walk(root)
        tree = read_tree(names, location, settings)
        return Contents(_read(root, tree), None, tree.notes, tree.left_out + again, len(tree.items))


SOURCES.register("folder", summary="class/img.png, or the same below train/, val/ and test/")(FolderSource())


def _walk(root: Path) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """Files and empty folders (with a trailing slash) below ``root``; and folders left out, with reason.

    Links to folders are followed after all other folders are read, and each folder is read once.
    """
    found: list[str] = []
    again: list[tuple[str, str]] = []
    visited: set[str] = set()
    pending = [str(root)]

    def stop(error: OSError) -> None:
        raise InputError(f"folder {printable(str(error.filename))} must be readable: {error.strerror}")

    for start in pending:
        for folder, subfolders, files in os.walk(start, onerror=stop):
            relative = Path(folder).relative_to(root)
            real = os.path.realpath(folder)
            if real in visited:
                again.append((printable(f"{relative.as_posix()}/"), "links to folders that are read anyway"))
                subfolders.clear()
                continue
            visited.add(real)
            if folder != str(root) and holds_runs(Path(folder)):
                again.append((printable(f"{relative.as_posix()}/"), "folders of runs and studies"))
                subfolders.clear()
                continue
            subfolders.sort()
            pending += [os.path.join(folder, name) for name in subfolders if Path(folder, name).is_symlink()]
            found += [(relative / file).as_posix() for file in files]
            if not files and not subfolders and folder != str(root):
                found.append(relative.as_posix() + "/")
    return found, tuple(again)


def _read(root: Path, tree: Tree) -> Iterator[Item]:
    for name, item in zip(tree.names, tree.items, strict=True):
        if item.problem:
            yield item
            continue
        try:
            found = (root / name).stat()
            if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait forever
                yield with_problem(item, "a pipe, socket or device, not a file")
            elif found.st_size > MAX_FILE_BYTES:
                yield with_problem(item, too_large(found.st_size))
            else:
                yield filled(item, (root / name).read_bytes())
        except OSError as error:
            yield with_problem(item, f"cannot be read: {error.strerror}")
