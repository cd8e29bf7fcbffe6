"""A fixed, endless sequence of images per class, drawn on demand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np

from understudy.core.files import REMOVE, read_list, write_json
from understudy.core.progress import Observer
from understudy.data.labelled_set import LabelledSet
from understudy.generators.visual_guidance import VisualGuidance
from understudy.sampling.draw import draw_parts, load_parts
from understudy.sampling.plan import Planner, write_parts


@final
class Supply:
    """Images that are all drawn in the same way.

    Image n of a class is always the same, whatever was requested before. So an arm that uses the first n
    images gets the same ones even if another part of the run needs more. If more images are requested than
    are on disk, the rest is drawn as a new round::

        FOLDER/plan/round-NN.json            number after the round's last image, per class: written first
        FOLDER/plan/round-NN/part-*.parquet  rows to draw
        FOLDER/images/round-NN/part-*.parquet

    Args:
        folder: see above.
        planner: plans the rows, and holds the generator that draws them.
        visual: returns the features that guide drawing; called only if something must be drawn.
        part_size: rows in a part.
        batch_size: images drawn at once.
        observer: shows a bar for each round that is drawn.

    Attributes:
        drawn: number of images that this object has drawn; images found on disk do not count.
    """

    def __init__(
        self,
        folder: Path,
        planner: Planner,
        *,
        visual: Callable[[], VisualGuidance | None],
        part_size: int,
        batch_size: int,
        observer: Observer,
    ) -> None:
        self._folder = folder
        self._planner = planner
        self._visual = visual
        self._part_size = part_size
        self._batch_size = batch_size
        self._observer = observer
        self._available = planner.generator.available(planner.train.class_names)
        self._rounds: list[tuple[np.ndarray, LabelledSet]] = []
        self.drawn = 0

    def first(self, counts: np.ndarray) -> LabelledSet:
        """The first images of each class, by class and number.

        Args:
            counts: how many, int64 (num_classes,), at least one in total. A generator that has fewer images,
                such as a folder of ready-made ones, gives all of them.

        Raises:
            ValueError: if all counts are 0.
        """
        if not counts.any():
            raise ValueError("counts must ask for at least one image, got zeros")
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
        """The end of a round, and its images; an interrupted round is finished as planned."""
        name = f"round-{number:02d}"
        counts_file = self._folder / "plan" / f"{name}.json"
        if not counts_file.exists():
            write_json(counts_file, np.maximum(start, wanted).tolist())
        stop = np.array(read_list(counts_file, mend=REMOVE), dtype=np.int64)
        rows, images = self._planner.rows(start, stop), self._folder / "images" / name
        plans = write_parts(rows, self._folder / "plan" / name, part_size=self._part_size)
        if any(not (images / plan.name).exists() for plan in plans):
            generator, train = self._planner.generator, self._planner.train
            parts = draw_parts(
                generator, plans, images, train=train, batch_size=self._batch_size, visual=self._visual()
            )
            label = name if self._folder.name == "synthetic" else f"{self._folder.name} {name}"
            with self._observer.bar(f"draw {label}", total=len(rows), unit="images") as advance:
                found = 0  # reported at once, so that the speed is that of drawing
                for step in parts:
                    if not step.drawn:
                        found += step.images
                        continue
                    advance(found + step.images)
                    self.drawn, found = self.drawn + step.images, 0
        return stop, load_parts(images, plans)
