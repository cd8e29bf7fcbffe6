"""Tars of class folders, ``cat/1.png``, which are read like an image folder."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from understudy.data.settings import DataSettings
from understudy.data.sources.samples import IMAGES, bytes_of, samples_of
from understudy.data.sources.shards import Shards
from understudy.data.sources.source import (
    MAX_FILE_BYTES,
    Contents,
    Item,
    check_unique,
    empty_folders,
    filled,
    too_large,
    with_problem,
)
from understudy.data.sources.tree import Tree, read_tree


def are_class_folders(tars: Shards) -> bool:
    """Whether the tars hold no samples, but images in at least two folders, and no labels beside them."""
    folders: set[str] = set()
    for file in tars.files:
        with tarfile.open(file, "r:") as tar:
            for key, parts in samples_of(tar).items():
                if not {"cls", "json"}.isdisjoint(parts):
                    return False
                if not IMAGES.isdisjoint(parts):
                    folders.add(key.rpartition("/")[0].removeprefix("."))
    return len(folders - {""}) >= 2


def read_class_folders(tars: Shards, location: str, settings: DataSettings) -> Contents:
    """Read tars like an image folder; a split in the name of a tar becomes a folder above its entries."""
    places: dict[str, tuple[Path, str]] = {}
    for file, split in zip(tars.files, tars.splits, strict=True):
        with tarfile.open(file, "r:") as tar:
            members = [f"{entry.name}/" if entry.isdir() else entry.name for entry in tar.getmembers()]
        empty = empty_folders(members)
        entries = [name for name in members if not name.endswith("/") or name in empty]
        names = [f"{split}/" * (split is not None) + entry.removeprefix("./") for entry in entries]
        check_unique([*places, *names], location)
        places |= {name: (file, entry) for name, entry in zip(names, entries, strict=True)}
    tree = read_tree(list(places), location, settings)
    are_divided = not any(item.split for item in tree.items)
    notes = tars.notes_with(tree.notes, are_divided=are_divided)
    left_out = tars.left_out + tree.left_out
    return Contents(_read_tree(tree, places), None, notes, left_out, len(tree.items))


def _read_tree(tree: Tree, places: Mapping[str, tuple[Path, str]]) -> Iterator[Item]:
    with ExitStack() as stack:
        tars: dict[Path, tarfile.TarFile] = {}
        for name, item in zip(tree.names, tree.items, strict=True):
            if item.problem:
                yield item
                continue
            file, path = places[name]
            if file not in tars:
                tars[file] = stack.enter_context(tarfile.open(file, "r:"))
            entry = tars[file].getmember(path)
            if entry.size > MAX_FILE_BYTES:
                yield with_problem(item, too_large(entry.size))
            else:
                yield filled(item, bytes_of(tars[file], entry))
