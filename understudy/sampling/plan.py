"""The plan: one row per image to draw, split in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from understudy.data import LabelledSet
from understudy.errors import InputError
from understudy.nouns import PlanRow
from understudy.runs import write_atomically
from understudy.settings import DrawSettings


def quotas(train: LabelledSet, settings: DrawSettings) -> np.ndarray:
    """How many synthetic images each class shall have, int64 of shape (num_classes,)."""
    if settings.per_class is not None:
        return np.full(train.num_classes, settings.per_class, dtype=np.int64)
    return np.maximum(settings.min_per_class, np.round(train.counts * settings.times)).astype(np.int64)


def make_plan(
    train: LabelledSet,
    counts: np.ndarray,
    *,
    settings: DrawSettings,
    prompt_names: Sequence[str],
    seed: int,
    round_number: int = 0,
    adapter: str = "",
) -> list[PlanRow]:
    """Rows for ``counts`` images per class.

    A row depends on the run's seed and its own id, not on how many others there are: a larger plan of the same round
    holds the smaller one.

    Args:
        train: real train images; below strength 1 each row starts from one of its class, all used equally often.
        counts: images per class, int of shape (num_classes,).
        settings: prompts, sampler and so on.
        prompt_names: class names for prompts, by label.
        seed: of the run.
        round_number: 0, then 1, 2, ... for refills.
        adapter: fingerprint of the adapter.

    Returns:
        The rows, classes in order.

    Raises:
        InputError: for a set that is not the train split, or strength below 1 and a class without a real image.
    """
    train.require("train", purpose="planning what to draw")
    ids = np.array(train.ids)
    rows = []
    for label, count in enumerate(counts):
        of_class = ids[train.labels == label]
        if settings.strength < 1 and count and not len(of_class):
            raise InputError(
                f"draw.strength below 1 starts from real images, and class {train.class_names[label]!r} has none in the train split"
            )
        for number in range(int(count)):
            identity = f"synthetic-{label:04d}-{round_number:02d}-{number:06d}"
            rows.append(
                PlanRow(
                    id=identity,
                    label=label,
                    class_name=train.class_names[label],
                    prompt=settings.prompt.replace("{class}", prompt_names[label]),
                    negative_prompt=settings.negative_prompt.replace("{class}", prompt_names[label]),
                    seed=_row_seed(seed, identity),
                    sampler=settings.sampler,
                    steps=settings.steps,
                    guidance_scale=settings.guidance_scale,
                    strength=settings.strength,
                    source_id=str(of_class[number % len(of_class)]) if settings.strength < 1 else "",
                    adapter=adapter,
                )
            )
    return rows


def write_parts(rows: Sequence[PlanRow], folder: Path, *, part_size: int) -> list[Path]:
    """Write ``part-00000.parquet`` and so on, ``part_size`` rows each, and return their paths.

    Parts that exist must hold the same rows.

    Raises:
        InputError: if an existing part differs.
    """
    paths = []
    for number, start in enumerate(range(0, len(rows), part_size)):
        path = folder / f"part-{number:05d}.parquet"
        part = list(rows[start : start + part_size])
        if path.exists():
            if read_part(path) != part:
                raise InputError(f"{path} holds another plan: choose another --out")
        else:
            table = pa.Table.from_pylist([asdict(row) for row in part])
            write_atomically(path, partial(pq.write_table, table))
        paths.append(path)
    return paths


def read_part(path: Path) -> list[PlanRow]:
    """The rows of one part."""
    names = [field.name for field in fields(PlanRow)]
    return [PlanRow(**{name: row[name] for name in names}) for row in pq.read_table(path).to_pylist()]


def batches(rows: Sequence[PlanRow], batch_size: int) -> Iterator[list[PlanRow]]:
    """Split rows, in order, into batches that share what a batch must share."""
    batch: list[PlanRow] = []
    for row in rows:
        if batch and (len(batch) == batch_size or _shared(row) != _shared(batch[0])):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _shared(row: PlanRow) -> tuple[str, int, float, float]:
    return row.sampler, row.steps, row.guidance_scale, row.strength


def _row_seed(seed: int, identity: str) -> int:
    """63 bits that depend on the run's seed and the row's id alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{identity}".encode()).digest()[:8]) >> 1
