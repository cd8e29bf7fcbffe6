"""Draw a part of a plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np

from understudy.core.executors.job import Job
from understudy.core.micro_batch import MicroBatch
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import Generator, PlanRow
from understudy.generators.visual_guidance import VisualGuidance
from understudy.sampling.plan import batches, read_part


class Networks(Protocol):
    """The generators of a run; other processes load their own when they draw the first part."""

    @property
    def files(self) -> Sequence[Path]:
        """Files and folders of the run that are read to load them."""

    @property
    def visual(self) -> VisualGuidance | None:
        """The image features that guide drawing; None if drawing is not guided."""

    def get(self, number: int) -> Generator:
        """Generator ``number``, with its adapter applied."""

    def free(self) -> None:
        """Give the memory of the networks back; they are loaded again when needed."""


@final
@dataclass(kw_only=True)
class Drawer:
    """What all parts of a plan share.

    Attributes:
        networks: hold the generator.
        number: of the generator.
        train: real train images, for rows that start from one.
        batch_size: images drawn at once; half as many each time memory runs out.
    """

    networks: Networks
    number: int
    train: LabelledSet
    batch_size: int

    @cached_property
    def at_once(self) -> MicroBatch:
        """The number of images that fit into memory together."""
        return MicroBatch(self.batch_size, work="drawing")

    def draw(self, rows: Sequence[PlanRow]) -> np.ndarray:
        """The images of rows that are drawn alike, uint8 (N, 3, H, W)."""
        generator, visual = self.networks.get(self.number), self.networks.visual
        return self.at_once.fit(partial(draw_rows, generator, rows, train=self.train, visual=visual))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PartDrawing(Job):
    """Draws the images of one plan part, into a file of the same name.

    Attributes:
        plan: path of the plan part.
        path: file for the images.
        drawer: see there.
        device: torch device.
    """

    plan: Path
    path: Path
    drawer: Drawer
    device: str

    @property
    def name(self) -> str:
        return f"the images of {self.plan.parent.name}/{self.plan.name}"

    @property
    def threads(self) -> None:
        """A network that draws is large enough for all of them."""

    @property
    def reads(self) -> Sequence[Path]:
        return self.plan, *self.drawer.networks.files

    @property
    def is_done(self) -> bool:
        """Whether the images are on disk."""
        return self.path.exists()

    def steps(self) -> Iterator[int]:
        """Draw the images and write them; yields the number of images of each batch."""
        rows = read_part(self.plan)
        order = sorted(range(len(rows)), key=lambda index: -rows[index].strength)  # batches share a strength
        pixels = []
        for batch in batches([rows[index] for index in order], self.drawer.batch_size):
            pixels.append(self.drawer.draw(batch))
            yield len(batch)
        images = np.concatenate(pixels)[np.argsort(order)]
        drawn = _as_set(rows, images, self.drawer.train.class_names)
        drawn.save(self.path, in_one_file=True)  # its existence says that the job is done


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
