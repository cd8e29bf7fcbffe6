"""One shadow pipeline: a generator adapted to a part of the real images, and the images that it draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from understudy.core.executors.job import Job
from understudy.pipeline.adapt import adapt
from understudy.pipeline.context import Run
from understudy.pipeline.curate import curate
from understudy.pipeline.draw import draw
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.kept_files import keep_files, with_kept_files
from understudy.settings import Settings, with_section


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ShadowPipeline(Job):
    """A run up to its curated images, with some of the real images of another run.

    Attributes:
        folder: of this run, whose stage load is done.
        settings: of this run.
        images: the file for its curated images.
        device: torch device.
    """

    folder: Path
    settings: Settings
    images: Path
    device: str

    @property
    def name(self) -> str:
        return f"shadow {self.folder.name}"

    @property
    def threads(self) -> None:
        """A network that draws is large enough for all of them."""

    @property
    def reads(self) -> Sequence[Path]:
        return (self.folder,)

    @property
    def is_done(self) -> bool:
        """Whether the images are there."""
        return self.images.exists()

    def steps(self) -> Iterator[int]:
        """Adapt, draw and curate what is missing, and write the images; yields 1 at the end."""
        shadow = Run(RunFolder.open(self.folder, self.settings), self.device)
        for stage in (adapt, draw, curate):
            if shadow.folder.record(stage.__name__) is None:
                stage(shadow)
        shadow.sets.free_generators()  # otherwise those of all shadow pipelines pile up
        shadow.curated.save(self.images, in_one_file=True)  # which is there at once, or not at all
        yield 1


def begin(run: Run, folder: Path, members: np.ndarray, seed: int, images: Path) -> ShadowPipeline:
    """Make the folder of a shadow pipeline and store its real images.

    Args:
        run: the attacked one.
        folder: where the folder goes.
        members: indices of the train images of ``run`` that the generator learns from.
        seed: of the shadow pipeline.
        images: the file for its curated images.
    """
    # One worker does all of a pipeline, and others do other pipelines.
    settings = with_section(run.settings, "compute", executor="local").model_copy(update={"seed": seed})
    shadow = RunFolder.open(folder / f"pipeline-{seed}", settings)
    if shadow.record("load") is None:
        for data in (run.train.select(members), run.val, run.test):
            data.save(shadow.path / "data" / f"{data.split}.parquet")
        keep_files(with_kept_files(run.settings, run.path), shadow.path)
        with shadow.stage("load") as record:
            record |= run.recorded("load") | {"train": len(members)}
    return ShadowPipeline(folder=shadow.path, settings=settings, images=images, device=run.device)
