"""Check that the files of a finished run are there and complete, from their names, heads and ends."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pyarrow.parquet as pq

from understudy.core.errors import InputError
from understudy.core.files import again, check_tensors, readable
from understudy.data.parquet_images import files_of
from understudy.pipeline.context import Run

_NEEDED = (
    *("data/train.parquet", "data/val.parquet", "data/test.parquet"),
    *("synthetic/curated.parquet", "arms/confusions.npz"),
)
"""Files that the results were made from; users may remove weights and records of trainings."""
_WRITTEN = ("stages", "data", "adapter", "synthetic", "arms", "features", "membership")
"""Folders that a run writes; whatever else is in the run folder belongs to the user."""


def check_intact(run: Run) -> None:
    """Check the files of a finished run without reading their content; hidden files are skipped.

    Raises:
        InputError: naming the first file that is missing or was cut short, and what to do.
    """
    for name in _NEEDED:
        path = run.path / name
        if not path.exists():
            raise InputError(f"{path} is missing: {again(path)}")
        if path.suffix == ".parquet":
            files_of(path)  # all files of a large set
    for path in sorted(path for name in _WRITTEN for path in (run.path / name).rglob("*")):
        if not any(part.startswith(".") for part in path.relative_to(run.path).parts):
            _check_whole(path)


def _check_whole(path: Path) -> None:
    if path.suffix == ".safetensors":
        check_tensors(path)
        return
    with readable(path):
        if path.suffix == ".parquet" and path.is_file():
            pq.read_metadata(path)
        elif path.suffix == ".npz":
            zipfile.ZipFile(path).close()
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
