"""Images of each class in an endless order that never changes; as many are drawn as somebody asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import final

import numpy as np

from understudy.core.files import write_json
from understudy.core.progress import Observer
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import PlanRow
from understudy.sampling.draw import DrawStep, load_parts
from understudy.sampling.plan import write_parts

Plan = Callable[[np.ndarray, np.ndarray], list[PlanRow]]
"""First numbers and ends, int64 (num_classes,) each, to the rows between them."""
DrawParts = Callable[[Sequence[Path], Path], Iterator[DrawStep]]
"""Draws plan parts into a folder; parts that are there are not drawn again."""


@final
class Supply:
    """Images that share how they are drawn.

    Image n of a class is the same whoever asks for it, after whatever was asked for before, so that what is
    made of the first n
    does not depend on who else needs more. What is asked for beyond what is there is drawn as a round of its
    own::

        FOLDER/plan/round-NN.json            the number after the round's last, per class: written first
        FOLDER/plan/round-NN/part-*.parquet  what is to be drawn
        FOLDER/images/round-NN/part-*.parquet

    Args:
        folder: see above.
        plan: makes the rows.
        draw: draws them.
        part_size: rows in a part.
        available: images per class that can be drawn at all, int64 (num_classes,); None for any number.
        observer: is told of the images.

    Attributes:
        drawn: images that this object has drawn, not found.
    """

    def __init__(
        self,
        folder: Path,
        *,
        plan: Plan,
        draw: DrawParts,
        part_size: int,
        available: np.ndarray | None,
        observer: Observer,
    ) -> None:
        self._folder = folder
        self._plan = plan
        self._draw = draw
        self._part_size = part_size
        self._available = available
        self._observer = observer
        self._rounds: list[tuple[np.ndarray, LabelledSet]] = []
        self.drawn = 0

    def take(self, counts: np.ndarray) -> LabelledSet:
        """The first images of each class, by class and number.

        Args:
            counts: how many, int64 (num_classes,), one at least; not more than are available are taken.

        Raises:
            ValueError: if nothing is asked for.
        """
        if not counts.any():
            raise ValueError("ask for one image at least")
        wanted = counts if self._available is None else np.minimum(counts, self._available)
        start, number = np.zeros_like(wanted), 0
        while (start < wanted).any() or number == 0:
            if number == len(self._rounds):
                self._rounds.append(self._round(number, start, wanted))
            start, number = self._rounds[number][0], number + 1
        images = LabelledSet.concatenate([images for _, images in self._rounds[:number]])
        numbers = np.array(images.table.column("number").to_pylist(), dtype=np.int64)
        order = np.lexsort((numbers, images.labels))
        return images.select(order[(numbers < wanted[images.labels])[order]])

    def _round(self, number: int, start: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, LabelledSet]:
        """Where a round ends, and its images; a round that was begun is drawn as it was planned."""
        name = f"round-{number:02d}"
        counts_file = self._folder / "plan" / f"{name}.json"
        if not counts_file.exists():
            write_json(counts_file, np.maximum(start, wanted).tolist())
        stop = np.array(json.loads(counts_file.read_text(encoding="utf-8")), dtype=np.int64)
        rows, images = self._plan(start, stop), self._folder / "images" / name
        plans = write_parts(rows, self._folder / "plan" / name, part_size=self._part_size)
        if any(not (images / plan.name).exists() for plan in plans):
            with self._observer.bar(f"draw {self._label(name)}", total=len(rows), unit="images") as advance:
                for step in self._draw(plans, images):
                    advance(step.images)
                    self.drawn += step.images if step.drawn else 0
        return stop, load_parts(images, plans)

    def _label(self, name: str) -> str:
        return name if self._folder.name == "synthetic" else f"{self._folder.name} {name}"
