"""Files that hold many images each, Parquet or tar, at a location."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.settings import DataSettings
from understudy.data.sources.archives import is_archive
from understudy.data.sources.split_names import (
    RealSplit,
    both_readings,
    names_say_none,
    only_one,
    public_as_val,
    splits_by_name,
    taken_as,
    written_together,
)

IMAGE_SUFFIXES = frozenset(
    f".{name}" for name in ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "avif")
)
_DEPTH = 3  # shards lie in the folder or up to three folders below, such as default/train/
_UNFINISHED = {".part", ".partial", ".crdownload", ".download", ".incomplete"}


@final
@dataclass(frozen=True)
class Shards:
    """The shards of a data set with their splits.

    Attributes:
        files: paths of the files, sorted.
        names: unique name of each file, for the paths of its images: relative to the folder all share.
        splits: split of each file; None if the names say nothing, or are not read.
        notes: what was taken for what, in sentences.
        left_out: (path, reason) of files beside them that may hold images too.
        unread: names of files that may say splits in words that are not read; all or none.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    splits: tuple[RealSplit | None, ...]
    notes: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    unread: tuple[str, ...] = ()

    def notes_with(self, inside: Sequence[str], *, are_divided: bool) -> tuple[str, ...]:
        """All notes about splits.

        Args:
            inside: notes about what the files hold.
            are_divided: whether the files hold nothing that says splits.
        """
        if len(self.unread) == 1:
            own = only_one(self.unread[0], "file", are_divided=are_divided)
        else:
            own = names_say_none(self.unread, "files") if are_divided else ()
        return (*self.notes, *own, *inside)


def shards(location: str, suffix: str) -> list[Path]:
    """The files with this suffix at a location.

    A file stands for itself. A folder may hold shards itself or in its subfolders; hidden ones and folders of
    images are left out.
    """
    path = Path(location)
    if path.is_file():
        return [path] if path.suffix.lower() == suffix else []
    return sorted(_below(path, suffix, depth=0, seen=set())) if path.is_dir() else []


def find_shards(location: str, suffix: str, settings: DataSettings) -> Shards:
    """Find the shards at a location and read their splits from their names.

    Raises:
        InputError: if only some names say a split, or a name can be read in two ways.
    """
    files = shards(location, suffix)
    folder = os.path.commonpath([file.parent for file in files])
    names = [file.relative_to(folder).as_posix() for file in files]
    splits = dict.fromkeys(names) if settings.split_names == "ignore" else splits_of_parts(names, location)
    is_file = Path(location).is_file()
    notes: tuple[str, ...] = ()
    if is_file:
        splits = dict.fromkeys(names)
    elif any(splits.values()) and len(files) > 1:
        notes += (f"splits: {taken_as(splits, source='the file names')}",)
    are_read = any(splits.values()) or settings.split_names == "ignore"
    return Shards(
        tuple(files),
        tuple(names),
        tuple(splits[name] for name in names),
        notes,
        left_out=() if is_file else _archives_beside(files, Path(folder)),
        unread=() if are_read else tuple(names),
    )


def _archives_beside(files: Sequence[Path], folder: Path) -> tuple[tuple[str, str], ...]:
    """(path, reason) of archives and unfinished downloads in the folders of shards."""
    found = [path for each in sorted({file.parent for file in files}) for path in sorted(each.iterdir())]
    reason = "archives and unfinished downloads beside the files that are read"
    return tuple(
        (path.relative_to(folder).as_posix(), reason)
        for path in found
        if path not in files and (is_archive(path.name) or path.suffix.lower() in _UNFINISHED)
    )


def is_image(name: str) -> bool:
    """Whether a file has the name of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def check_one_kind(location: str) -> None:
    """Check that a folder does not hold two data sets: Parquet and tar files, or one of them beside images.

    Raises:
        InputError: naming both, and how to choose one.
    """
    if not Path(location).is_dir():
        return
    files = {suffix: shards(location, suffix) for suffix in (".parquet", ".tar")}
    found = [f"{len(each):,} {suffix} files ({each[0]})" for suffix, each in files.items() if each]
    if found:
        folders = _image_folders(Path(location))
        if len(folders) > 1:
            found.append(f"folders of images ({listed(folders, most=3)})")
    if len(found) > 1:
        raise InputError(
            f"{location} must hold one data set, got {' and '.join(found)}: give the path of one of them, or "
            "move the others elsewhere"
        )


def _image_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder that hold images themselves."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    found = []
    for name in names:
        with os.scandir(folder / name) as inside:
            if any(is_image(each.name) for each in inside):
                found.append(name)
    return found


def splits_of_parts(
    names: Sequence[str], location: str, *, what: str = "file names"
) -> dict[str, RealSplit | None]:
    """The split of each file of a data set, or of each folder in an archive; all None if no name says one.

    Raises:
        InputError: if only some names say a split, or a name can be read in two ways.
    """
    marked = splits_by_name(names)
    several = [name for name, each in marked.items() if len(each.splits) > 1]
    alike = written_together(names)
    if several or (alike and not all(marked[name].split for name in alike)):
        raise both_readings(
            location,
            several or alike,
            what=what,
            otherwise="parts of one set that is divided anew",
            splits="write one such word into each name, as in train-000",
        )
    without = sorted(name for name, each in marked.items() if not each.splits)
    if without and len(without) < len(names):
        raise InputError(
            f"{location}: if some {what} say train, val or test, all must, but these do not: "
            f"{listed(without)}: ",
            "rename or move them, or divide all images anew with --set data.split_names=ignore",
        )
    return public_as_val({name: each.split for name, each in marked.items()})


def holds_runs(folder: Path) -> bool:
    """Whether a folder is a run or a study, whose files belong to no data set."""
    is_run = (folder / "settings.yaml").is_file() and (folder / "stages").is_dir()
    return is_run or (folder / "study.yaml").is_file()


def _below(folder: Path, suffix: str, *, depth: int, seen: set[str]) -> list[Path]:
    """Shards in a folder and below; a subfolder that begins with images is not searched."""
    found, subfolders = [], []
    real = os.path.realpath(folder)
    if real in seen or (depth and holds_runs(folder)):
        return []
    seen.add(real)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                ending = os.path.splitext(entry.name)[1].lower()
                if entry.name.startswith("."):
                    continue
                if ending == suffix and entry.is_file():
                    found.append(folder / entry.name)
                elif depth and not found and ending in IMAGE_SUFFIXES:
                    return []
                elif depth < _DEPTH and entry.is_dir():
                    subfolders.append(folder / entry.name)
    except OSError:
        return []  # the source that lists the folder says why it cannot be read
    return found + [file for each in subfolders for file in _below(each, suffix, depth=depth + 1, seen=seen)]
