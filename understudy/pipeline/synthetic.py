"""The synthetic sets of a run: the curated one that arms share, and others where an arm's strategies ask for them.

::

    synthetic/plan images/             what was drawn as the run's settings say
    synthetic/supplies/HOW/plan ...    what was drawn otherwise, for instance noise_scale=1.1
    synthetic/variants/NAME.parquet    a curated set for arms with strategies, and NAME.json, how it came about
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.files import write_json
from understudy.core.progress import Observer
from understudy.curation.curate import Curator, Decisions
from understudy.curation.exhausted import explain_rejection
from understudy.curation.scores import Networks
from understudy.curation.selections import candidates_wanted
from understudy.curation.settings import CurateSettings
from understudy.data.copies import CopyFinder
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import Generator
from understudy.generators.visual_guidance import VisualGuidance
from understudy.sampling.plan import Planner, quotas
from understudy.sampling.settings import DrawSettings
from understudy.sampling.supply import Supply
from understudy.settings import Settings, build, differing_keys
from understudy.training.arms import find_arm
from understudy.training.refresh import images_needed
from understudy.training.strategies import STRATEGIES, split_name

_LEAST_PASSING = 0.25  # a refill is no more than four times what is missing
HOW_DRAWN = DrawSettings.names_deciding("pixels")
"""Settings that decide what an image looks like; the others decide how many images there are."""


class Help(Networks, Protocol):
    """What a set needs from the run besides its images; each is made when it is first asked for."""

    def generator(self, member: int) -> Generator:
        """Adapted, 0 is the run's own; others have other seeds."""

    def fingerprint(self, member: int) -> str:
        """Of its adapter; empty without one."""

    def visual(self) -> VisualGuidance | None:
        """Features that guide drawing."""

    def allocate(self, quota: np.ndarray) -> np.ndarray:
        """The same number of images with more for weak classes."""


@final
@dataclass(frozen=True, kw_only=True)
class Filled:
    """A curated set and how it came about.

    Attributes:
        drawn: all images that were judged.
        decisions: about them.
        rounds: how often images were taken from the supply; 1 without refills.
    """

    drawn: LabelledSet
    decisions: Decisions
    rounds: int

    @property
    def curated(self) -> LabelledSet:
        """The kept images."""
        return self.decisions.curated(self.drawn)


@final
@dataclass(frozen=True, kw_only=True)
class ArmImages:
    """What an arm sees of synthetic images.

    Attributes:
        images: all of them.
        quota: images per class in use at once, int64 (num_classes,), where the arm refreshes them; else None.
        record: how they came about; empty for the set that arms share.
    """

    images: LabelledSet
    quota: np.ndarray | None
    record: dict[str, Any]


@final
@dataclass(kw_only=True)
class SyntheticSets:
    """Draws and curates, and keeps what is there.

    Attributes:
        folder: ``synthetic`` in the run folder.
        settings: of the run.
        train, val: real images.
        prompt_names: words for classes in prompts.
        help: what else is needed.
        observer: is told of what is drawn.
    """

    folder: Path
    settings: Settings
    train: LabelledSet
    val: LabelledSet
    prompt_names: tuple[str, ...]
    help: Help
    observer: Observer
    _supplies: dict[str, Supply] = field(default_factory=dict)

    @property
    def drawn(self) -> int:
        """Images that were drawn so far, and not found."""
        return sum(supply.drawn for supply in self._supplies.values())

    @cached_property
    def copies(self) -> CopyFinder:
        """Finds copies of the train images."""
        return CopyFinder(self.train, self.val)

    @cached_property
    def curator(self) -> Curator:
        """Decides which drawn images are kept."""
        return Curator(train=self.train, val=self.val, networks=self.help, copies=self.copies)

    def take(self, draw: DrawSettings, counts: np.ndarray) -> LabelledSet:
        """The first images of each class that are drawn in this way, by class and number; several generators take turns."""
        shares = [(counts + draw.members - 1 - member) // draw.members for member in range(draw.members)]
        parts = [self._supply(draw, member).take(share) for member, share in enumerate(shares) if share.any()]
        if len(parts) == 1:
            return parts[0]
        images = LabelledSet.concatenate(parts)
        numbers = np.array(images.table.column("number").to_pylist(), dtype=np.int64)
        return images.select(np.lexsort((numbers, images.labels)))  # stable: members in turn

    def fill(self, quota: np.ndarray, *, draw: DrawSettings, curate: CurateSettings, taken: np.ndarray | None = None) -> Filled:
        """Judge what is drawn, and draw more until every class has what it needs or the refills are used up.

        Args:
            quota: wanted images per class.
            draw: how they are drawn.
            curate: how they are chosen, and how often missing ones are drawn anew.
            taken: images per class to begin with, if more than wanted.
        """
        needed = candidates_wanted(quota, curate)
        counts = needed if taken is None else np.maximum(needed, taken)
        rounds = 0
        while True:
            drawn = self.take(draw, counts)
            decisions = self.curator.decide(drawn, quota, curate)
            rounds += 1
            missing = np.maximum(needed - decisions.num_good, 0)
            is_exhausted = (drawn.counts < counts) | (missing == 0)  # a folder of ready-made images has no more
            if rounds > curate.max_refills or is_exhausted.all():
                return Filled(drawn=drawn, decisions=decisions, rounds=rounds)
            passing = np.maximum(decisions.num_good / np.maximum(drawn.counts, 1), _LEAST_PASSING)
            counts = counts + np.ceil(missing / passing).astype(np.int64)

    def check(self, filled: Filled, quota: np.ndarray, curate: CurateSettings, *, variant: str) -> None:
        """Say which classes of a variant have nothing.

        Raises:
            InputError: if none has anything.
        """
        problem = explain_rejection(filled.decisions, quota, class_names=self.train.class_names, settings=curate, rounds=filled.rounds)
        if problem is not None and not filled.decisions.kept.any():
            raise InputError(f"the images of arms with {variant}: {problem}; or leave the strategy out, and set curate.score for all arms")
        if problem is not None:
            self.observer.say(f"{variant}: {problem}")

    def of_arm(self, name: str, shared: Callable[[], LabelledSet], *, base: Settings | None = None, place: str = "") -> ArmImages:
        """The images of an arm: those that arms share unless its strategies change them.

        Args:
            name: of the arm.
            shared: gives the set of ``base``.
            base: settings that strategies change; the run's own if not given.
            place: where variants of another base are kept, such as ``gap/``.
        """
        base = self.settings if base is None else base
        changed, strategies = arm_settings(name, base, shots=shots_of(self.train))
        arm = find_arm(name, base.compare)
        refreshes = any(phase.refresh_every is not None for phase in arm.phases)
        if changed == base and not refreshes:
            return ArmImages(images=shared(), quota=None, record={})
        quota = quotas(self.train, changed.draw)
        if changed.draw.allocation == "weak-classes":
            quota = self.help.allocate(quota)
        wanted = images_needed(arm, base.compare, num_real=len(self.train), quota=quota)
        wanted = np.minimum(wanted, np.ceil(quota * base.draw.refresh_times).astype(np.int64))
        if refreshes and not (wanted > quota).any():
            self.observer.say(f"{name}: no image is ever replaced by a fresh one; raise draw.refresh_times or compare.steps")
        key = place + "+".join([*strategies, *([f"refresh-{wanted.sum()}"] if refreshes else [])])
        found = self.variant(key, wanted, draw=changed.draw, curate=changed.curate)
        in_use = np.minimum(quota, found.images.counts) if refreshes else None
        return ArmImages(images=found.images, quota=in_use, record={"variant": key, **found.record})

    def variant(self, name: str, quota: np.ndarray, *, draw: DrawSettings, curate: CurateSettings) -> ArmImages:
        """A curated set of its own, drawn and chosen once.

        Raises:
            InputError: if no image passes.
        """
        path = self.folder / "variants" / f"{name}.parquet"
        record_path = path.with_name(f"{path.stem}.json")
        if not record_path.exists():
            start, before = time.monotonic(), self.drawn
            filled = self.fill(quota, draw=draw, curate=curate)
            self.check(filled, quota, curate, variant=name)
            filled.curated.save(path)
            kept = np.bincount(filled.decisions.labels[filled.decisions.kept], minlength=len(quota))
            record = {
                "seconds": round(time.monotonic() - start, 2),
                "judged": len(filled.drawn),
                "drawn": self.drawn - before,
                "kept": int(kept.sum()),
                "missing": int(np.maximum(quota - kept, 0).sum()),
                "threshold": filled.decisions.threshold,
                "rejected": filled.decisions.rejections,
                "copies": None if curate.firewall == "off" else filled.decisions.num_copies,
            }
            write_json(record_path, record)
        record = dict(json.loads(record_path.read_text(encoding="utf-8")))
        return ArmImages(images=LabelledSet.load(path), quota=None, record=record)

    def _supply(self, draw: DrawSettings, member: int) -> Supply:
        how = {key: getattr(draw, key) for key in HOW_DRAWN if getattr(draw, key) != getattr(self.settings.draw, key)}
        if member:
            how["member"] = member
        key = "+".join(f"{name}={value}" for name, value in how.items())
        if key not in self._supplies:
            planner = planner_of(
                self.settings.model_copy(update={"draw": draw}),
                self.train,
                generator=self.help.generator(member),
                prompt_names=self.prompt_names,
                adapter=self.help.fingerprint(member),
                generator_number=member,
            )
            self._supplies[key] = Supply(
                self.folder / "supplies" / key if key else self.folder, planner,
                visual=self.help.visual, part_size=self.settings.draw.part_size, batch_size=self.settings.draw.batch_size,
                observer=self.observer,
            )  # fmt: skip
        return self._supplies[key]


def planner_of(
    settings: Settings,
    train: LabelledSet,
    *,
    generator: Generator,
    prompt_names: tuple[str, ...],
    adapter: str,
    generator_number: int = 0,
) -> Planner:
    """The planner of a run's images.

    Args:
        settings: of the run.
        train: real train images.
        generator: that will draw.
        prompt_names: words for classes.
        adapter: fingerprint of the adapter.
        generator_number: number of the generator.
    """
    return Planner(
        train=train,
        generator=generator,
        settings=settings.draw,
        prompt_names=prompt_names,
        seed=settings.seed,
        tokens=settings.adapt.tokens(train.num_classes),
        visual=settings.visual.when_drawing,
        generator_number=generator_number,
        adapter=adapter,
    )


def shots_of(train: LabelledSet) -> int:
    """Images of the smallest class that has any, which is what strategies go by."""
    return int(train.counts[train.counts > 0].min())


def check_strategies(name: str, base: Settings) -> None:
    """Refuse strategies that cannot be however many images there are; whether they change anything, :func:`arm_settings` says.

    Args:
        name: of the arm.
        base: settings to change.

    Raises:
        InputError: for a strategy that does not fit the settings or another one.
    """
    _change(name, base, shots=1)


def settings_of_arms(settings: Settings, train: LabelledSet) -> list[Settings]:
    """Those of every arm that a run compares or audits, each with what its strategies change.

    Args:
        settings: of the run.
        train: real images.

    Raises:
        InputError: as :func:`arm_settings`.
    """
    audited = settings.membership.arms if settings.membership.measure else ()
    return [arm_settings(name, settings, shots=shots_of(train))[0] for name in dict.fromkeys([*settings.compare.arms, *audited])]


def arm_settings(name: str, base: Settings, *, shots: int) -> tuple[Settings, list[str]]:
    """Settings with what an arm's strategies change of its images, and the names of the strategies that change any.

    Args:
        name: of the arm.
        base: settings to change.
        shots: train images of the smallest class.

    Raises:
        InputError: for a strategy that does not fit the settings or another one, or changes nothing.
    """
    changed, idle, strategies = _change(name, base, shots=shots)
    if idle:
        raise InputError(f"the strategy {idle[0]!r} of the arm {name!r} has no effect: images are drawn and chosen so for every arm")
    return changed, strategies


def is_idle(name: str, base: Settings, *, shots: int) -> bool:
    """Whether a strategy of an arm is to change its images and does not; see :func:`arm_settings`."""
    return bool(_change(name, base, shots=shots)[1])


def _change(name: str, base: Settings, *, shots: int) -> tuple[Settings, list[str], list[str]]:
    """Changed settings, the strategies that are to change images and do not, and those that do."""
    changed, idle, by_key = base, list[str](), dict[str, str]()
    for strategy in split_name(name)[1]:
        overrides = STRATEGIES[strategy].overrides
        if overrides is None:
            continue
        new = build(changed.model_dump(), overrides(changed.generator, changed.draw, shots))
        keys = differing_keys(changed, new)
        if not keys:
            idle.append(strategy)
        if taken := [key for key in keys if key in by_key]:
            raise InputError(
                f"the strategies {by_key[taken[0]]!r} and {strategy!r} of the arm {name!r} both set {taken[0]}: take one of them"
            )
        changed, by_key = new, by_key | dict.fromkeys(keys, strategy)
    return changed, idle, list(dict.fromkeys(by_key.values()))
