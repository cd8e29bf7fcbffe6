"""Samples of a WebDataset tar: the entries of one key, such as ``1.png`` with ``1.cls`` or ``1.json``."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, cast

from understudy.core.listing import listed
from understudy.data.sources.shards import IMAGE_SUFFIXES
from understudy.data.sources.source import MAX_FILE_BYTES, Item, filled

IMAGES = frozenset(suffix[1:] for suffix in IMAGE_SUFFIXES)
"""Extensions of images, without the dot."""
NAME_FILES = ("classes.txt", "dataset_info.json")
"""Files with the names of the classes, which belong to no sample."""
LABEL_FIELDS = ("class_name", "label", "class")
"""Fields of a JSON file that hold the class."""
_ABOUT = re.compile(r"(readme|licen[cs]e)(\..*)?", re.IGNORECASE)
_SECOND = " (again)"

Parts = Mapping[str, tarfile.TarInfo]
"""The entries of a sample by extension."""


def samples_of(tar: tarfile.TarFile) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Entries by key and extension; the key ends at the first dot of the file name.

    If no sample then has an image, names such as ``1.input.png`` with ``1.output.cls`` are read by their last
    extension, and names with dots in the key, such as ``v1.0.1.png``, up to their last dot.
    """
    entries = [entry for entry in tar.getmembers() if entry.isfile() and _is_part(_base(entry))]
    samples = _grouped(entries, lambda base: base.partition("."))
    if any(not IMAGES.isdisjoint(parts) for parts in samples.values()):
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
    return not base.startswith(".") and base not in NAME_FILES and not _ABOUT.fullmatch(base)


def _base(entry: tarfile.TarInfo) -> str:
    return entry.name.rpartition("/")[2]


def name_files(tar: tarfile.TarFile) -> list[tuple[str, bytes]]:
    """Name and content of the files in a tar that name the classes."""
    return [(_base(entry), bytes_of(tar, entry)) for entry in tar.getmembers() if _base(entry) in NAME_FILES]


def item_of(tar: tarfile.TarFile, path: str, parts: Parts) -> Item:
    """The image and label of a sample; a sample without one of them has a problem.

    Args:
        tar: the open tar.
        path: of the sample, without extension.
        parts: its entries.
    """
    item = item_without_image(tar, path, parts)
    if item.problem:
        return item
    return filled(item, bytes_of(tar, parts[item.path.removeprefix(f"{path}.")]))


def item_without_image(tar: tarfile.TarFile, path: str, parts: Parts) -> Item:
    """The label of a sample, or its problem, as :func:`item_of` returns them."""
    images = [extension for extension in parts if extension.removesuffix(_SECOND) in IMAGES]
    if len(images) != 1:
        found = listed([f".{extension}" for extension in parts])
        problem = f"several images of one key: {found}" if images else f"no image among {found}"
        return Item(path=path, problem=problem)
    path = f"{path}.{images[0]}"
    if any(parts[each].size > MAX_FILE_BYTES for each in (images[0], "cls", "json") if each in parts):
        return Item(path=path, problem=f"more than {MAX_FILE_BYTES:,} bytes")
    try:
        label = _label(tar, parts)
    except (ValueError, LookupError, RecursionError):
        return Item(path=path, problem=_why_no_label(parts))
    return Item(path=path, label=label)


def _why_no_label(parts: Parts) -> str:
    """Why a sample has no class, and what to do."""
    if "cls" in parts or "json" in parts:
        return "no class in .cls, nor as class_name, label or class in .json"
    others = [f".{extension}" for extension in parts if extension.removesuffix(_SECOND) not in IMAGES]
    if not others:
        return "no class: write it into a file of the same name that ends with .cls, beside the image"
    found = listed(others, most=3)
    return f"no class in .cls or .json, only {found}: if the class is in {found}, name that file .cls"


def fields_of(tar: tarfile.TarFile, parts: Parts) -> dict[str, Any]:
    """The fields in the JSON file of a sample; none if it has no file, or one that is a text or number."""
    content = _json(tar, parts)
    return content if isinstance(content, dict) else {}


def _json(tar: tarfile.TarFile, parts: Parts) -> Any:
    return json.loads(bytes_of(tar, parts["json"])) if "json" in parts else {}


def _label(tar: tarfile.TarFile, parts: Parts) -> str | int | None:
    content = _json(tar, parts)
    fields = content if isinstance(content, dict) else {}
    if fields.get("class_name") is not None:
        return str(fields["class_name"])
    if "cls" in parts:
        value: Any = bytes_of(tar, parts["cls"]).decode("utf-8-sig").strip()
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


def bytes_of(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    """The content of an entry that is a plain file."""
    # extractfile returns None only for links and devices, which check_entry rejects.
    return cast("IO[bytes]", tar.extractfile(entry)).read()
