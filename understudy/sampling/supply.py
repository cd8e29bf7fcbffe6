"""A fixed, endless sequence of images per class, drawn on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np

from understudy.core.executors.do import do_jobs
from understudy.core.executors.executor import Terms
from understudy.core.files import REMOVE, read_list, write_json
from understudy.core.progress import Observer
from understudy.data.labelled_set import LabelledSet
from understudy.sampling.draw import Drawer, PartDrawing, load_parts
from understudy.sampling.plan import Planner, num_rows, write_parts


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
        planner: returns what plans the rows, with the generator.
        drawer: draws parts.
        part_size: rows in a part.
        device: torch device.
        terms: of the executor that draws parts.
        observer: shows a bar for each round that is drawn.

    Attributes:
        drawn: number of images that this object has drawn; images found on disk do not count.
    """

    def __init__(
        self,
        folder: Path,
        planner: Callable[[], Planner],
        drawer: Drawer,
        *,
        part_size: int,
        device: str,
        terms: Terms,
        observer: Observer,
    ) -> None:
        self._folder = folder
        self._planner = planner
        self._drawer = drawer
        self._part_size = part_size
        self._device = device
        self._terms = terms
        self._observer = observer
        self._rounds: list[tuple[np.ndarray, LabelledSet]] = []
        self.drawn = 0

    @cached_property
    def _available(self) -> np.ndarray | None:
        """Images per class that the generator has; None if it can draw any number."""
        return self._planner().generator.available(self._drawer.train.class_names)

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
        numbers = np.array(images.provenance("number"), dtype=np.int64)
        order = np.lexsort((numbers, images.labels))
        return images.select(order[(numbers < wanted[images.labels])[order]])

    def _round(self, number: int, start: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, LabelledSet]:
        """The end of a round, and its images; an interrupted round is finished as planned."""
        name = f"round-{number:02d}"
        counts_file = self._folder / "plan" / f"{name}.json"
        if not counts_file.exists():
            write_json(counts_file, np.maximum(start, wanted).tolist())
        stop = np.array(read_list(counts_file, mend=REMOVE), dtype=np.int64)
        planner, images, total = self._planner(), self._folder / "images" / name, int((stop - start).sum())
        folder = self._folder / "plan" / name
        if len(list(folder.glob("part-*.parquet"))) * self._part_size < total:
            planner.check(start, stop)
        plans = write_parts(planner.rows(start, stop), folder, part_size=self._part_size)
        self._draw(name, plans, images, total=total)
        return stop, load_parts(images, plans)

    def _draw(self, name: str, plans: Sequence[Path], images: Path, *, total: int) -> None:
        """Draw every part that has no images yet."""
        jobs = [
            PartDrawing(plan=plan, path=images / plan.name, drawer=self._drawer, device=self._device)
            for plan in plans
        ]
        found = sum(num_rows(job.plan) for job in jobs if job.is_done)
        if found == total:
            return
        label = name if self._folder.name == "synthetic" else f"{self._folder.name} {name}"
        if not self._terms.compute.is_here:
            _ = self._drawer.networks.visual  # features of the real images, which workers read
            self._drawer.networks.free()  # they are needed in the workers, which may share the memory
        with self._observer.bar(f"draw {label}", total=total, unit="images") as advance:

            def drawn(amount: int) -> None:
                nonlocal found
                advance(found + amount)  # those found are reported with the first, so the speed is of drawing
                self.drawn, found = self.drawn + amount, 0

            do_jobs(jobs, self._terms, advance=drawn)
