"""What every kind of source gives: items with a class, perhaps a split, and encoded bytes."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from understudy.core.errors import InputError
from understudy.core.registry import Registry
from understudy.data.settings import DataSettings

RealSplit = Literal["train", "val", "test"]

MAX_FILE_BYTES = 200_000_000
"""An image file or archive entry that claims to be larger is not read."""

_SPLITS: dict[str, RealSplit] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image as a source found it.

    Attributes:
        path: where, relative to the source, with forward slashes; unique in the source.
        label: class name, or a number where the source has no names.
        split: the split that the source puts it in, if it has splits.
        data: encoded bytes.
        problem: why it cannot be used; empty if it can, as far as the source knows.
        id: unique name, if the source has one; otherwise it follows from the path.
    """

    path: str
    label: str | int = ""
    split: RealSplit | None = None
    data: bytes = b""
    problem: str = ""
    id: str = ""


@dataclass(frozen=True)
class Contents:
    """All items of a source, read one at a time.

    Attributes:
        items: in a fixed order.
        class_names: names by label where the source orders them; otherwise they are sorted.
    """

    items: Iterator[Item]
    class_names: tuple[str, ...] | None = None


class AbstractSource(ABC):
    """A kind of place that labelled images come from."""

    @abstractmethod
    def accepts(self, location: str) -> bool:
        """Whether ``location`` is of this kind; at most one kind says so."""

    @abstractmethod
    def open(self, location: str, settings: DataSettings) -> Contents:
        """Find classes and items.

        Raises:
            InputError: if the place cannot be read as this kind, here or while items are read.
        """


SOURCES: Registry[AbstractSource] = Registry("source")


def split_of(name: str) -> RealSplit | None:
    """The split that a folder or file name stands for, or None.

    Recognises names such as ``Validation`` and ``train-00000-of-00002.parquet``.
    """
    return _SPLITS.get(re.split(r"[-_.]", name.lower())[0])


def shards(location: str, suffix: str) -> list[Path]:
    """The files with this suffix at a location.

    A file stands for itself; in a folder, files directly in it come before those in its ``data`` subfolder.
    """
    path = Path(location)
    if path.is_file():
        return [path] if path.suffix.lower() == suffix else []
    found = [
        sorted(file for file in folder.glob(f"*{suffix}") if not file.name.startswith("."))
        for folder in (path, path / "data")
    ]
    return found[0] or found[1]


def shard_splits(files: list[Path]) -> list[RealSplit | None]:
    """The split of each file; a single file, or files without split names, have none.

    Raises:
        InputError: if only some file names say a split.
    """
    splits = [split_of(file.name) for file in files]
    if len(files) == 1:
        return [None]
    if any(splits) and not all(splits):
        odd = ", ".join(file.name for file, split in zip(files, splits, strict=True) if split is None)
        raise InputError(
            f"file names must all begin with train, val or test, or none, but these do not: {odd}"
        )
    return splits


def check_entry(archive: str, name: str, *, plain: bool) -> None:
    """Refuse an archive entry that would not stay inside a folder.

    Args:
        archive: the archive, for the message.
        name: of the entry.
        plain: whether it is a plain file or folder: no link or device.

    Raises:
        InputError: for absolute paths, ``..``, links and devices.
    """
    parts = re.split(r"[/\\]", name)
    if parts[0] == "" or ":" in parts[0] or ".." in parts:
        raise InputError(
            f"{archive}: entries must have relative paths without '..', got {name!r}: do not trust this "
            "archive"
        )
    if not plain:
        raise InputError(
            f"{archive}: entries must be plain files, but {name!r} is a link or device: pack the files "
            "themselves"
        )


def check_unique(paths: Iterable[str], archive: str) -> None:
    """Refuse an archive that holds one path twice.

    Raises:
        InputError: naming the first such path.
    """
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise InputError(f"{archive}: every entry must have its own path, but {path!r} occurs twice")
        seen.add(path)
