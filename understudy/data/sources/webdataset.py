"""WebDataset tars: ``key.png`` with a label in ``key.cls`` or ``key.json``; and tars of class folders.

``key.cls`` holds a number or a name; ``key.json`` has ``class_name``, ``label`` or ``class``, or is
the label, and may say the split in a field. Numeric labels get their names from ``class_name`` in the
JSON, or from ``classes.txt`` (one name per line) or ``dataset_info.json``, in a tar or beside it.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from understudy.core.errors import InputError
from understudy.data.settings import DataSettings
from understudy.data.sources.archives import why_unreadable
from understudy.data.sources.said_splits import SaidSplits, said_splits
from understudy.data.sources.samples import (
    LABEL_FIELDS,
    NAME_FILES,
    fields_of,
    item_of,
    item_without_image,
    name_files,
    samples_of,
)
from understudy.data.sources.shards import Shards, find_shards, shards, splits_of_parts
from understudy.data.sources.source import (
    SOURCES,
    AbstractSource,
    Contents,
    Item,
    check_entry,
    check_unique,
)
from understudy.data.sources.split_candidates import Candidate
from understudy.data.sources.split_names import RealSplit, SplitName, both_readings, taken_as
from understudy.data.sources.tar_folders import are_class_folders, read_class_folders


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
        beside = [folder / name for folder in folders for name in NAME_FILES]
        found = [_parse_names(path.name, path.read_bytes()) for path in beside if path.is_file()]
        checked = [_check(file) for file in tars.files]
        found += [names for lists, _ in checked for names in lists]
        if len(set(found)) > 1:
            raise InputError(
                f"{location} must have one list of class names, got {len(set(found))} different ones in "
                f"{' and '.join(NAME_FILES)} files"
            )
        if are_class_folders(tars):
            return read_class_folders(tars, location, settings)
        names = found[0] if found else None
        inside, notes = _splits_inside(tars, location, settings)
        said, told = _said_by_fields(tars, inside, settings)
        notes = tars.notes_with(notes + told, are_divided=not inside and not said.names)
        total = sum(samples for _, samples in checked)
        return Contents(_read(tars, inside, said), names, notes, tars.left_out, total)


SOURCES.register(
    "webdataset", summary="WebDataset tars, key.png with key.cls or key.json, and tars of class folders"
)(WebDatasetSource())


def _check(file: Path) -> tuple[list[tuple[str, ...]], int]:
    """Check that all entries are safe, and return the lists of class names and the number of samples."""
    try:
        with tarfile.open(file, "r:") as tar:
            entries = tar.getmembers()
            _check_end(file, tar)
            for entry in entries:
                check_entry(str(file), entry.name, plain=entry.isfile() or entry.isdir())
            check_unique([entry.name for entry in entries if entry.isfile()], str(file))
            names = [_parse_names(name, data) for name, data in name_files(tar)]
            return names, len(samples_of(tar))
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
    """The split of each folder in the tars, if the tars' names say none; and what was taken for what.

    Raises:
        InputError: if a folder stands for another split than the name of its tar.
    """
    if settings.split_names == "ignore":
        return {}, ()
    folders: set[str] = set()
    for file, split in zip(tars.files, tars.splits, strict=True):
        with tarfile.open(file, "r:") as tar:
            inside = {key.rpartition("/")[0] for key in samples_of(tar)}
        odd = sorted(folder for folder in inside if split and _says_another(folder, split))
        if odd:
            raise both_readings(
                f"{file}",
                odd,
                what=f"folders in a tar of the {split} split",
                otherwise="names without a meaning",
                splits="pack each split into its own tar",
            )
        folders |= inside
    splits = (
        {} if any(tars.splits) else splits_of_parts(sorted(folders), location, what="folder names in the tar")
    )
    if not any(splits.values()):
        return {}, ()
    shown = {f"{folder}/": split for folder, split in splits.items()}
    return splits, (f"splits: {taken_as(shown, source='the folders in the tar')}",)


def _says_another(folder: str, split: RealSplit) -> bool:
    """Whether a folder in a tar stands for another split."""
    names = [SplitName(part) for part in folder.split("/")]
    return any(name.is_plain and name.split != split for name in names)


def _said_by_fields(
    tars: Shards, inside: Mapping[str, RealSplit | None], settings: DataSettings
) -> tuple[SaidSplits, tuple[str, ...]]:
    """The fields of JSON files that say splits, and what was taken for what."""
    if settings.split_names == "ignore":
        return SaidSplits("field"), ()
    candidates: dict[str, Candidate] = {}
    for _, fields in _all_fields(tars, inside):
        for name, value in fields.items():
            if name not in LABEL_FIELDS:
                candidate = candidates.setdefault(name, Candidate(name))
                if candidate.is_open:
                    candidate.add([value])
    named = any(tars.splits) or any(inside.values())
    said = said_splits(candidates.values(), settings, kind="field", named=named)
    rows = (
        (split, [fields.get(name) for name in said.names])
        for split, fields in (_all_fields(tars, inside) if said.names else ())
    )
    return said, said.counted(rows)


def _all_fields(
    tars: Shards, inside: Mapping[str, RealSplit | None]
) -> Iterator[tuple[RealSplit | None, dict[str, Any]]]:
    """The split of the tar or folder of each sample that can be used, and the fields in its JSON file."""
    for file, split in zip(tars.files, tars.splits, strict=True):
        with tarfile.open(file, "r:") as tar:
            for key, parts in samples_of(tar).items():
                if not item_without_image(tar, key, parts).problem:
                    yield inside.get(key.rpartition("/")[0], split), fields_of(tar, parts)


def _read(tars: Shards, inside: Mapping[str, RealSplit | None], said: SaidSplits) -> Iterator[Item]:
    for file, name, split in zip(tars.files, tars.names, tars.splits, strict=True):
        with tarfile.open(file, "r:") as tar:
            for key, parts in samples_of(tar).items():
                item = item_of(tar, f"{name}/{key}", parts)
                of_name = inside.get(key.rpartition("/")[0], split)
                if said.names and not item.problem:
                    fields = fields_of(tar, parts)
                    of_name = said.split([fields.get(each) for each in said.names], of_name)
                yield replace(item, split=of_name)
