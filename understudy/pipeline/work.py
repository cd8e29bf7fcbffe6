"""The work of a stage in units such as images and steps; ``understudy preview`` turns it into time."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import final

import numpy as np

from understudy.curation.selections import candidates_wanted
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits
from understudy.functional.allocation import in_rounds
from understudy.pipeline.strategies import effective_settings, images_wanted, shots_of
from understudy.sampling.plan import quotas
from understudy.sampling.settings import DrawSettings
from understudy.settings import Settings
from understudy.training.arms import find_arm
from understudy.training.tune import num_trials


@final
@dataclass(frozen=True, kw_only=True)
class Work:
    """Amounts of work.

    Attributes:
        adaptations: adaptations of a generator.
        images: images to draw; an image that starts from less noise than the run's images counts less than 1.
        steps: optimisation steps of a classifier.
        private_steps: optimisation steps of the differentially private reference.
        predictions: images to classify.
        corruptions: test images to read and corrupt.
    """

    adaptations: float = 0
    images: float = 0
    steps: float = 0
    private_steps: float = 0
    predictions: float = 0
    corruptions: float = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            **{unit.name: getattr(self, unit.name) + getattr(other, unit.name) for unit in fields(self)}
        )

    def __mul__(self, times: float) -> Work:
        return Work(**{unit.name: getattr(self, unit.name) * times for unit in fields(self)})


@final
@dataclass(kw_only=True)
class Counted:
    """Counts the work of a run. Stages must be counted in order, since later ones reuse drawn images.

    Attributes:
        settings: of the run.
        splits: its real images.
        strength: noise that the run's images start from, 0 to 1; less noise needs fewer solver steps.
        num_images: synthetic images counted so far, drawn with any settings.
    """

    settings: Settings
    splits: Splits
    strength: float
    num_images: int = 0
    _drawn: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    _tuned: set[str] = field(default_factory=set)
    _stored: set[tuple[bytes, str, str]] = field(default_factory=set)

    @property
    def train(self) -> LabelledSet:
        return self.splits.train

    @property
    def arms(self) -> list[str]:
        """The compared arms."""
        return list(self.settings.compare.all_arms)

    def uses_synthetic(self, arm: str) -> bool:
        """Whether an arm sees synthetic images."""
        return find_arm(arm, self.settings.compare).uses_synthetic

    def drawn(self, quota: np.ndarray, settings: Settings) -> Work:
        """Images of a curated set that no earlier set contains, and further generators to adapt."""
        draw = settings.draw
        if settings.generator.is_ready_made and not self.settings.generator.is_ready_made:
            return Work()  # images of a control arm that exist, or take no network to make
        counts = candidates_wanted(quota, settings.curate)
        how = draw.model_dump_json(include=set(DrawSettings.names_deciding("pixels"))) + settings.adapt.method
        strength = (self.strength if draw.start_snr is not None else draw.mean_strength) / self.strength
        work = Work()
        for number in range(draw.members):
            share = (counts + draw.members - 1 - number) // draw.members
            have = self._drawn.get((how, number), np.zeros_like(share))
            new = int((share - have).clip(min=0).sum())
            is_further = number >= self.settings.draw.members and all(
                known != number for _, known in self._drawn
            )
            self._drawn[how, number] = np.maximum(have, share)
            self.num_images += new
            work += Work(images=new * strength, adaptations=int(is_further))
        return work

    def images_of(self, arm: str, base: Settings | None = None) -> Work:
        """Images to draw for an arm whose strategies need other images than the shared set."""
        base = self.settings if base is None else base
        found = find_arm(arm, base.compare)
        if not found.uses_synthetic:
            return Work()
        needed = effective_settings(arm, base, shots=shots_of(self.train)).settings
        quota = quotas(self.train, needed.draw)
        wanted = images_wanted(arm, base, num_real=len(self.train), quota=quota)
        work = self.drawn(wanted, needed)
        refreshes = any(phase.refresh_every is not None for phase in found.phases)
        key = (wanted.tobytes(), needed.draw.model_dump_json(), needed.curate.model_dump_json())
        if (needed == base and not refreshes) or key in self._stored:
            return work  # the shared set, or one that another arm uses too: it is chosen once and stored
        self._stored.add(key)
        return work + self.choosing(wanted, needed)

    def choosing(self, quota: np.ndarray, settings: Settings) -> Work:
        """Trainings of the classifiers that choose the images of a set."""
        if settings.curate.select != "deliberate":
            return Work()
        sizes = in_rounds(quota, settings.curate.rounds)[:-1].sum(axis=1).tolist()
        return sum((self.training("synthetic", num_synthetic=size) for size in sizes), start=Work())

    def tuning(self, arm: str) -> Work:
        """The trials of an arm; none if an earlier stage has tuned it, or arms are not tuned."""
        if not self.settings.tune.is_on or arm in self._tuned:
            return Work()
        self._tuned.add(arm)
        trials = num_trials(self.settings.compare, self.settings.tune)
        return self.training(arm, predictions=len(self.splits.val)) * trials

    def training(
        self, arm: str, *, num_real: int | None = None, num_synthetic: int | None = None, predictions: int = 0
    ) -> Work:
        """One training of an arm, and the predictions made to measure it."""
        found = find_arm(arm, self.settings.compare)
        if num_real is None:
            num_real = len(self.train) + (len(self.splits.val) if found.uses_val else 0)
        steps = found.phase_steps(
            self.settings.compare,
            num_real=num_real,
            num_synthetic=int(quotas(self.train, self.settings.draw).sum())
            if num_synthetic is None
            else num_synthetic,
        )
        return Work(steps=sum(steps), predictions=predictions)
