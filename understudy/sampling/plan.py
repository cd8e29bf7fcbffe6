"""The plan: one row per image to draw, split in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from understudy.core.errors import InputError
from understudy.core.files import write_atomically
from understudy.data.captions.captions import captions_of
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import PlanRow
from understudy.generators.prompts import choose, fill, read_templates
from understudy.sampling.settings import DrawSettings


def quotas(train: LabelledSet, settings: DrawSettings) -> np.ndarray:
    """How many synthetic images each class shall have, int64 of shape (num_classes,)."""
    if settings.per_class is not None:
        return np.full(train.num_classes, settings.per_class, dtype=np.int64)
    return np.asarray(np.maximum(settings.min_per_class, times_of(train, settings.times)))


def times_of(train: LabelledSet, times: float) -> np.ndarray:
    """Images per class that are ``times`` as many as the real ones, int64 of shape (num_classes,)."""
    counts: np.ndarray = np.round(train.counts * times).astype(np.int64)
    return counts


def make_plan(
    train: LabelledSet,
    counts: np.ndarray,
    *,
    settings: DrawSettings,
    prompt_names: Sequence[str],
    seed: int,
    tokens: Sequence[str] = (),
    strength: float | None = None,
    visual: str = "none",
    start: np.ndarray | None = None,
    member: int = 0,
    adapter: str = "",
) -> list[PlanRow]:
    """Rows for the images of each class with the numbers from ``start`` to ``counts``.

    A row depends on the run's seed and its own id, not on how many others there are: a larger plan holds the
    smaller one.

    Args:
        train: real train images; start, caption and feature of a row come from images of its class, all used
            equally often.
        counts: images per class, int of shape (num_classes,).
        start: numbers from which they begin, as counts; 0 if not given.
        settings: prompts, sampler and so on.
        prompt_names: class names for prompts, by label.
        seed: of the run.
        tokens: the learned token of each class, by label, if there are any.
        strength: where drawing starts, if ``settings.start_snr`` says so instead of ``settings.strength``.
        visual: kind of visual guidance.
        member: number of the generator, where several share the work.
        adapter: fingerprint of the adapter.

    Returns:
        The rows, classes in order.

    Raises:
        InputError: for a set that is not the train split, or a class without a real image where one is
            needed.
    """
    train.require("train", purpose="planning what to draw")
    strength = settings.strength if strength is None else strength
    has_token, own_tokens = any(tokens), any(tokens) and len(set(tokens)) == len(tokens)
    prompts = read_templates(settings.prompt, needs_class=not own_tokens, has_token=has_token)
    negatives = read_templates(settings.negative_prompt, needs_class=False)
    ids, captions = np.array(train.ids), np.array(captions_of(train))
    captioned = any("{caption}" in template for template in (*prompts, *negatives)) and bool(
        (captions != "").any()
    )
    rows = []
    for label, count in enumerate(counts):
        of_class = np.flatnonzero(train.labels == label)
        _require_images(
            len(of_class),
            int(count),
            train.class_names[label],
            strength=strength,
            visual=visual,
            captioned=captioned,
        )
        pairing = _Pairing(of_class, settings.pairing, (seed, label, member))
        for number in range(0 if start is None else int(start[label]), int(count)):
            identity = f"synthetic-{label:04d}-{member:02d}-{number:06d}"
            row_seed = _row_seed(seed, identity)
            caption = str(captions[pairing.image("caption", number)]) if captioned else ""
            words = prompt_names[label]
            rows.append(
                PlanRow(
                    id=identity,
                    number=number,
                    label=label,
                    class_name=train.class_names[label],
                    prompt=fill(
                        choose(prompts, row_seed),
                        words=words,
                        caption=caption,
                        token=tokens[label] if has_token else "",
                    ),
                    negative_prompt=fill(choose(negatives, row_seed + 1), words=words, caption=caption),
                    seed=row_seed,
                    sampler=settings.sampler,
                    steps=settings.steps,
                    guidance_scale=settings.guidance_scale,
                    noise_scale=settings.noise_scale,
                    strength=strength,
                    source_id=str(ids[pairing.image("start", number)]) if strength < 1 else "",
                    visual=visual,
                    visual_id=str(ids[pairing.image("feature", number)]) if visual == "per-image" else "",
                    adapter=adapter,
                    adapter_scale=settings.adapter_scale,
                )
            )
    return rows


def _require_images(
    available: int, wanted: int, name: str, *, strength: float, visual: str, captioned: bool
) -> None:
    """A class without a train image can be drawn from its name alone."""
    needs = {
        "draw.strength below 1 starts from real images": strength < 1,
        "visual guidance needs real images": visual != "none",
        "a prompt with {caption} needs real images": captioned,
    }
    for reason, applies in needs.items():
        if applies and wanted and not available:
            raise InputError(f"{reason}, and class {name!r} has none in the train split")


@final
class _Pairing:
    """Assigns real images to the parts of rows: every n rows use each of the n images of the class once.

    ``paired`` takes the images in order, or, for further generators, in an order of the generator's own, the
    same for every part. ``random`` gives each part of each n rows an order of its own.
    """

    def __init__(self, images: np.ndarray, pairing: str, seed: tuple[int, ...]) -> None:
        self._images = images
        self._random = pairing == "random"
        self._seed = seed
        self._orders: dict[tuple[str, int], np.ndarray] = {}

    def image(self, part: str, number: int) -> int:
        """Index into the train set."""
        fold, place = divmod(number, len(self._images))
        key = (part, fold) if self._random else ("", 0)
        if key not in self._orders:
            self._orders[key] = self._order(*key)
        return int(self._orders[key][place])

    def _order(self, part: str, fold: int) -> np.ndarray:
        if not self._random and self._seed[-1] == 0:
            return self._images
        words = [*self._seed, fold, *part.encode()]
        return np.random.default_rng(words).permutation(self._images)


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
    """The rows of one part.

    Raises:
        InputError: if an older version wrote it.
    """
    names, table = [field.name for field in fields(PlanRow)], pq.read_table(path)
    if missing := sorted(set(names) - set(table.column_names)):
        raise InputError(
            f"{path} was written by an older version of understudy (no {', '.join(missing)}): use "
            f"another folder"
        )
    return [PlanRow(**{name: row[name] for name in names}) for row in table.to_pylist()]


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
