"""From the paths of an image folder to its items: which are images, of which class and split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from understudy.core.errors import InputError
from understudy.data.settings import DataSettings
from understudy.data.sources import leftovers
from understudy.data.sources.archives import archives_or_folders, is_archive, why_not_unpacked
from understudy.data.sources.entries import Entry, check_encoding, check_readable, printable
from understudy.data.sources.layout import Path, Places, find_places
from understudy.data.sources.source import Item, check_unique

_EMPTY = "no image in this folder"
_DESCRIPTION = "descriptions above the classes, which are not read (such as metadata.csv or data.yaml)"


@final
@dataclass(frozen=True)
class Tree:
    """The files of an image folder.

    Attributes:
        names: path of each file as it is stored, to open it.
        items: the same files as items without data.
        notes: what was taken for what, in sentences.
        left_out: (path, reason) of files that are no images of the set.
    """

    names: tuple[str, ...]
    items: tuple[Item, ...]
    notes: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def read_tree(names: Sequence[str], location: str, settings: DataSettings) -> Tree:
    """Read the class and split of each file from its path.

    Args:
        names: paths below the location, with forward slashes; empty folders end with a slash.
        location: of the folder, for messages.
        settings: whether names say splits, and the encoding of names that are not UTF-8.

    Raises:
        InputError: if there is no class folder with a file, or names can be read in two ways.
    """
    check_encoding(settings.name_encoding)
    entries = [Entry(name, settings.name_encoding) for name in sorted(names)]
    check_unique([entry.shown for entry in entries], location)
    masks = leftovers.mask_trees([entry.parts for entry in entries])
    left = [leftovers.why_left_out(entry.parts) for entry in entries]
    reasons = [why or masks.get(index) for index, why in enumerate(left)]
    left_out = [(entry.shown, why) for entry, why in zip(entries, reasons, strict=True) if why]
    hidden = [entry for entry, why in zip(entries, left, strict=True) if why]
    entries = [entry for entry, why in zip(entries, reasons, strict=True) if not why]
    places = find_places([entry.parts for entry in entries], location, settings)
    inner = [
        entry.parts[len(entry.parts) - below :] for entry, below in zip(entries, places.below, strict=True)
    ]
    beside = leftovers.beside_images([entry.parts for entry in entries], inner)
    kept = []
    for index, (entry, below) in enumerate(zip(entries, inner, strict=True)):
        why = beside.get(index) or _why_not(entry, below)
        if why:
            left_out.append((entry.shown, why))
        else:
            kept.append(index)
    descriptions = [path for path, why in left_out if why == _DESCRIPTION]
    items = [_item(entries[index], places, index, location) for index in kept]
    emptied = _emptied(entries, inner, kept, hidden)
    if all(item.problem or is_archive(item.path) for item in items):
        raise InputError(
            f"{location} must hold class folders with images (class/img.png), but none was found: "
            + archives_or_folders([item.path for item in items])
        )
    labels = {item.label for item in items}
    if masks and all(isinstance(label, str) and leftovers.is_image_folder(label) for label in labels):
        raise InputError(
            f"{location} holds images and their masks, as data sets for segmentation do, but no classes: put "
            "the images of each class into a folder of their own, as in CLASS/1.png"
        )
    notes = (
        *places.notes,
        *(
            ()
            if any(places.splits) or settings.split_names == "ignore"
            else leftovers.lists_of_splits(descriptions)
        ),
        *leftovers.joined_folders(_stored_names(entries, places)),
        *leftovers.below_classes(
            [inner[index] for index in kept], {places.labels[index] or "" for index in kept if inner[index]}
        ),
    )
    items += [Item(path=printable(f"{name}/"), problem=_EMPTY) for name in emptied]
    return Tree((*(entries[index].name for index in kept), *emptied), tuple(items), notes, tuple(left_out))


def _emptied(
    entries: Sequence[Entry], inner: Sequence[Path], kept: Sequence[int], hidden: Sequence[Entry]
) -> list[str]:
    """Class folders of which no file is used, so that their class would be missing without a word.

    Args:
        entries: files that no program left.
        inner: the part of each path below its class; empty if it has none.
        kept: positions of those that are used.
        hidden: files that programs left or that are hidden.
    """

    def folder(index: int) -> str:
        return "/".join(entries[index].name.split("/")[: -len(inner[index])])

    folders = {folder(index) for index, below in enumerate(inner) if below}
    above = {name.rpartition("/")[0] for name in folders}
    holding = {parent for entry in entries for parent in _parents(entry.name)}
    for entry in hidden:
        outer = next((parent for parent in _parents(entry.name) if parent not in holding), None)
        if (
            outer
            and outer.rpartition("/")[0] in above
            and not leftovers.why_left_out((*outer.split("/"), "1.png"))
        ):
            folders.add(outer)
    return sorted(folders - {folder(index) for index in kept if inner[index]})


def _parents(name: str) -> list[str]:
    """The folders above a file, the outermost first."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[: place + 1]) for place in range(len(parts))]


def _stored_names(entries: Sequence[Entry], places: Places) -> dict[str, set[str]]:
    """The names of the folders of each class, as they are stored."""
    found: dict[str, set[str]] = {}
    for entry, label in zip(entries, places.labels, strict=True):
        if label is not None:
            found.setdefault(label, set()).add(entry.name.split("/")[entry.parts.index(label)])
    return found


def _why_not(entry: Entry, below: Path) -> str | None:
    if below:
        return leftovers.why_below_class(below)
    if leftovers.is_description(entry.parts):
        return _DESCRIPTION
    return None


def _item(entry: Entry, places: Places, index: int, location: str) -> Item:
    label, split, problem = places.labels[index], places.splits[index], ""
    if label is None:
        is_packed = is_archive(entry.shown)
        problem = why_not_unpacked(entry.shown) if is_packed else "not in a class folder"
    elif entry.name.endswith("/"):
        problem = _EMPTY
    elif leftovers.is_placeholder(entry.parts):
        problem = leftovers.ONLY_IN_CLOUD
    check_readable(label or "", location)
    return Item(path=entry.shown, label=label or "", split=split, problem=problem)
