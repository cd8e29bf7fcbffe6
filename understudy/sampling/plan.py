"""The plan: one row per image to draw, split into parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from understudy.core.errors import InputError
from understudy.core.files import REMOVE, readable, write_atomically
from understudy.core.listing import listed
from understudy.data.captions.captions import captions_of
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import Generator, PlanRow
from understudy.generators.prompts import choose, fill, read_templates
from understudy.sampling.settings import DrawSettings

_COLUMNS = tuple(field.name for field in fields(PlanRow))


def quotas(train: LabelledSet, settings: DrawSettings) -> np.ndarray:
    """How many synthetic images each class should have, int64 (num_classes,).

    Raises:
        InputError: if ``draw.of_classes`` names a class that is not there.
    """
    if settings.per_class is not None:
        found = np.full(train.num_classes, settings.per_class, dtype=np.int64)
    else:
        found = np.maximum(settings.min_per_class, times_of(train, settings.times))
    for name, number in settings.of_classes.items():
        found[_label_of(name, train.class_names)] = number
    return found


def _label_of(name: str, class_names: Sequence[str]) -> int:
    if name not in class_names:
        raise InputError(f"draw.of_classes must name classes, {listed(class_names)}, got {name!r}")
    return class_names.index(name)


def times_of(train: LabelledSet, times: float) -> np.ndarray:
    """The number of train images of each class, multiplied by ``times`` and rounded, int64 (num_classes,)."""
    counts: np.ndarray = np.round(train.counts * times).astype(np.int64)
    return counts


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Planner:
    """Plans what a generator draws.

    A row depends only on the seed of the run and on its id, so a larger plan contains the smaller one.

    Attributes:
        train: real train images. A row takes start, caption, feature and exemplar from images of its class,
            each of which is used equally often.
        generator: the generator that will draw.
        settings: prompts, sampler, start and so on.
        prompt_names: words for the classes in prompts, by label.
        seed: of the run.
        tokens: the learned token of each class, by label; empty without learned tokens.
        visual: kind of visual guidance.
        generator_number: number of the generator, if several share the work.
        adapter: fingerprint of the generator's adapter.
        precision: number format in which the generator will multiply.
    """

    train: LabelledSet
    generator: Generator
    settings: DrawSettings
    prompt_names: Sequence[str]
    seed: int
    tokens: Sequence[str] = ()
    visual: str = "none"
    generator_number: int = 0
    adapter: str = ""
    precision: str = "float32"

    def rows(self, start: np.ndarray, stop: np.ndarray) -> Iterator[PlanRow]:
        """Rows for the images ``start`` to ``stop`` of each class, classes in order, one at a time.

        Args:
            start: number of each class's first image, int (num_classes,).
            stop: number after each class's last image, int (num_classes,).

        Raises:
            InputError: for a set that is not the train split, a class without a real image where one is
                needed, or a sampler or start that does not fit the generator.
        """
        self.train.check_split("train", purpose="planning what to draw")
        _ = self._strengths  # reports a sampler that does not fit the generator, before anything else
        for label in range(len(stop)):
            yield from self._class_rows(label, int(start[label]), int(stop[label]))

    def check(self, start: np.ndarray, stop: np.ndarray) -> None:
        """Check that all these rows can be planned, and that the generator can read their prompts.

        Raises:
            InputError: as :meth:`rows`, and for a prompt that does not fit the generator.
        """
        prompts, negatives = set[str](), set[str]()
        for row in self.rows(start, stop):
            prompts.add(row.prompt)
            negatives.add(row.negative_prompt)
        self.generator.check_prompts(sorted(prompts), keep_last=self.visual != "none")
        self.generator.check_prompts(sorted(negatives), keep_last=False)

    def _class_rows(self, label: int, start: int, stop: int) -> Iterator[PlanRow]:
        images = self._of_class[label]
        if stop and not len(images):
            self._check_without_images(self.train.class_names[label])
        pairing = _Pairing(images, self.settings.pairing, (self.seed, label, self.generator_number))
        return (self._row(label, number, pairing) for number in range(start, stop))

    def _check_without_images(self, class_name: str) -> None:
        """Check that a class without train images needs only its name to be drawn."""
        needs = {
            "draw.strength below 1 starts from real images": min(self._strengths) < 1,
            "visual guidance needs real images": self.visual != "none",
            "draw.exemplar_weight above 0 needs real images": self.settings.exemplar_weight > 0,
            "a prompt with {caption} needs real images": self._is_captioned,
        }
        for reason, applies in needs.items():
            if applies:
                raise InputError(f"{reason}, and class {class_name!r} has none in the train split")

    def _row(self, label: int, number: int, pairing: _Pairing) -> PlanRow:
        identity = f"synthetic-{label:04d}-{self.generator_number:02d}-{number:06d}"
        seed = _row_seed(self.seed, identity)
        prompts, negatives = self._templates
        words, token = self.prompt_names[label], self.tokens[label] if any(self.tokens) else ""
        caption = self._captions[pairing.image("caption", number)] if self._is_captioned else ""
        settings, ids, strength = self.settings, self._ids, self._strength(label, number)
        return PlanRow(
            id=identity,
            number=number,
            label=label,
            class_name=self.train.class_names[label],
            prompt=fill(choose(prompts, seed), words=words, caption=caption, token=token),
            negative_prompt=fill(choose(negatives, seed + 1), words=words, caption=caption),
            seed=seed,
            sampler=settings.sampler,
            steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            noise_scale=settings.noise_scale,
            strength=strength,
            source_id=ids[pairing.image("start", number)] if strength < 1 else "",
            visual=self.visual,
            visual_id=ids[pairing.image("feature", number)] if self.visual == "per-image" else "",
            adapter=self.adapter,
            adapter_scale=settings.adapter_scale,
            precision=self.precision,
            exemplar_id=ids[pairing.exemplar(number, settings.exemplars)] if settings.exemplar_weight else "",
            exemplar_weight=settings.exemplar_weight,
            exemplar_every=settings.exemplar_every if settings.exemplar_weight else 1,  # as in older plans
        )

    @cached_property
    def _strengths(self) -> tuple[float, ...]:
        """Strengths of the start; the generator is called in any case, because it also checks the sampler."""
        draw = self.settings
        found = self.generator.strength_at(draw.start_snr or 1.0, sampler=draw.sampler, steps=draw.steps)
        return draw.strengths if draw.start_snr is None else (found,)

    def _strength(self, label: int, number: int) -> float:
        """Strength of an image; as many images in a row as there are strengths have each of them once.

        The order is random, so that a real image is not always noised alike.
        """
        strengths = self._strengths
        if len(strengths) == 1:
            return strengths[0]
        block, place = divmod(number, len(strengths))
        words = [self.seed, label, self.generator_number, block, *b"strength"]
        return strengths[int(np.random.default_rng(words).permutation(len(strengths))[place])]

    @cached_property
    def _templates(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Templates of prompts and of negative prompts; ``{class}`` is optional if each class has a token."""
        has_token = any(self.tokens)
        needs_class = not (has_token and len(set(self.tokens)) == len(self.tokens))
        prompts = read_templates(self.settings.prompt, needs_class=needs_class, has_token=has_token)
        return prompts, read_templates(self.settings.negative_prompt, needs_class=False)

    @cached_property
    def _of_class(self) -> list[np.ndarray]:
        """The train images of each class, in order."""
        ends = np.cumsum(self.train.counts)[:-1]
        return np.split(np.argsort(self.train.labels, kind="stable"), ends)

    @cached_property
    def _ids(self) -> list[str]:
        return self.train.ids

    @cached_property
    def _captions(self) -> Sequence[str]:
        return captions_of(self.train)

    @cached_property
    def _is_captioned(self) -> bool:
        """Whether prompts have captions: a template has ``{caption}``, and some image has a caption."""
        return any("{caption}" in text for templates in self._templates for text in templates) and any(
            self._captions
        )


@final
class _Pairing:
    """Assigns real images to start, caption, feature and exemplar of the rows of a class with n real images.

    Every n rows use each image once. ``paired`` uses the same order for all of them: that of
    the train set for the first generator, a fixed shuffled order for each further one. ``random`` shuffles
    the images for each of them separately, and again after every n rows.
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

    def exemplar(self, number: int, limit: int | None) -> int:
        """Index into the train set; with a limit, the first images of the order take turns."""
        count = len(self._images) if limit is None else min(limit, len(self._images))
        return self.image("exemplar", number if limit is None else number % count)

    def _order(self, part: str, fold: int) -> np.ndarray:
        if not self._random and self._seed[-1] == 0:
            return self._images
        words = [*self._seed, fold, *part.encode()]
        return np.random.default_rng(words).permutation(self._images)


def write_parts(rows: Iterable[PlanRow], folder: Path, *, part_size: int) -> list[Path]:
    """Write ``part-00000.parquet`` and so on, ``part_size`` rows each, and return their paths.

    The rows of one part are in memory at a time.

    Existing parts are kept; they must hold the same rows, but may name another precision, which then counts:
    with ``draw.precision=auto`` it follows from the machine that made the plan.

    Raises:
        InputError: if an existing part differs.
    """
    waiting, paths = iter(rows), list[Path]()
    while part := list(islice(waiting, part_size)):
        path = folder / f"part-{len(paths):05d}.parquet"
        if path.exists():
            if _without_precision(read_part(path)) != _without_precision(part):
                raise InputError(f"{path} holds a different plan: choose another --out")
        else:
            table = pa.table({name: [getattr(row, name) for row in part] for name in _COLUMNS})
            write_atomically(path, partial(pq.write_table, table))
        paths.append(path)
    return paths


def num_rows(path: Path) -> int:
    """The number of rows of one part.

    Raises:
        InputError: if the file is damaged.
    """
    with readable(path, mend=REMOVE):
        return int(pq.read_metadata(path).num_rows)


def read_part(path: Path) -> list[PlanRow]:
    """Read the rows of one part.

    Raises:
        InputError: if the file is damaged, or an older version wrote it.
    """
    with readable(path, mend=REMOVE):
        table = pq.read_table(path)
    names = [name for name in _COLUMNS if name in table.column_names]
    required = {field.name for field in fields(PlanRow) if field.default is MISSING}
    if missing := sorted(required - set(names)):
        raise InputError(
            f"{path} was written by an older version of understudy (no {', '.join(missing)}): use another "
            "folder"
        )
    return [PlanRow(**{name: row[name] for name in names}) for row in table.to_pylist()]


def _without_precision(rows: Sequence[PlanRow]) -> list[PlanRow]:
    return [replace(row, precision="") for row in rows]


def batches(rows: Sequence[PlanRow], batch_size: int) -> Iterator[list[PlanRow]]:
    """Split rows, in order, into batches of rows with the same :attr:`PlanRow.shared`."""
    batch: list[PlanRow] = []
    for row in rows:
        if batch and (len(batch) == batch_size or row.shared != batch[0].shared):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _row_seed(seed: int, identity: str) -> int:
    """63 bits that depend only on the seed of the run and the id of the row."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{identity}".encode()).digest()[:8]) >> 1
