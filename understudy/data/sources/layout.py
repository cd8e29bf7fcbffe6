"""Read class and split of each image from its path: ``class/img.png``, ``train/class/img.png`` and so on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.settings import DataSettings
from understudy.data.sources.leftovers import is_part_of_class
from understudy.data.sources.shards import is_image
from understudy.data.sources.split_names import (
    RealSplit,
    SplitName,
    both_readings,
    only_one,
    public_as_val,
    splits_by_name,
    taken_as,
    written_together,
)

Path = tuple[str, ...]
"""Folders and file name of an image, below the location; an empty folder ends with an empty file name."""

_NO_CLASS = {"test", "testing", "eval", "evaluation", "val", "validation", "dev"}
"""Folder names that are no class, even beside folders that are."""
_STRAY = 0.2  # share of images that may lie beside the classes of a split by mistake
_AS_TREE = "put each class below its split, as in train/CLASS/1.png and test/CLASS/1.png"


@final
@dataclass(frozen=True)
class Places:
    """Class and split of each path of a source.

    Attributes:
        labels: class of each path; None for a file that lies in no class folder.
        splits: split of each path; None if the names say nothing.
        below: for each path, how many parts of it lie below its class; 0 without a class.
        notes: what was taken for what, in sentences.
    """

    labels: tuple[str | None, ...]
    splits: tuple[RealSplit | None, ...]
    below: tuple[int, ...]
    notes: tuple[str, ...] = ()


def find_places(paths: Sequence[Path], location: str, settings: DataSettings) -> Places:
    """Find class and split of each path.

    Splits may stand above the classes, below them, or in the names of all files. Folders that hold nothing
    but one other folder are passed over.

    Args:
        paths: of N files.
        location: of the data, for messages.
        settings: ``split_names`` says whether names are read as splits.

    Raises:
        InputError: if names can be read in two ways; the message gives both.
    """
    if settings.split_names == "ignore":
        paths, _ = _without_wrappers(paths, keep_splits=False)
        return _without_splits(paths)
    paths, passed_over = _without_wrappers(paths)
    tops = _splits_above(paths, location)
    if tops:
        return _places_below(paths, tops, location)
    places = _splits_below(paths, location) or _splits_in_files(paths, location)
    notes = tuple(note for name in passed_over for note in only_one(name, "folder", are_divided=True))
    if places is None:
        _check_no_shared_folders(paths, location)
    return places or _without_splits(paths, notes)


def _check_no_shared_folders(paths: Sequence[Path], location: str) -> None:
    """Check that most top folders do not hold the same folders, as splits in other languages do.

    Raises:
        InputError: with all readings, and what to do for each.
    """
    outer, inner = _shared_folders(paths)
    if not inner:
        return
    splits = "to train, val or test"
    raise InputError(
        f"{location} can be read in several ways, because its folders {outer} hold folders of the same "
        f"names, {inner}. ",
        "Do what fits:\n"
        f"  {outer} are splits of one data set: rename them {splits}\n"
        f"  {outer} are versions of one data set, such as folds or sizes: give one of them as DATA\n"
        f"  {inner} are splits of each class: rename them {splits}\n"
        f"  {outer} are the classes of all images in them: use --set data.split_names=ignore",
    )


def _check_no_versions(paths: Sequence[Path], location: str, split: str) -> None:
    """Check that most folders in splits do not hold the same folders, as ``train/orig`` and ``train/aug`` do.

    Args:
        paths: without the folder of the split.
        location: of the data, for messages.
        split: name of such a folder, for the message.

    Raises:
        InputError: with both readings, and what to do for each.
    """
    outer, inner = _shared_folders(paths)
    if inner:
        one, other = outer.split(", ")[0], inner.split(", ")[0]
        raise InputError(
            f"{location} can be read in two ways, because the folders {outer} in its splits hold folders of "
            f"the same names, {inner}. ",
            "Do what fits:\n"
            f"  {outer} are versions of one data set, such as augmented images: keep one of them in each "
            f"split, and move its folders up, as in {split}/{other}/1.png\n"
            f"  {outer} are the classes of all images in them: move the images up, as in {split}/{one}/1.png",
        )


def _shared_folders(paths: Sequence[Path]) -> tuple[str, str]:
    """Top folders of which most hold the same folders, and these; empty if there are none."""
    tops: dict[str, list[Path]] = {}
    for path in paths:
        if len(path) > 1:
            tops.setdefault(path[0], []).append(path[1:])
    images = [len(path) for each in tops.values() for path in each if is_image(path[-1])]
    if len(tops) < 2 or images.count(1) > _STRAY * len(images):
        return "", ""  # they are classes, and images of a kind may lie in folders below
    inside: dict[str, list[str]] = {}
    for top, below in tops.items():
        for name in {each.casefold() for each in _children(_without_wrappers(below, keep_splits=False)[0])}:
            inside.setdefault(name, []).append(top)
    shared = [
        name for name in sorted(inside) if 2 * len(inside[name]) > len(tops) and not is_part_of_class(name)
    ]
    if len(shared) < 2:
        return "", ""
    return listed(sorted({top for name in shared for top in inside[name]})), listed(shared)


def _without_splits(paths: Sequence[Path], notes: tuple[str, ...] = ()) -> Places:
    return Places(_labels(paths), (None,) * len(paths), _lengths(paths), notes)


def _lengths(paths: Sequence[Path]) -> tuple[int, ...]:
    return tuple(len(path) - 1 for path in paths)


def _labels(paths: Sequence[Path]) -> tuple[str | None, ...]:
    return tuple(path[0] if len(path) > 1 else None for path in paths)


def _without_wrappers(
    paths: Sequence[Path], *, keep_splits: bool = True
) -> tuple[Sequence[Path], tuple[str, ...]]:
    """Drop outer folders that all images share, unless such a folder is a split; and the dropped names."""
    tops = {path[0] for path in paths if len(path) > 1}
    if len(tops) != 1 or not any(len(path) > 2 for path in paths):
        return paths, ()
    (top,) = tops
    if keep_splits and SplitName(top).is_plain:
        return paths, ()
    inner, dropped = _without_wrappers(
        [path[1:] if len(path) > 1 else path for path in paths], keep_splits=keep_splits
    )
    return inner, (top, *dropped)


def _children(paths: Sequence[Path]) -> dict[str, set[str]]:
    """The folders in each top folder."""
    found: dict[str, set[str]] = {}
    for path in paths:
        if len(path) > 1:
            found.setdefault(path[0], set()).update(path[1:2] if len(path) > 2 else ())
    return found


def _splits_above(paths: Sequence[Path], location: str) -> dict[str, RealSplit]:
    """The split of each top folder; empty if the top folders are classes."""
    children = _children(paths)
    marked = splits_by_name(children)
    found = {split for each in marked.values() for split in each.splits}
    if len(found) < 2 and not _says_split(marked, children):
        together = written_together(list(children))
        if together:
            raise both_readings(location, together, what="folder names", otherwise="classes", splits=_AS_TREE)
        return {}
    unmarked = sorted(name for name, each in marked.items() if not each.splits)
    if unmarked:
        others = listed(unmarked)
        raise InputError(
            f"{location} must hold either splits or classes, got "
            f"{listed(sorted(set(marked) - set(unmarked)))} next to {others}: ",
            f"if the folders are splits, move {others} elsewhere and {_AS_TREE}; if all are classes, use "
            "--set data.split_names=ignore",
        )
    if not _are_alike(marked, children):
        raise both_readings(
            location, sorted(marked), what="folder names", otherwise="classes", splits=_AS_TREE
        )
    splits = public_as_val({name: each.split for name, each in marked.items()})
    return {name: split for name, split in splits.items() if split}


def _says_split(marked: Mapping[str, SplitName], children: Mapping[str, set[str]]) -> bool:
    """Whether top folders that say one split only, such as ``train``, are a split and no class.

    A class may be called ``train`` or ``valid``; then it holds images and no folders.
    """
    enough = 1 if len(marked) == 1 else 2
    return any(
        each.is_plain and (len(children[name]) >= enough or not _NO_CLASS.isdisjoint(each.words))
        for name, each in marked.items()
    )


def _are_alike(marked: Mapping[str, SplitName], children: Mapping[str, set[str]]) -> bool:
    """Whether names that say splits are the splits of one data set.

    Either the rest of the names is the same, or the same class folders stand below all.
    """
    if any(len(each.splits) > 1 for each in marked.values()):
        return False
    shared = set.intersection(*children.values())
    return len({each.rest for each in marked.values() if not each.is_plain}) < 2 or len(shared) > 1


def _places_below(paths: Sequence[Path], tops: Mapping[str, RealSplit], location: str) -> Places:
    """Class and split of each path if the top folders are splits."""
    children = _children(paths)
    # As in seg_train/seg_train/CLASS, which is how some archives unpack.
    repeated = {
        top for top, split in tops.items() if [SplitName(name).split for name in children[top]] == [split]
    }
    below = [path[2 if path[0] in repeated and len(path) > 3 else 1 :] or path for path in paths]
    below = [path[-1:] if len(path) == 1 else path for path in below]
    inner, _ = _without_wrappers(below)
    splits = tuple(tops[path[0]] if len(path) > 1 else None for path in paths)
    _check_no_second_split(inner, splits, location)
    _check_no_versions(inner, location, next(iter(tops)))
    note = taken_as({f"{name}/": split for name, split in tops.items()}, source="the folder names")
    return Places(_labels(inner), splits, _lengths(inner), (f"splits: {note}",))


def _check_no_second_split(paths: Sequence[Path], splits: Sequence[RealSplit | None], location: str) -> None:
    """Check that no folder in a split stands for another split; a class may be called ``train``."""
    classes: dict[RealSplit | None, set[str]] = {}
    for path, split in zip(paths, splits, strict=True):
        classes.setdefault(split, set()).update(path[:1] if len(path) > 1 else ())
    say_splits = {split for split, names in classes.items() if all(SplitName(n).is_plain for n in names)}
    for path, split in zip(paths, splits, strict=True):
        for name in path[0 if split in say_splits else 1 : -1]:
            inner = SplitName(name)
            if split and inner.is_plain and inner.split != split:
                raise both_readings(
                    location,
                    ["/".join(path[:-1])],
                    what=f"folder in the {split} split",
                    otherwise="classes",
                    splits=_AS_TREE,
                )


def _splits_below(paths: Sequence[Path], location: str) -> Places | None:
    """Class and split of each path if splits stand below the classes: ``bolt/train/1.png``."""
    at = [_split_folder(path) for path in paths]
    found = {path[place] for path, place in zip(paths, at, strict=True) if place}
    if not found:
        return None
    if not all(place for path, place in zip(paths, at, strict=True) if len(path) > 1):
        # A kind of a class may be called train or valid; a folder of test images must not be trained on.
        if any(not _NO_CLASS.isdisjoint(SplitName(name).words) for name in found):
            raise both_readings(
                location,
                sorted(found),
                what="folders below the classes",
                otherwise="parts of their class",
                splits=f"move all images of a class into such folders, or {_AS_TREE}",
            )
        return None
    deeper = {
        path[place + 1] for path, place in zip(paths, at, strict=True) if place and len(path) > place + 2
    }
    if len(deeper) > 1:
        classes = sorted({path[0] for path in paths if len(path) > 1})
        raise InputError(
            f"{location} can be read in two ways: the classes stand above the folders "
            f"{listed(sorted(found))} ({listed(classes)}), or below them ({listed(sorted(deeper))}): "
            f"{_AS_TREE}"
        )
    splits = tuple(
        SplitName(path[place]).split if place else None for path, place in zip(paths, at, strict=True)
    )
    note = taken_as(
        {f"CLASS/{name}/": SplitName(name).split for name in found}, source="the folders below the classes"
    )
    below = tuple(len(path) - place - 1 for path, place in zip(paths, at, strict=True))
    return Places(_labels(paths), splits, below, (f"splits: {note}",))


def _split_folder(path: Path) -> int:
    """Position of the first folder below the class that stands for a split; 0 if there is none."""
    for place in range(1, len(path) - 1):
        name = SplitName(path[place])
        if name.split and set(name.rest) <= set(SplitName(path[0]).words):
            return place
    return 0


def _splits_in_files(paths: Sequence[Path], location: str) -> Places | None:
    """Class and split of each path if the file names of all images say a split: ``bolt/train_1.png``."""
    names = [path[-1] for path in paths if len(path) > 1 and path[-1]]
    said = public_as_val({name: SplitName(name.rpartition(".")[0]).split for name in sorted(set(names))})
    kinds = {split for split in said.values() if split}
    without = sum(said[name] is None for name in names)
    if len(kinds) < 2 or without > len(names) / 2:
        return None
    if without:
        raise both_readings(
            location,
            sorted(name for name in said if said[name]),
            what="file names",
            otherwise="names without a meaning",
            splits=_AS_TREE,
        )
    splits = tuple(said[path[-1]] if len(path) > 1 and path[-1] else None for path in paths)
    note = taken_as(said, source="the file names")
    return Places(_labels(paths), splits, _lengths(paths), (f"splits: {note}",))
