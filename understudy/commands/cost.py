"""What a run will cost: how often it does what, times how long each takes here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast, final

import numpy as np

from understudy.curation.scores import SCORES
from understudy.curation.selections import candidates_wanted
from understudy.curation.settings import CurateSettings
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits
from understudy.data.splits import take_share
from understudy.evaluation.shift_tests import load_test_set
from understudy.pipeline.gap_sets import as_many_as_real, gap_sets, redrawn_sets
from understudy.pipeline.synthetic import HOW_DRAWN, arm_settings, shots_of
from understudy.sampling.plan import quotas, times_of
from understudy.sampling.settings import DrawSettings
from understudy.settings import Settings
from understudy.training.arms import find_arm
from understudy.training.refresh import images_needed
from understudy.training.tune import pairs


@final
@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long things take on this machine, in seconds, and how large they are, in bytes.

    Attributes:
        adaptation: one adaptation of the generator, 0 if it is used as it is.
        image: drawing an image as the settings say.
        strength: how far such an image starts from noise, 0 to 1.
        step: an optimisation step of a classifier.
        private_step: the same of the differentially private reference; 0 if there is none.
        prediction: asking a classifier about an image.
        corruption: reading and changing a test image; 0 if none is changed.
        image_bytes, classifier_bytes: on disk.
    """

    adaptation: float
    image: float
    strength: float
    step: float
    private_step: float
    prediction: float
    corruption: float
    image_bytes: float
    classifier_bytes: float


@final
@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run will take.

    Attributes:
        seconds: by stage; only of stages that are asked for.
        images: synthetic images of the first round.
        images_per_second: measured.
        disk_mb: all synthetic images and the classifiers of compared arms on disk.
    """

    seconds: dict[str, float]
    images: int
    images_per_second: float
    disk_mb: float

    def rows(self) -> list[tuple[str, str]]:
        """For a table."""
        drawn = f" for {self.images} images at {self.images_per_second:.1f} images/s"
        return [
            *((stage, _duration(seconds) + (drawn if stage == "draw" else "")) for stage, seconds in self.seconds.items()),
            ("total", _duration(sum(self.seconds.values()))),
            ("disk", f"{self.disk_mb:.1f} MB of synthetic images and classifiers"),
        ]


def estimate(settings: Settings, splits: Splits, pace: Pace) -> Estimate:
    """Count what a run will do, and how long that will take; see docs/concepts.md for what is left out.

    Args:
        settings: of the run.
        splits: its real images.
        pace: measured.

    Raises:
        InputError: for strategies or further test sets that do not fit.
    """
    costs = _Costs(settings, splits, pace, _CountedSets(settings, splits.train, pace))
    first = costs.draw()
    seconds = {
        "adapt": settings.draw.members * pace.adaptation,
        "draw": first * pace.image,
        "curate": costs.judge(),
        "strategies": costs.strategies(),
        "tune": costs.tune(),
        "compare": costs.compare(),
        "scale": costs.scale(),
        "gap": costs.gap() if settings.gap.measure else 0.0,
        "shift": costs.shift() if settings.shift.measure else 0.0,
        "membership": costs.membership() if settings.membership.measure else 0.0,
    }
    kept = len(costs.arms) * (settings.compare.num_seeds + 1)  # every training, and the best of each arm once more
    return Estimate(
        seconds={stage: value for stage, value in seconds.items() if value or stage in ("adapt", "draw", "compare")},
        images=first,
        images_per_second=1 / pace.image,
        disk_mb=(costs.sets.images * pace.image_bytes + kept * pace.classifier_bytes) / 1e6,
    )


@final
@dataclass
class _CountedSets:
    """Takes the place of :class:`understudy.pipeline.synthetic.SyntheticSets` and draws nothing: counts what would be drawn.

    Attributes:
        settings: of the run.
        train: real images.
        pace: measured.
        seconds: of what was drawn so far, with the adaptation of further generators.
        images: how many that are.
    """

    settings: Settings
    train: LabelledSet
    pace: Pace
    seconds: float = 0.0
    images: int = 0
    _supplies: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def variant(self, name: str, quota: np.ndarray, *, draw: DrawSettings, curate: CurateSettings) -> None:
        """A curated set; images that an earlier one drew in the same way are there already."""
        counts, how = candidates_wanted(quota, curate), draw.model_dump_json(include=set(HOW_DRAWN))
        strength = draw.strength if draw.start_snr is None else self.pace.strength
        for member in range(draw.members):
            share = (counts + draw.members - 1 - member) // draw.members
            have = self._supplies.get((how, member), np.zeros_like(share))
            new = int((share - have).clip(min=0).sum())
            if member >= self.settings.draw.members and member not in {known for _, known in self._supplies}:
                self.seconds += self.pace.adaptation
            self._supplies[how, member] = np.maximum(have, share)
            self.images += new
            self.seconds += new * self.pace.image * strength / self.pace.strength

    def of_arm(self, name: str, shared: Callable[[], Any], *, base: Settings | None = None, place: str = "") -> None:
        """The images of an arm."""
        base = self.settings if base is None else base
        changed, _ = arm_settings(name, base, shots=shots_of(self.train))
        quota = quotas(self.train, changed.draw)
        wanted = images_needed(find_arm(name, base.compare), base.compare, num_real=len(self.train), quota=quota)
        wanted = np.minimum(wanted, np.ceil(quota * base.draw.refresh_times).astype(np.int64))
        self.variant(name, wanted, draw=changed.draw, curate=changed.curate)


@final
@dataclass(frozen=True)
class _Costs:
    """Seconds of each stage; to be asked in the order of the stages, as later ones find what earlier ones drew."""

    settings: Settings
    splits: Splits
    pace: Pace
    sets: _CountedSets

    @property
    def train(self) -> LabelledSet:
        return self.splits.train

    @property
    def arms(self) -> list[str]:
        """Arms that are compared."""
        return list(dict.fromkeys(["real", *self.settings.compare.arms]))

    def draw(self) -> int:
        """Images of the first round."""
        draw, curate = self.settings.draw, self.settings.curate
        self.sets.variant("curated", quotas(self.train, draw), draw=draw, curate=curate)
        return self.sets.images

    def judge(self) -> float:
        """The classifier that scores drawn images, where one does."""
        score = self.settings.curate.score
        return self._training("real") if score != "none" and SCORES[score].judge == "real" else 0.0

    def strategies(self) -> float:
        """Images of arms whose strategies draw others."""
        audited = [name for name in self.settings.membership.arms if self.settings.membership.target == "classifier"]
        names, before = dict.fromkeys([*self.arms, *(audited if self.settings.membership.measure else [])]), self.sets.seconds
        for name in names:
            if self._draws(name):
                self.sets.of_arm(name, lambda: None)
        return self.sets.seconds - before

    def tune(self) -> float:
        """Trials of every arm, also of those that only later stages ask for."""
        settings = self.settings
        if not settings.tune.is_on:
            return 0.0
        later = [*settings.scale.arms] * bool(settings.scale.times) + ["synthetic"] * settings.gap.measure
        later += [*settings.membership.arms] * settings.membership.measure
        trials = len(pairs(settings.compare, settings.tune)) * settings.tune.num_seeds
        return trials * sum(self._training(name, predictions=len(self.splits.val)) for name in dict.fromkeys([*self.arms, *later]))

    def compare(self) -> float:
        predictions = len(self.splits.val) + len(self.splits.test)
        return self.settings.compare.num_seeds * sum(self._training(name, predictions=predictions) for name in self.arms)

    def scale(self) -> float:
        """Larger sets and the trainings on them, if no rule stops before; then parts of the real images."""
        scale, before, trained = self.settings.scale, self.sets.seconds, 0.0
        if not scale.times:
            return 0.0
        for times in scale.times:
            quota = times_of(self.train, times)
            self.sets.variant(f"times-{times:g}", quota, draw=self.settings.draw, curate=self.settings.curate)
            trained += sum(self._training(name, num_synthetic=int(quota.sum())) for name in scale.arms)
        sizes = {len(take_share(self.train, share, seed=self.settings.seed)) for share in scale.real_shares}
        trained += sum(self._training("real", num_real=size) for size in sizes if size < len(self.train))
        return self.sets.seconds - before + self.settings.compare.num_seeds * trained

    def gap(self) -> float:
        """Sets between real and synthetic, with a training on each; then others of real images for the noise floor."""
        plain, before = as_many_as_real(self.settings), self.sets.seconds
        counted = cast("Any", self.sets)  # it has what these two ask for
        num_sets = len(gap_sets(counted, plain)) + len(redrawn_sets(counted, plain, self.settings.gap.strengths))
        trained = num_sets * self._training("synthetic", num_synthetic=len(self.train))
        if self.splits.spare is not None:
            trained += self._training("real")
        elif self.train.counts.min() >= 2:
            trained += 2 * self._training("real", num_real=len(self.train) // 2)
        return self.sets.seconds - before + self.settings.compare.num_seeds * trained

    def shift(self) -> float:
        """Every training of every arm on every changed or further test image, and on the test images as they are."""
        settings, asked = self.settings.shift, len(self.arms) * self.settings.compare.num_seeds
        changed = len(settings.corruptions) * len(settings.severities) * len(self.splits.test)
        further = sum(self._further(name) for name in settings.tests)
        return changed * self.pace.corruption + (changed + further + len(self.splits.test)) * asked * self.pace.prediction

    def _further(self, name: str) -> int:
        test, _ = load_test_set(
            name, self.settings.shift.tests[name], class_names=self.train.class_names, learned_from=[self.train, self.splits.val],
            settings=self.settings.data,
        )  # fmt: skip
        return len(test)

    def membership(self) -> float:
        """Shadow models of every arm on half of the images, one after the other; a pipeline adapts and draws for each besides."""
        settings = self.settings.membership
        half = take_share(self.train, 0.5, seed=self.settings.seed)
        predictions = len(self.train) + len(self.splits.val) + len(self.splits.test)
        one = sum(self._training(name, num_real=len(half), predictions=predictions) for name in self._audited())
        if settings.private_epsilon is not None:
            one += self.settings.compare.steps * self.pace.private_step + predictions * self.pace.prediction
        if settings.target == "pipeline" and any(self._draws(name) for name in settings.arms):
            images = candidates_wanted(quotas(half, self.settings.draw), self.settings.curate).sum()
            one += self.settings.draw.members * self.pace.adaptation + int(images) * self.pace.image + self.judge()
        return settings.shadows * one

    def _audited(self) -> Iterator[str]:
        """Audited arms, but for those that are the same for members and others."""
        for name in self.settings.membership.arms:
            base, _ = arm_settings(name, self.settings, shots=shots_of(self.train))
            goes_back = base.draw.starts_from_real or base.visual.when_drawing == "per-image"
            of_real = any(phase.data != "synthetic" for phase in find_arm(name, base.compare).phases)
            if of_real or goes_back or self.settings.membership.target == "pipeline":
                yield name

    def _draws(self, name: str) -> bool:
        return find_arm(name, self.settings.compare).uses_synthetic

    def _training(self, name: str, *, num_real: int | None = None, num_synthetic: int | None = None, predictions: int = 0) -> float:
        """Seconds of one training of an arm, and of asking it."""
        settings = self.settings
        steps = find_arm(name, settings.compare).phase_steps(
            settings.compare,
            num_real=len(self.train) if num_real is None else num_real,
            num_synthetic=int(quotas(self.train, settings.draw).sum()) if num_synthetic is None else num_synthetic,
        )
        return sum(steps) * self.pace.step + predictions * self.pace.prediction


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
