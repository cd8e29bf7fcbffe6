"""Image folders unlike the data ``mini`` was made for: photographs that it has never seen, and unusual file
formats.
"""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from understudy.core.files import write_atomically
from understudy.data.labelled_set import LabelledSet
from understudy.data.leaks import Fingerprints, copies
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings


def cifar10_folder(parquet: Path, to: Path, *, per_class: int = 50) -> None:
    """The first ``per_class`` images of each class of a CIFAR-10 Parquet file, as ``class/number.jpg``."""
    rows = pq.read_table(parquet, columns=["image", "label"]).slice(0, 30 * per_class).to_pylist()
    counts = np.zeros(10, dtype=int)
    for row in rows:
        if counts[row["label"]] < per_class:
            folder = to / f"class{row['label']}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{counts[row['label']]:03d}.jpg").write_bytes(row["image"]["bytes"])
            counts[row["label"]] += 1


def odd_folder(to: Path, *, per_class: int = 24) -> None:
    """Digits 0, 1 and 2 as non-square, greyscale, RGBA, palette, EXIF-rotated and 16-bit files."""
    train = load_splits(DataSettings(source="digits"), seed=0).train
    for label in range(3):
        folder = to / train.class_names[label]
        folder.mkdir(parents=True, exist_ok=True)
        for number, index in enumerate(np.flatnonzero(train.labels == label)[:per_class]):
            _save_oddly(train, int(index), folder / f"{number:03d}", kind=number % 6)


def _save_oddly(data: LabelledSet, index: int, stem: Path, *, kind: int) -> None:
    image = data.image(index)
    if kind == 0:  # non-square
        wide = Image.new("RGB", (48, 32))
        wide.paste(image, (8, 0))
        wide.save(stem.with_suffix(".png"))
    elif kind == 1:
        image.convert("L").save(stem.with_suffix(".png"))
    elif kind == 2:
        image.convert("RGBA").save(stem.with_suffix(".png"))
    elif kind == 3:
        image.convert("P").save(stem.with_suffix(".png"))
    elif kind == 4:  # stored rotated, with the EXIF tag that says so
        exif = Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(stem.with_suffix(".jpg"), quality=95, exif=exif)
    else:
        levels = np.asarray(image.convert("L")).astype(np.uint16) * 257
        Image.fromarray(levels).save(stem.with_suffix(".png"))


def take_first(source: Path, to: Path, **counts: int) -> None:
    """Write the first images of each split as Parquet: a small part of a much larger data set."""
    for split, count in counts.items():
        if not (to / f"{split}.parquet").exists():
            rows = pq.read_table(source / f"{split}.parquet").slice(0, count)
            write_atomically(to / f"{split}.parquet", partial(pq.write_table, rows))


def without_copies(source: Path, to: Path, *, max_distance: int = 2) -> None:
    """Write the splits of a set as Parquet without copies, which runs refuse.

    Of images that are copies of each other, one stays: that of ``test`` if there is one, else of ``val``. If
    their labels differ, none stays, since nobody knows which is right.

    Args:
        source: folder with ``train.parquet``, ``test.parquet`` and perhaps ``val.parquet``.
        to: folder to write; a finished one is kept.
        max_distance: of :func:`understudy.data.leaks.copies`.
    """
    splits = [split for split in ("test", "val", "train") if (source / f"{split}.parquet").exists()]
    if splits and all((to / f"{split}.parquet").exists() for split in splits):
        return
    tables = [pq.read_table(source / f"{split}.parquet") for split in splits]
    rows = [row for table in tables for row in table.select(["image", "label"]).to_pylist()]
    images = (Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows)
    prints = Fingerprints.of([str(index) for index in range(len(rows))], images)
    groups = np.array(copies(prints, max_distance=max_distance))
    keep = _one_of_each(groups, np.array([row["label"] for row in rows]))
    for split, table in zip(splits, tables, strict=True):
        kept, keep = keep[: len(table)], keep[len(table) :]
        rows_kept = table.filter(pa.array(kept))
        write_atomically(to / f"{split}.parquet", partial(pq.write_table, rows_kept))


def _one_of_each(groups: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The first image of each group whose images have one label, bool (N,)."""
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    keep = np.zeros(len(groups), dtype=bool)
    keep[first] = True
    disputed = np.zeros(len(first), dtype=bool)
    disputed[place[labels != labels[first][place]]] = True
    return keep & ~disputed[place]
