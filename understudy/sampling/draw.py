"""Draw the parts of a plan; parts that are already on disk are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from understudy.core.micro_batch import MicroBatch
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import Generator, PlanRow
from understudy.generators.visual_guidance import VisualGuidance
from understudy.sampling.plan import batches, read_part


@dataclass(frozen=True, kw_only=True)
class DrawStep:
    """Progress of drawing.

    Attributes:
        images: images that this step made available.
        drawn: whether they were drawn now; False if they were already on disk.
    """

    images: int
    drawn: bool


def draw_parts(
    generator: Generator,
    plans: Sequence[Path],
    folder: Path,
    *,
    train: LabelledSet,
    batch_size: int,
    visual: VisualGuidance | None = None,
) -> Iterator[DrawStep]:
    """Draw every plan part that has no images yet, into a file of the same name.

    Args:
        generator: with its adapter applied.
        plans: paths of plan parts.
        folder: folder for the image parts.
        train: real train images, for rows that start from one.
        batch_size: images drawn at once; half as many each time memory runs out.
        visual: features that guide drawing, for rows with visual guidance.

    Yields:
        One step per batch drawn, and per part found.
    """
    at_once = MicroBatch(batch_size, work="drawing")
    draw = partial(draw_rows, generator, train=train, visual=visual)
    for plan in plans:
        rows = read_part(plan)
        path = folder / plan.name
        if path.exists():
            yield DrawStep(images=len(rows), drawn=False)
            continue
        order = sorted(range(len(rows)), key=lambda index: -rows[index].strength)  # batches share a strength
        pixels = []
        for batch in batches([rows[index] for index in order], batch_size):
            pixels.append(at_once.fit(partial(draw, batch)))
            yield DrawStep(images=len(batch), drawn=True)
        images = np.concatenate(pixels)[np.argsort(order)]
        _as_set(rows, images, train.class_names).save(path)


def draw_rows(
    generator: Generator,
    rows: Sequence[PlanRow],
    size: int,
    *,
    train: LabelledSet,
    visual: VisualGuidance | None = None,
) -> np.ndarray:
    """The images of rows that are drawn alike, ``size`` at once, uint8 (N, 3, H, W)."""
    parts = (rows[start : start + size] for start in range(0, len(rows), size))
    return np.concatenate(
        [generator.draw(part, train, None if visual is None else visual.tokens(part)) for part in parts]
    )


def load_parts(folder: Path, plans: Sequence[Path]) -> LabelledSet:
    """The images of all parts, in plan order."""
    return LabelledSet.concatenate([LabelledSet.load(folder / plan.name) for plan in plans])


def _as_set(rows: Sequence[PlanRow], pixels: np.ndarray, class_names: Sequence[str]) -> LabelledSet:
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in asdict(row).items():
            columns.setdefault(name, []).append(value)
    ids, labels = columns.pop("id"), columns.pop("label")
    return LabelledSet.from_images(
        pixels, labels, class_names=class_names, split="synthetic", ids=ids, provenance=columns
    )
