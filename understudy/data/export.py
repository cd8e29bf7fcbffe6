"""Write a labelled set for other tools: image folder, WebDataset, Hugging Face Parquet."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.core.registry import Registry
from understudy.data.labelled_set import LabelledSet
from understudy.data.parquet_images import num_files

EXPORTS: Registry[Callable[[LabelledSet, Path], None]] = Registry("export form")
_SHARD_IMAGES = 10_000
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
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"{to} must be a new or empty folder to export to: choose another")
    write(data, to)


@EXPORTS.register("folder", summary="class/00000000.png and metadata.csv")
def _folder(data: LabelledSet, to: Path) -> None:
    odd = [
        name
        for name in data.class_names
        if not name or name.startswith(".") or set(name) & set('/\\:*?"<>|') or name != name.strip()
    ]
    if odd:
        raise InputError(
            f"class names must be usable as folder names, got {listed([repr(name) for name in odd])}: "
            "export as webdataset or huggingface"
        )
    rows = []
    for index, row in enumerate(_provenance(data)):
        encoded = data.encoded(index)
        name = f"{row['class_name']}/{index:08d}.{_suffix(encoded)}"
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(encoded)
        rows.append({"file_name": name} | row)
    with (to / "metadata.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


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


def _provenance(data: LabelledSet) -> list[dict[str, Any]]:
    """One row per image: all columns except the image, plus the class name."""
    rows = data.columns.to_pylist()
    return [
        {"id": row["id"], "label": row["label"], "class_name": data.class_names[row["label"]]} | row
        for row in rows
    ]


def _suffix(encoded: bytes) -> str:
    """File name ending for encoded bytes: ``png``, ``jpg``, ``webp``, ..."""
    with Image.open(io.BytesIO(encoded)) as image:
        kind = str(image.format).lower()
    return {"jpeg": "jpg", "mpo": "jpg", "jpeg2000": "jp2"}.get(kind, kind)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
