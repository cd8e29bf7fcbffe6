"""A generator that returns images made with another tool, such as a GAN."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.listing import listed, shortened
from understudy.data.labelled_set import LabelledSet
from understudy.data.labels import is_missing
from understudy.data.load import find_source
from understudy.data.pool import read_pool
from understudy.data.settings import DataSettings
from understudy.data.sources.source import Contents
from understudy.generators.generator import PlanRow
from understudy.generators.ready_made import AbstractReadyMade
from understudy.generators.settings import GeneratorSettings

if TYPE_CHECKING:
    from torch import Tensor

_USED = ("name", "images", "resolution", "licence")


@final
class FolderGenerator(AbstractReadyMade):
    """Returns ready-made images in order; it has no network and cannot start from real images.

    Image ``number`` of a class is the one at that position within the class. Several sets take turns; when
    one runs out, the others continue. If a set has splits, only its train split is used. Sets are read when
    they are first needed, and images stay encoded in memory.

    Args:
        settings: ``images`` and ``resolution`` are used.

    Raises:
        InputError: if a set does not exist or cannot be read, or for settings that have no effect here.
    """

    described: ClassVar[str] = "ready-made images (generator 'folder')"

    def __init__(self, settings: GeneratorSettings) -> None:
        self._settings = settings
        settings.check_only(_USED)
        for path in settings.images:
            if not path.exists():  # a word such as digits would otherwise mean the built-in real images
                raise InputError(
                    "generator.images must be folders, or .zip, .parquet or .tar files, but nothing is at "
                    f"{path}"
                )
            find_source(str(path.absolute()))

    @cached_property
    def image_size(self) -> int:
        """The resolution if it is set, otherwise the shorter side of the first image.

        Images of another size are resized and cropped.
        """
        return self._settings.resolution or min(self._sets[0].images.image(0).size)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the pixels of all images in the order of drawing, shortened."""
        digest = hashlib.sha256()
        for name in sorted(self._order):
            digest.update(name.encode())
            for number, row in self._order[name]:
                digest.update(self._sets[number].pixel_hashes[row].encode())
        return digest.hexdigest()[:16]

    def check_copies(self, held_out: Sequence[LabelledSet]) -> None:
        """Check that the ready-made images contain no held-out image.

        Args:
            held_out: real validation and test images.

        Raises:
            InputError: for exact copies of any of them.
        """
        made = {digest for ready in self._sets for digest in ready.pixel_hashes}
        for data in held_out:
            copies = [name for index, name in enumerate(data.ids) if data.pixel_hash(index) in made]
            if copies:
                raise InputError(
                    f"generated images must not be {data.split} images, but {len(copies)} of {len(data)} are "
                    f"exact copies ({listed(copies)}): remove them from generator.images"
                )

    def available(self, class_names: Sequence[str]) -> np.ndarray | None:
        """Number of images of each class in all sets, int64 (num_classes,).

        Raises:
            InputError: if a set has other classes, or cannot be read.
        """
        self._check_classes(class_names)
        return np.array([len(self._order[name]) for name in class_names], dtype=np.int64)

    def draw(
        self, rows: Sequence[PlanRow], sources: LabelledSet | None = None, tokens: Tensor | None = None
    ) -> np.ndarray:
        """Return the image at the class and number of each row.

        Args:
            rows: N rows; their prompts, seeds, samplers, steps and guidance have no effect.
            sources: real train images; the ready-made images must have their classes.
            tokens: must be None.

        Returns:
            uint8 of shape (N, 3, H, W).

        Raises:
            InputError: if a class has too few images, if a set has other classes or cannot be read, or for
                rows that start from a real image or are guided by one.
        """
        self._check_rows(rows, tokens)
        if sources is not None:
            self._check_classes(sources.class_names)
        places = [self._place(row) for row in rows]
        return np.concatenate(
            [self._sets[number].images.select([row]).pixels(self.image_size) for number, row in places]
        )

    @cached_property
    def _sets(self) -> list[_ReadySet]:
        return [_read(path) for path in self._settings.images]

    @cached_property
    def _order(self) -> dict[str, list[tuple[int, int]]]:
        """Images in the order of drawing, by class name, as (number of the set, row in the set)."""
        by_class: dict[str, list[list[tuple[int, int]]]] = {}
        for number, ready in enumerate(self._sets):
            names = ready.images.class_names
            rows: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
            for row, label in enumerate(ready.images.labels.tolist()):
                rows[names[label]].append((number, row))
            for name in names:
                by_class.setdefault(name, []).append(rows[name])
        return {
            name: [place for turn in zip_longest(*parts) for place in turn if place]
            for name, parts in by_class.items()
        }

    def _place(self, row: PlanRow) -> tuple[int, int]:
        order = self._order.get(row.class_name, [])
        if row.number >= len(order):
            raise InputError(
                f"generator.images must hold {row.number + 1} or more images of class {row.class_name!r}, "
                f"got {len(order)}: add images, or lower draw.per_class"
            )
        return order[row.number]

    def _check_classes(self, real: Sequence[str]) -> None:
        for ready in self._sets:
            if set(ready.images.class_names) != set(real):
                generated, wanted = (listed(sorted(names)) for names in (ready.images.class_names, real))
                raise InputError(
                    f"classes of the generated images in {ready.path} must be those of the real ones, got "
                    f"{generated} instead of {wanted}: rename or complete them"
                )


@final
@dataclass(frozen=True, eq=False)
class _ReadySet:
    """One set of ready-made images.

    Attributes:
        path: folder or file of the set.
        images: its images.
        pixel_hashes: a hash of the pixels of each image.
    """

    path: Path
    images: LabelledSet
    pixel_hashes: tuple[str, ...]


def _as_name(label: str | int | None) -> str | None:
    return None if is_missing(label) else str(label)


def _read(path: Path) -> _ReadySet:
    """Read a set in the same way as real images; a class that is a number gets this number as its name."""
    location = str(path.absolute())
    settings = DataSettings(source=location, skip_bad=True)
    try:
        contents = find_source(location).open(location, settings)
        if contents.class_names is None:
            named = (replace(item, label=_as_name(item.label)) for item in contents.items)
            contents = Contents(named, notes=contents.notes)
        pool = read_pool(contents, settings)
    except InputError as error:
        advice = "change these files, because the settings of data are for the real images alone"
        raise InputError(f"generator.images {path}: {error.problem}", error.advice and advice) from None
    if pool.skipped:
        bad = shortened([f"  {name}: {reason}" for name, reason in pool.skipped])
        lines = "\n".join(bad)
        raise InputError(
            f"generator.images {path}: every file must be a readable image, but {len(pool.skipped)} are "
            f"not:\n{lines}\nremove these files"
        )
    rows = [row for row, split in enumerate(pool.declared) if split in (None, "train")]
    if not rows:
        raise InputError(
            f"generator.images {path}: the train split must have images, because only it is used; got none"
        )
    hashes = tuple(pool.fingerprints.exact[row] for row in rows)
    return _ReadySet(path, pool.images.select(rows), hashes)
