"""The images of a run while they are drawn: how many there are, and the newest beside real ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from understudy.commands.watched_files import WatchedFiles
from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.report.gallery import PER_CLASS, first_of, tile_size
from understudy.report.watch_page import ClassImages, class_images
from understudy.sampling.plan import num_rows

MOST_CLASSES = 10
"""Classes with images on the page: those drawn last."""
_MOST_PARTS = 40  # files that are looked through for them


@final
@dataclass(frozen=True)
class Part:
    """A file of drawn images.

    Attributes:
        path: the file.
        written: when, in seconds since 1970.
        count: images in it.
    """

    path: Path
    written: float
    count: int


@final
class WatchedImages:
    """The images of a run folder.

    Args:
        folder: of the run.
        files: reads its files.
    """

    def __init__(self, folder: Path, files: WatchedFiles) -> None:
        self._folder, self._files = folder, files
        self._shown: tuple[object, list[ClassImages]] = None, []

    def parts(self) -> list[Part]:
        """All files of drawn images, the oldest first."""
        return self._parts("images")

    def drawn_so_far(self, now: tuple[float, int] | None = None) -> list[tuple[float, int]]:
        """Pairs of time and number of images drawn until then, from the moment that drawing began.

        Args:
            now: the time and the number of images of a file that is not written yet.
        """
        drawn, total = [], 0
        for part in self.parts():
            total += part.count
            drawn.append((part.written, total))
        if now is not None and now[1] > total:
            drawn.append(now)
        planned = [part.written for part in self._parts("plan")]
        return [(min(*planned, drawn[0][0]), 0), *drawn] if drawn and planned else drawn

    def newest(self) -> list[ClassImages]:
        """Real and synthetic images of the classes that were drawn last; the newest images first."""
        train = self._files.read(self._folder / "data" / "train.parquet", LabelledSet.load)
        parts = [part.path for part in reversed(self.parts())][:_MOST_PARTS]
        # Runs may delete drawn images once they are curated.
        parts = parts or [path for path in [self._folder / "synthetic" / "curated.parquet"] if path.exists()]
        if train is None or not parts:
            return []
        stamp = [(path, self._files.written(path)) for path in parts]
        if stamp != self._shown[0]:
            try:
                self._shown = stamp, self._gather(train, parts)
            except InputError as error:
                self._files.problems.append(str(error))
        return self._shown[1]

    def _gather(self, train: LabelledSet, parts: Sequence[Path]) -> list[ClassImages]:
        """The newest images of each class, the class that was drawn last first."""
        found: dict[int, list[bytes]] = defaultdict(list)
        for path in parts:
            if len(found) >= min(MOST_CLASSES, train.num_classes) and all(
                len(images) >= PER_CLASS for images in found.values()
            ):
                break
            part = self._files.read(path, LabelledSet.load)
            if part is None or part.class_names != train.class_names:
                continue
            for index in reversed(range(len(part))):
                images = found[int(part.labels[index])]
                if len(images) < PER_CLASS:
                    images.append(part.encoded(index))
        labels = list(found)[:MOST_CLASSES]
        synthetic = LabelledSet.from_images(
            [image for label in labels for image in found[label]],
            np.repeat(labels, [len(found[label]) for label in labels]),
            class_names=train.class_names,
            split="synthetic",
        )
        tile = tile_size(train, synthetic)
        return [
            class_images(
                train.select(first_of(train, label, PER_CLASS)),
                synthetic.select(first_of(synthetic, label, PER_CLASS)),
                name=train.class_names[label],
                tile=tile,
            )
            for label in labels
        ]

    def _parts(self, kind: str) -> list[Part]:
        found = []
        for pattern in (f"synthetic/{kind}", f"synthetic/supplies/*/{kind}"):
            for path in self._folder.glob(f"{pattern}/round-*/part-*.parquet"):
                count = self._files.read(path, num_rows)
                written = self._files.written(path)
                if count is not None and written is not None:
                    found.append(Part(path, written, count))
        return sorted(found, key=lambda part: (part.written, str(part.path)))
