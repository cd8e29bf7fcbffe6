"""The synthetic sets of a run: the set that arms share, and sets that strategies need.

The stage draw calls ``first``, then curate calls ``fill``; tune and compare call ``of_arm`` for every arm,
gap also ``named``, and scale calls ``fill`` for larger sets.

::

    synthetic/plan images/             drawn with the run's settings
    synthetic/supplies/HOW/plan ...    drawn with other settings, for instance noise_scale=1.1
    synthetic/curated.parquet          the set that arms share
    synthetic/variants/NAME.parquet    a set for arms with strategies; NAME.json says how it was made
    synthetic/weak-classes.json        images per class if draw.allocation is weak-classes
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, final

import numpy as np

from understudy.core.device_memory import release
from understudy.core.errors import InputError
from understudy.core.executors.executor import Terms
from understudy.core.files import REMOVE, read_json, read_list, write_json
from understudy.core.progress import Observer
from understudy.curation.curate import Curator, Decisions, Judgement
from understudy.curation.exhausted import explain_rejection
from understudy.curation.selections import candidates_wanted
from understudy.curation.settings import CurateSettings
from understudy.data.copies import CopyFinder
from understudy.data.labelled_set import LabelledSet
from understudy.functional.allocation import allocate_to_weak
from understudy.pipeline.classifiers import Classifiers
from understudy.pipeline.further_adaptation import adapt_further
from understudy.pipeline.generators import Generators
from understudy.pipeline.strategies import effective_settings, images_wanted, shots_of
from understudy.sampling.draw import Drawer
from understudy.sampling.plan import quotas
from understudy.sampling.settings import DrawSettings
from understudy.sampling.supply import Supply
from understudy.settings import Settings
from understudy.training.arms import find_arm

LEAST_PASSING = 0.25
"""A refill draws at most four times what is missing, whatever share of the images passed before."""


@final
@dataclass(frozen=True, kw_only=True)
class JudgedImages:
    """Drawn images, the decisions about them, and the number of rounds of drawing.

    Attributes:
        drawn: all images that were judged.
        decisions: which of them are kept, and why others are not.
        rounds: 1 plus the number of refills.
    """

    drawn: LabelledSet
    decisions: Decisions
    rounds: int

    @property
    def images(self) -> LabelledSet:
        """The kept images."""
        return self.decisions.curated(self.drawn)


@final
@dataclass(frozen=True, kw_only=True)
class CuratedSet:
    """The synthetic images that an arm learns from.

    Attributes:
        images: all of them.
        quota: images per class in use at the same time, int64 (num_classes,); None if the arm never refreshes
            them.
        record: how the images were made; empty for the set that arms share.
    """

    images: LabelledSet
    quota: np.ndarray | None = None
    record: dict[str, Any] = field(default_factory=dict)


@final
@dataclass(kw_only=True)
class SyntheticSets:
    """Draws and curates images, and keeps every set on disk.

    Attributes:
        folder: ``synthetic`` in the run folder.
        settings: of the run.
        train, val: real images.
        generators: draw the images.
        classifiers: judge the drawn images.
        observer: receives messages and progress.
        terms: of the executor that draws images.
    """

    folder: Path
    settings: Settings
    train: LabelledSet
    val: LabelledSet
    generators: Generators
    classifiers: Classifiers
    observer: Observer
    terms: Terms
    _supplies: dict[str, Supply] = field(default_factory=dict)

    @property
    def num_drawn(self) -> int:
        """Number of images that this object has drawn, without images found on disk."""
        return sum(supply.drawn for supply in self._supplies.values())

    @cached_property
    def curated(self) -> LabelledSet:
        """The curated images that arms share."""
        return LabelledSet.load(self.folder / "curated.parquet")

    @cached_property
    def copies(self) -> CopyFinder:
        """Finds copies of the train images."""
        return CopyFinder(self.train, self.val)

    @cached_property
    def curator(self) -> Curator:
        """Decides which drawn images are kept."""
        return Curator(train=self.train, val=self.val, networks=self.classifiers, copies=self.copies)

    def free_generators(self) -> None:
        """Give the memory of all generators back, before classifiers are trained for hours."""
        self._supplies.clear()
        self.generators.free()
        release()

    def first(self, settings: Settings, counts: np.ndarray) -> LabelledSet:
        """The first images of each class; missing ones are drawn, and several generators take turns."""
        members = settings.draw.members
        adapt_further(self.generators, members, self.terms)
        shares = [(counts + members - 1 - number) // members for number in range(members)]
        parts = [
            self._supply(settings, number).first(share) for number, share in enumerate(shares) if share.any()
        ]
        if len(parts) == 1:
            return parts[0]
        images = LabelledSet.concatenate(parts)
        numbers = np.array(images.provenance("number"), dtype=np.int64)
        return images.select(np.lexsort((numbers, images.labels)))  # stable: keeps the turns

    def fill(
        self,
        quota: np.ndarray,
        settings: Settings,
        *,
        at_least: np.ndarray | None = None,
        check: Callable[[Judgement, bool], object] = lambda judged, is_last: None,
    ) -> JudgedImages:
        """Draw, judge, and draw again until every class has its quota or no refill is left; then choose.

        Args:
            quota: wanted images per class, int64 (num_classes,).
            settings: how images are drawn and chosen, and how many refills are allowed.
            at_least: images per class to draw in the first round, even if the quota needs fewer.
            check: called after each round, with whether it is the last; may raise.
        """
        curate = settings.curate
        needed = candidates_wanted(quota, curate)
        counts = needed if at_least is None else np.maximum(needed, at_least)
        rounds = 0
        while True:
            drawn = self.first(settings, counts)
            judged = self.curator.judge(drawn, curate)
            rounds += 1
            missing = np.maximum(needed - judged.num_good, 0)
            is_done = (drawn.counts < counts) | (missing == 0)  # a folder of ready-made images can run out
            is_last = rounds > curate.max_refills or bool(is_done.all())
            check(judged, is_last)
            if is_last:
                decisions = self.curator.choose(judged, drawn, quota, curate)
                return JudgedImages(drawn=drawn, decisions=decisions, rounds=rounds)
            passing = np.maximum(judged.num_good / np.maximum(drawn.counts, 1), LEAST_PASSING)
            counts = counts + np.ceil(missing / passing).astype(np.int64)

    def allocate(self, quota: np.ndarray, synthetic: LabelledSet, *, again: bool = False) -> np.ndarray:
        """Shift images to the classes that a classifier trained on ``synthetic`` confuses; the total stays.

        The result is stored, so that all arms share it; ``again`` replaces the stored result.
        """
        path = self.folder / "weak-classes.json"
        if again or not path.exists():
            errors = self.classifiers.mistakes_after(synthetic)
            write_json(path, allocate_to_weak(quota, errors, self.val.counts).tolist())
        return np.array(read_list(path, mend=REMOVE), dtype=np.int64)

    def of_arm(
        self, name: str, *, base: Settings | None = None, shared: LabelledSet | None = None, place: str = ""
    ) -> CuratedSet:
        """The curated set of an arm: the shared set, or another one if its strategies need other images.

        Args:
            name: of the arm.
            base: settings that the strategies override; by default those of the run.
            shared: the set that ``base`` describes; by default the run's curated set.
            place: prefix of the names of sets with another base, such as ``gap/``.
        """
        base = self.settings if base is None else base
        needed = effective_settings(name, base, shots=shots_of(self.train))
        arm = find_arm(name, base.compare)
        refreshes = any(phase.refresh_every is not None for phase in arm.phases)
        if needed.settings == base and not refreshes:
            return CuratedSet(images=self.curated if shared is None else shared)
        quota = quotas(self.train, needed.settings.draw)
        if needed.settings.draw.allocation == "weak-classes":
            quota = self.allocate(quota, self.curated)
        wanted = images_wanted(name, base, num_real=len(self.train), quota=quota)
        if refreshes and not (wanted > quota).any():
            self.observer.say(
                f"{name}: every refresh repeats the same images; raise draw.refresh_times or compare.steps"
            )
        key = place + "+".join([*needed.changing, *([f"refresh-{wanted.sum()}"] if refreshes else [])])
        found = self.named(key, wanted, needed.settings)
        in_use = np.minimum(quota, found.images.counts) if refreshes else None
        return CuratedSet(images=found.images, quota=in_use, record={"variant": key, **found.record})

    def named(self, name: str, quota: np.ndarray, settings: Settings) -> CuratedSet:
        """The curated set with this name, drawn if it is not on disk.

        Raises:
            InputError: if no image passes curation.
        """
        path = self.folder / "variants" / f"{name}.parquet"
        record_path = path.with_name(f"{path.stem}.json")
        if not (record_path.exists() and path.exists()):
            start, before = time.monotonic(), self.num_drawn
            made = self.fill(quota, settings)
            self._check_some_kept(made, quota, settings.curate, name=name)
            made.images.save(path)
            record = _record(made, quota, has_copies=settings.curate.firewall != "off")
            write_json(
                record_path,
                {
                    "seconds": round(time.monotonic() - start, 2),
                    "judged": len(made.drawn),
                    "drawn": self.num_drawn - before,
                    **record,
                },
            )
        record = read_json(record_path, mend=REMOVE, keys=("kept",))
        return CuratedSet(images=LabelledSet.load(path), record=record)

    def _check_some_kept(
        self, made: JudgedImages, quota: np.ndarray, curate: CurateSettings, *, name: str
    ) -> None:
        """Report rejected images, and raise an error if none is left."""
        problem = explain_rejection(
            made.decisions, quota, class_names=self.train.class_names, settings=curate, rounds=made.rounds
        )
        if problem is not None and not made.decisions.kept.any():
            raise InputError(
                f"no image for the arms with {name} passes curation: {problem}; or leave the strategy out "
                "and set curate.score for all arms"
            )
        if problem is not None:
            self.observer.say(f"{name}: {problem}")

    def _supply(self, settings: Settings, number: int) -> Supply:
        """The images that generator ``number`` draws with these settings."""
        draw, generators, how = settings.draw, self.generators, dict[str, object]()
        is_control = not generators.draws_for(settings)
        if is_control:
            generators = generators.of_control(settings)
        if is_control and settings.generator.is_ready_made:
            how["ready-made"] = settings.generator.name
        else:
            names = DrawSettings.names_deciding("pixels")
            changed = [name for name in names if getattr(draw, name) != getattr(self.settings.draw, name)]
            how = {name: getattr(draw, name) for name in changed}
            how |= {"control": "unadapted"} if is_control else {}
        if number:
            how["member"] = number
        key = "+".join(f"{name}={value}" for name, value in how.items())
        if key not in self._supplies:
            self._supplies[key] = Supply(
                self.folder / "supplies" / key if key else self.folder,
                partial(generators.planner, draw, number),
                Drawer(
                    networks=generators,
                    number=number,
                    train=self.train,
                    batch_size=self.settings.draw.batch_size,
                ),
                part_size=self.settings.draw.part_size,
                device=generators.device,
                terms=self.terms,
                observer=self.observer,
            )
        return self._supplies[key]


def _record(made: JudgedImages, quota: np.ndarray, *, has_copies: bool) -> dict[str, Any]:
    decisions = made.decisions
    kept = np.bincount(decisions.labels[decisions.kept], minlength=len(quota))
    return {
        "kept": int(kept.sum()),
        "missing": int(np.maximum(quota - kept, 0).sum()),
        "threshold": decisions.threshold,
        "rejected": decisions.rejections,
        "copies": decisions.num_copies if has_copies else None,
    }
