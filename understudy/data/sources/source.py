"""The interface of sources: they yield items with a class, an optional split and encoded bytes."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from understudy.core.errors import InputError
from understudy.core.registry import Registry
from understudy.data.settings import DataSettings
from understudy.data.sources.split_names import RealSplit

MAX_FILE_BYTES = 200_000_000
"""Image files and archive entries larger than this are not read."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image as found in a source.

    Attributes:
        path: unique path relative to the source, with forward slashes.
        label: class name or number as the source has it; None, empty text and -1 mean that there is none.
        split: split in the source if it has splits.
        data: encoded bytes.
        problem: why the image cannot be used; empty if the source found no problem.
        id: unique name if the source has one; if empty, it is derived from the path.
        group: what the image belongs to, such as its patient, if a column says it.
    """

    path: str
    label: str | int | None = ""
    split: RealSplit | None = None
    data: bytes = b""
    problem: str = ""
    id: str = ""
    group: str | None = None


@dataclass(frozen=True)
class Contents:
    """All items of a source, read one at a time.

    Attributes:
        items: the items, in a fixed order.
        class_names: names by label if the source orders them; None sorts the names.
        notes: what the source took for what, in sentences.
        left_out: (path, reason) of files that are no images of the set.
        total: number of items, if the source knows it before they are read.
    """

    items: Iterator[Item]
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    total: int | None = None


class AbstractSource(ABC):
    """A kind of source of labelled images, such as folders or Parquet files.

    Attributes:
        is_checked: whether its splits are fixed and a test has searched them for changed copies, so that runs
            need not search them again.
    """

    is_checked: ClassVar[bool] = False

    @abstractmethod
    def accepts(self, location: str) -> bool:
        """Whether this kind of source can read ``location``; at most one kind does."""

    @abstractmethod
    def open(self, location: str, settings: DataSettings) -> Contents:
        """Find the classes and items.

        Raises:
            InputError: if the location cannot be read, now or while items are read.
        """


SOURCES: Registry[AbstractSource] = Registry("source")


def filled(item: Item, data: bytes) -> Item:
    """The item with its encoded bytes."""
    return replace(item, data=data)


def with_problem(item: Item, problem: str) -> Item:
    """The item with the reason why it cannot be used."""
    return replace(item, problem=problem)


def too_large(size: int) -> str:
    """The problem of a file with more than :data:`MAX_FILE_BYTES`."""
    return f"{size:,} bytes, more than {MAX_FILE_BYTES:,}"


def check_entry(archive: str, name: str, *, plain: bool) -> None:
    """Check that an archive entry stays inside the folder it is unpacked to.

    Args:
        archive: name of the archive, for the message.
        name: name of the entry.
        plain: whether the entry is a plain file or folder, not a link or device.

    Raises:
        InputError: for absolute paths, ``..``, links and devices.
    """
    parts = re.split(r"[/\\]", name)
    if parts[0] == "" or ":" in parts[0] or ".." in parts:
        raise InputError(
            f"{archive}: entries must have relative paths without '..', got {name!r}: "
            "do not trust this archive"
        )
    if not plain:
        raise InputError(
            f"{archive}: entries must be plain files, but {name!r} is a link or device: "
            "pack the files themselves"
        )


def check_unique(paths: Iterable[str], archive: str) -> None:
    """Check that no path occurs twice in an archive.

    Raises:
        InputError: naming the first path that occurs twice.
    """
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise InputError(f"{archive}: no two entries may have the same path, but {path!r} occurs twice")
        seen.add(path)


def empty_folders(names: Sequence[str]) -> set[str]:
    """The folders of an archive (names that end with a slash) in which no other entry lies."""
    above = {name[: place + 1] for name in names for place, each in enumerate(name[:-1]) if each == "/"}
    return {name for name in names if name.endswith("/")} - above
