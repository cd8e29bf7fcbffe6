"""WebDataset tars: ``key.png`` with a label in ``key.cls`` or ``key.json``; and tars of class folders.

``key.cls`` holds a number or a name; ``key.json`` has ``class_name``, ``label`` or ``class``, or is
the label. Numeric labels
get their names from ``class_name`` in the JSON, or from ``classes.txt`` (one name per line) or
``dataset_info.json``, in a tar or beside it.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, cast, final

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.settings import DataSettings
from understudy.data.sources.archives import why_unreadable
from understudy.data.sources.shards import IMAGE_SUFFIXES, Shards, find_shards, shards, splits_of_parts
from understudy.data.sources.source import (
    MAX_FILE_BYTES,
    SOURCES,
    AbstractSource,
    Contents,
    Item,
    check_entry,
    check_unique,
    filled,
    too_large,
    with_problem,
)
from understudy.data.sources.split_names import RealSplit, taken_as
from understudy.data.sources.tree import Tree, read_tree

_IMAGES = frozenset(suffix[1:] for suffix in IMAGE_SUFFIXES)
_NAME_FILES = ("classes.txt", "dataset_info.json")
_ABOUT = re.compile(r"(readme|licen[cs]e)(\..*)?", re.IGNORECASE)
_SECOND = " (again)"


@final
class WebDatasetSource(AbstractSource):
    """One tar, or a folder of tars whose names may say train, val or test.

    Nothing is unpacked to disk.
    """

    def accepts(self, location: str) -> bool:
        """A ``.tar`` file, or a folder with such files and no Parquet files."""
        return bool(shards(location, ".tar")) and not shards(location, ".parquet")

    def open(self, location: str, settings: DataSettings) -> Contents:
        """Check all entries and find the class names, then read samples one at a time."""
        tars = find_shards(location, ".tar", settings)
        folders = sorted({file.parent for file in tars.files} | {Path(location)})
        beside = [folder / name for folder in folders for name in _NAME_FILES]
        found = [_parse_names(path.name, path.read_bytes()) for path in beside if path.is_file()]
        found += [names for file in tars.files for names in _check(file)]
        if len(set(found)) > 1:
            raise InputError(
                f"{location} must have one list of class names, got {len(set(found))} different ones in "
                f"{' and '.join(_NAME_FILES)} files"
            )
        if _are_class_folders(tars):
            return _class_folders(tars, location, settings)
        names = found[0] if found else None
        inside, notes = _splits_inside(tars, location, settings)
        return Contents(_read(tars, inside), names, tars.notes + notes, tars.left_out)


SOURCES.register(
    "webdataset", summary="WebDataset tars, key.png with key.cls or key.json, and tars of class folders"
)(WebDatasetSource())


def _check(file: Path) -> list[tuple[str, ...]]:
    """Check that all entries are safe, and return the lists of class names in the tar."""
    try:
        with tarfile.open(file, "r:") as tar:
            entries = tar.getmembers()
            _check_end(file, tar)
            for entry in entries:
                check_entry(str(file), entry.name, plain=entry.isfile() or entry.isdir())
            check_unique([entry.name for entry in entries if entry.isfile()], str(file))
            return [
                _parse_names(_base(entry), _bytes(tar, entry))
                for entry in entries
                if _base(entry) in _NAME_FILES
            ]
    except (tarfile.TarError, OSError) as error:
        reason = why_unreadable(file, error)
        raise InputError(f"{file} must be an uncompressed tar file, but {reason}") from None


def _check_end(file: Path, tar: tarfile.TarFile) -> None:
    """Check that a tar ends behind its last entry with a block of zeros.

    ``tarfile`` takes a damaged or missing head of an entry for the end, and then the rest would be missing
    without a word.
    """
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise InputError(
            f"{file} must end with the mark that every tar file has, but ends or is damaged behind "
            f"{tar.getmembers()[-1].name!r}: copy or pack it again"
        )


def _parse_names(name: str, data: bytes) -> tuple[str, ...]:
    try:
        text = data.decode("utf-8-sig")
        if name == "classes.txt":
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        features = json.loads(text)["features"]
        return tuple(str(each) for each in (features.get("label") or features["cls"])["names"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f"{name} must list the class names, one per line or as features.label.names in JSON, "
            "but cannot be read"
        ) from None


def _splits_inside(
    tars: Shards, location: str, settings: DataSettings
) -> tuple[dict[str, RealSplit | None], tuple[str, ...]]:
    """The split of each folder in the tars, if the tars' names say none; and what was taken for what."""
    if settings.split_names == "ignore" or any(tars.splits):
        return {}, ()
    folders: set[str] = set()
    for file in tars.files:
        with tarfile.open(file, "r:") as tar:
            folders |= {key.rpartition("/")[0] for key in _samples(tar)}
    splits = splits_of_parts(sorted(folders), location, what="folder names in the tar")
    if not any(splits.values()):
        return {}, ()
    shown = {f"{folder}/": split for folder, split in splits.items()}
    return splits, (f"splits: {taken_as(shown, source='the folders in the tar')}",)


def _are_class_folders(tars: Shards) -> bool:
    """Whether the tars hold no samples, but images in at least two folders, and no labels beside them."""
    folders: set[str] = set()
    for file in tars.files:
        with tarfile.open(file, "r:") as tar:
            for key, parts in _samples(tar).items():
                if not {"cls", "json"}.isdisjoint(parts):
                    return False
                if not _IMAGES.isdisjoint(parts):
                    folders.add(key.rpartition("/")[0].removeprefix("."))
    return len(folders - {""}) >= 2


def _class_folders(tars: Shards, location: str, settings: DataSettings) -> Contents:
    """Read tars like an image folder; a split in the name of a tar becomes a folder above its entries."""
    places: dict[str, tuple[Path, str]] = {}
    for file, split in zip(tars.files, tars.splits, strict=True):
        with tarfile.open(file, "r:") as tar:
            entries = [entry.name for entry in tar.getmembers() if entry.isfile()]
        names = [f"{split}/" * (split is not None) + entry.removeprefix("./") for entry in entries]
        check_unique([*places, *names], location)
        places |= {name: (file, entry) for name, entry in zip(names, entries, strict=True)}
    tree = read_tree(list(places), location, settings)
    return Contents(_read_tree(tree, places), None, tars.notes + tree.notes, tars.left_out + tree.left_out)


def _read_tree(tree: Tree, places: Mapping[str, tuple[Path, str]]) -> Iterator[Item]:
    with ExitStack() as stack:
        tars: dict[Path, tarfile.TarFile] = {}
        for name, item in zip(tree.names, tree.items, strict=True):
            file, path = places[name]
            if file not in tars:
                tars[file] = stack.enter_context(tarfile.open(file, "r:"))
            entry = tars[file].getmember(path)
            if item.problem or entry.size > MAX_FILE_BYTES:
                yield with_problem(item, item.problem or too_large(entry.size))
            else:
                yield filled(item, _bytes(tars[file], entry))


def _read(tars: Shards, inside: Mapping[str, RealSplit | None]) -> Iterator[Item]:
    for file, name, split in zip(tars.files, tars.names, tars.splits, strict=True):
        with tarfile.open(file, "r:") as tar:
            for key, parts in _samples(tar).items():
                of_sample = inside.get(key.rpartition("/")[0], split)
                yield _item(tar, f"{name}/{key}", parts, of_sample)


def _samples(tar: tarfile.TarFile) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Entries by key and extension; the key ends at the first dot of the file name.

    If no sample then has an image, names such as ``1.input.png`` with ``1.output.cls`` are read by their last
    extension, and names with dots in the key, such as ``v1.0.1.png``, up to their last dot.
    """
    entries = [entry for entry in tar.getmembers() if entry.isfile() and _is_part(_base(entry))]
    samples = _grouped(entries, lambda base: base.partition("."))
    if any(not _IMAGES.isdisjoint(parts) for parts in samples.values()):
        return samples
    shorter: dict[str, dict[str, tarfile.TarInfo]] = {}
    for key, parts in samples.items():
        shorter[key] = {extension.rpartition(".")[2]: entry for extension, entry in parts.items()}
        if len(shorter[key]) < len(parts):
            return _grouped(entries, lambda base: base.rpartition("."))
    return shorter


def _grouped(
    entries: Sequence[tarfile.TarInfo], divide: Callable[[str], tuple[str, str, str]]
) -> dict[str, dict[str, tarfile.TarInfo]]:
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    for entry in entries:
        folder, slash, base = entry.name.rpartition("/")
        stem, _, extension = divide(base)
        parts = samples.setdefault(folder + slash + stem, {})
        extension = extension.lower()
        parts[extension + _SECOND if extension in parts else extension] = entry
    return samples


def _is_part(base: str) -> bool:
    return not base.startswith(".") and base not in _NAME_FILES and not _ABOUT.fullmatch(base)


def _base(entry: tarfile.TarInfo) -> str:
    return entry.name.rpartition("/")[2]


def _item(
    tar: tarfile.TarFile, path: str, parts: dict[str, tarfile.TarInfo], split: RealSplit | None
) -> Item:
    images = [extension for extension in parts if extension.removesuffix(_SECOND) in _IMAGES]
    if len(images) != 1:
        found = listed([f".{extension}" for extension in parts])
        problem = f"several images of one key: {found}" if images else f"no image among {found}"
        return Item(path=path, problem=problem)
    entry, path = parts[images[0]], f"{path}.{images[0]}"
    if any(parts[each].size > MAX_FILE_BYTES for each in (images[0], "cls", "json") if each in parts):
        return Item(path=path, problem=f"more than {MAX_FILE_BYTES:,} bytes")
    try:
        label = _label(tar, parts)
    except (ValueError, LookupError, RecursionError):
        return Item(path=path, problem="no class in .cls, nor as class_name, label or class in .json")
    return Item(path=path, label=label, split=split, data=_bytes(tar, entry))


def _label(tar: tarfile.TarFile, parts: dict[str, tarfile.TarInfo]) -> str | int | None:
    content: Any = json.loads(_bytes(tar, parts["json"])) if "json" in parts else {}
    fields = content if isinstance(content, dict) else {}
    if fields.get("class_name") is not None:
        return str(fields["class_name"])
    if "cls" in parts:
        value: Any = _bytes(tar, parts["cls"]).decode("utf-8-sig").strip()
        if value == "":
            raise ValueError(value)
    elif fields:
        value = fields["label" if "label" in fields else "class"]
    else:
        value = content
    if value is not None and not isinstance(value, (str, int, float)):
        raise ValueError(value)
    return _number(value)


def _number(value: str | float | None) -> str | int | None:
    """Whole numbers as integers; text with leading zeros stays, because 01 and 1 may be two classes."""
    if value is None or isinstance(value, int):
        return None if value is None else int(value)
    if re.fullmatch(r"-?(0|[1-9][0-9]*)(\.0+)?", str(value)):
        return int(str(value).partition(".")[0])
    return str(value)


def _bytes(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    # extractfile returns None only for links and devices, which check_entry rejects.
    return cast("IO[bytes]", tar.extractfile(entry)).read()
