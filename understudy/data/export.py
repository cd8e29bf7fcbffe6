"""Write a labelled set for other tools: image folder, WebDataset, Hugging Face Parquet, FiftyOne."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image

from understudy.core.errors import InputError
from understudy.core.files import temporary_path, write_json
from understudy.core.listing import listed
from understudy.core.registry import Registry
from understudy.data.labelled_set import LabelledSet
from understudy.data.parquet_images import num_files
from understudy.data.sources.split_names import SplitName

EXPORTS: Registry[Callable[[LabelledSet, Path], None]] = Registry("export form")
_SHARD_IMAGES = 10_000
_FIFTYONE_NAMES = {
    *("id", "filepath", "tags", "metadata", "ground_truth", "media_type", "created_at", "last_modified_at")
}
"""Fields that every sample of FiftyOne has, and the one with the class."""
_HUB_SPLITS = {"train": "train", "val": "validation", "test": "test", "synthetic": "train"}


def export(data: LabelledSet, to: Path, *, form: str) -> None:
    """Write all images in their stored encoding, with labels, class names and provenance.

    Args:
        data: the set to export.
        to: a new or empty folder.
        form: name in ``EXPORTS``.

    Raises:
        InputError: for an unknown form, a folder that is not empty, or class names that cannot be folder
            names.
    """
    write = EXPORTS[form]
    with new_folder(to) as folder:
        write(data, folder)


def check_new(to: Path) -> None:
    """Check that a folder can be exported to.

    Raises:
        InputError: if it is a file or holds something.
    """
    if to.exists() and (not to.is_dir() or {*to.iterdir()} - {temporary_path(to / to.resolve().name)}):
        raise InputError(f"{to} must be a new or empty folder to export to: choose another")


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """Fill a temporary folder in the block, which takes the place of ``to`` when everything is written.

    Args:
        to: a new or empty folder. An empty one stays the same folder, as it may be the working directory, or
            the place of another disk.

    Raises:
        InputError: as :func:`check_new`.
    """
    check_new(to)
    place = to.resolve()
    temporary = temporary_path(place / place.name if place.exists() else place)
    shutil.rmtree(temporary, ignore_errors=True)  # of an export that was killed
    try:
        yield temporary
        if not place.exists():
            os.replace(temporary, place)
            return
        for path in temporary.iterdir():
            os.replace(path, place / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@EXPORTS.register(
    "folder", summary="class/00000000.png and metadata.jsonl, for torchvision and datasets' imagefolder"
)
def _folder(data: LabelledSet, to: Path) -> None:
    odd = [name for name in data.class_names if not _is_folder_name(name)]
    if odd:
        raise InputError(
            f"class names must be usable as folder names, got {_quoted(odd)}: export as webdataset, "
            "huggingface or fiftyone"
        )
    if splits := [name for name in data.class_names if SplitName(name).splits]:
        raise InputError(
            f"readers of image folders take a class folder for a split if its name has a word such as train "
            f"or test, got {_quoted(splits)}: export as webdataset, huggingface or fiftyone"
        )
    # Rows of JSON, unlike those of a CSV file, tell a number from text, and nothing from an empty text.
    with _opened(to / "metadata.jsonl") as handle:
        for index, row in enumerate(_provenance(data)):
            name = _write_image(data, index, to, below=row["class_name"])
            handle.write(json.dumps({"file_name": name} | row, default=str) + "\n")


@EXPORTS.register(
    "webdataset", summary="tar shards with key.png, key.cls and key.json, and the class names beside them"
)
def _webdataset(data: LabelledSet, to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    # Beside the shards, because readers would take it for a sample inside one.
    if all(name.splitlines() == [name.strip()] for name in data.class_names):
        (to / "classes.txt").write_text("".join(f"{name}\n" for name in data.class_names), encoding="utf-8")
    else:
        features = {"label": {"names": list(data.class_names), "_type": "ClassLabel"}}
        (to / "dataset_info.json").write_text(json.dumps({"features": features}), encoding="utf-8")
    rows = _provenance(data)
    for number, start in enumerate(range(0, len(data), _SHARD_IMAGES)):
        with tarfile.open(to / f"{data.split}-{number:06d}.tar", "w") as tar:
            for index in range(start, min(start + _SHARD_IMAGES, len(data))):
                encoded = data.encoded(index)
                _add(tar, f"{index:08d}.{_suffix(encoded)}", encoded)
                _add(tar, f"{index:08d}.cls", str(rows[index]["label"]).encode())
                _add(tar, f"{index:08d}.json", json.dumps(rows[index], default=str).encode())


@EXPORTS.register("huggingface", summary="Parquet under data/, for datasets.load_dataset")
def _huggingface(data: LabelledSet, to: Path) -> None:
    count = max(num_files(data.files), -(-len(data) // _SHARD_IMAGES))
    for number, indices in enumerate(np.array_split(np.arange(len(data)), count)):
        data.select(indices).save(
            to / "data" / f"{_HUB_SPLITS[data.split]}-{number:05d}-of-{count:05d}.parquet",
            in_one_file=True,
        )


@EXPORTS.register(
    "fiftyone", summary="data/, samples.json and metadata.json, for FiftyOne: fiftyone.types.FiftyOneDataset"
)
def _fiftyone(data: LabelledSet, to: Path) -> None:
    """Write the class as a label, the split as a tag, and the other columns as fields.

    FiftyOne's reader infers the kinds of the fields if no version of its database is given.
    """
    samples = []
    for index, row in enumerate(_provenance(data)):
        label = {"_cls": "Classification", "label": row.pop("class_name")}
        place = {"filepath": _write_image(data, index, to, below="data"), "tags": [data.split]}
        fields = {f"image_{name}" if name in _FIFTYONE_NAMES else name: row[name] for name in row}
        samples.append(place | {"ground_truth": label} | fields)
    write_json(to / "metadata.json", {"media_type": "image", "info": {"classes": list(data.class_names)}})
    with _opened(to / "samples.json") as handle:
        handle.write('{"samples": [\n')
        handle.write(",\n".join(json.dumps(sample, default=str) for sample in samples))
        handle.write("\n]}\n")


def _provenance(data: LabelledSet) -> list[dict[str, Any]]:
    """One row per image: all columns except the image, plus the class name."""
    rows = data.columns.to_pylist()
    return [
        {"id": row["id"], "label": row["label"], "class_name": data.class_names[row["label"]]} | row
        for row in rows
    ]


def _is_folder_name(name: str) -> bool:
    is_hidden_or_cut = name.startswith(".") or name != name.strip() or name.endswith(".")
    return bool(name) and not is_hidden_or_cut and not set(name) & set('/\\:*?"<>|') and name.isprintable()


def _quoted(names: Iterable[str]) -> str:
    return listed([repr(name) for name in names])


def _opened(path: Path) -> TextIO:
    """Open a new text file, in a folder that need not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w", encoding="utf-8", newline="\n")


def _write_image(data: LabelledSet, index: int, to: Path, *, below: str) -> str:
    """Write an image in its stored encoding into a folder below ``to``; returns its path from there."""
    encoded = data.encoded(index)
    name = f"{below}/{index:08d}.{_suffix(encoded)}"
    (to / name).parent.mkdir(parents=True, exist_ok=True)
    (to / name).write_bytes(encoded)
    return name


def _suffix(encoded: bytes) -> str:
    """File name ending for encoded bytes: ``png``, ``jpg``, ``webp``, ..."""
    with Image.open(io.BytesIO(encoded)) as image:
        kind = str(image.format).lower()
    return {"jpeg": "jpg", "mpo": "jpg", "jpeg2000": "jp2"}.get(kind, kind)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
