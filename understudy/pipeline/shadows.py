"""Shadow models: trainings on random halves of the real images, and attacks that tell the halves apart."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.executors.do import do_jobs
from understudy.core.executors.executor import Terms
from understudy.core.executors.job import Job
from understudy.core.files import read_arrays
from understudy.core.progress import Observer
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.membership import PROMISE, audit_membership, enough_shadows, half_splits
from understudy.evaluation.settings import MembershipSettings
from understudy.functional.intervals import accuracy_interval
from understudy.pipeline.shadow_training import PRIVATE, ShadowTraining
from understudy.training.arms import find_arm
from understudy.training.ensemble import Training, can_group, fit_ensemble
from understudy.training.private import check_private
from understudy.training.settings import CompareSettings
from understudy.training.strategies import STRATEGIES, split_name

_RESAMPLES = 200
_SEEDS = 1_000_000  # far from the seeds of compared trainings, so that no shadow model repeats one of them
_BLOCK = 16  # shadow models trained together; the images of all of them are in memory at once


def check_audit(settings: MembershipSettings, train: LabelledSet, compare: CompareSettings) -> None:
    """Check that an audit is possible, before anything is trained.

    Args:
        settings: of the audit.
        train: real images.
        compare: settings of the comparison, with the user's arms.

    Raises:
        InputError: if there are too few shadow models or images, an arm cannot be audited, or opacus is
            missing.
    """
    enough_shadows(settings.shadows, len(train), settings.false_positive_rates)
    halves = half_splits(train.labels, settings.shadows, seed=0)
    for name in settings.arms:
        _check_arm(name, settings, compare)
    if settings.private_epsilon is not None:
        check_private()
        smallest = int(halves.sum(axis=1).min())
        if smallest < compare.batch_size:
            raise InputError(
                f"the private reference needs at least compare.batch_size={compare.batch_size} real images "
                f"in every half of the train images, got {smallest}: leave --epsilon "
                "(membership.private_epsilon) out, or start a run with smaller batches"
            )


def _check_arm(name: str, settings: MembershipSettings, compare: CompareSettings) -> None:
    if name == PRIVATE:
        raise InputError(
            f"membership.arms must not contain {PRIVATE!r}, the name of the private reference: use "
            "--epsilon (membership.private_epsilon) instead"
        )
    if find_arm(name, compare).uses_val:
        raise InputError(
            f"membership.arms must learn from train images alone, but {name!r} learns from validation images "
            "too: leave it out"
        )
    if any(phase.refresh_every is not None for phase in find_arm(name, compare).phases):
        raise InputError(f"membership.arms must not refresh their images, but {name!r} does: leave it out")
    changing = _changing_strategies(name)
    if changing and settings.target == "pipeline":
        raise InputError(
            f"membership.target=pipeline draws one set for all arms, but {', '.join(changing)} needs other "
            f"images: leave {name!r} out, or use --target classifier (membership.target=classifier)"
        )


def check_measurable(settings: MembershipSettings, compare: CompareSettings, curated: LabelledSet) -> None:
    """Check that at least one audited arm depends on the real images in its half.

    Args:
        settings: of the audit.
        compare: settings of the comparison, with the user's arms.
        curated: the synthetic images that arms share.

    Raises:
        InputError: with the reason for each arm.
    """
    if settings.target == "pipeline" or settings.private_epsilon is not None:
        return
    if any(map(_changing_strategies, settings.arms)):
        return  # the images of such an arm may be drawn from real ones
    skipped = _unaffected(settings.arms, lambda _: compare, lambda _: curated)
    _check_some_left([name for name in settings.arms if name not in skipped], skipped)


def _check_some_left(names: Sequence[str], skipped: Mapping[str, str]) -> None:
    if not names:
        raise InputError(
            f"a membership audit needs an arm that depends on the real images. {' '.join(skipped.values())}"
        )


def _changing_strategies(name: str) -> list[str]:
    """Strategies of an arm that need other images than the shared set."""
    return [strategy for strategy in split_name(name)[1] if STRATEGIES[strategy].overrides is not None]


@final
@dataclass(kw_only=True)
class Shadows:
    """Trains the shadow models of every audited arm and keeps their predictions.

    With ``target=classifier`` a shadow model sees its half of the real images, and the synthetic images that
    were not drawn from an image of the other half (``source_id``, ``visual_id`` and ``exemplar_id``). An arm
    is skipped if it does not depend on the half, because it trains only on synthetic images that were drawn
    without a real one; the result says so.

    ``folder/ARM-shadowI.npz`` is written when shadow model I has been measured. With ``target=pipeline``, the
    images of shadow pipeline I are in ``folder/synthetic-shadowI.parquet``. Existing files are kept.

    Attributes:
        train: real images; each one is in the train set of half of the shadow models.
        val: real images that no model learns from: the population of RMIA.
        test: real images that measure accuracy.
        settings: arms, target, number of shadow models, and false-positive rates.
        training_settings: returns the settings that an arm is trained with.
        images_of: returns the synthetic images of an arm (``target=classifier``).
        seed: of the run.
        device: torch device.
        folder: where records go.
        observer: receives messages and progress; it is called from several threads.
        pipeline: returns the job that adapts a generator to the train images with the given indices, with the
            given seed, and writes the images that it draws to the given file (``target=pipeline``).
        terms: of the executor, which does shadow pipelines and trains models that cannot be trained together.
    """

    train: LabelledSet
    val: LabelledSet
    test: LabelledSet
    settings: MembershipSettings
    training_settings: Callable[[str], CompareSettings]
    images_of: Callable[[str], LabelledSet]
    seed: int
    device: str
    folder: Path
    observer: Observer
    terms: Terms
    pipeline: Callable[[np.ndarray, int, Path], Job] | None = None

    @cached_property
    def members(self) -> np.ndarray:
        """Which train images each shadow model sees, bool (shadows, N)."""
        return half_splits(self.train.labels, self.settings.shadows, seed=self.seed)

    def audit(self) -> dict[str, Any]:
        """Train the shadow models that are missing, and attack each with the help of the others.

        Returns:
            The section ``membership`` of ``results.json``.

        Raises:
            InputError: as :func:`check_audit`, and if no arm is left or a record was made with other data.
        """
        check_audit(self.settings, self.train, self.training_settings("real"))
        self.val.check_split("val", purpose="a population for membership inference")
        self.test.check_split("test", purpose="measuring shadow models")
        start = time.monotonic()
        skipped = {}
        if self.settings.target == "classifier":
            skipped = _unaffected(self.settings.arms, self.training_settings, self.images_of)
        names = [name for name in self.settings.arms if name not in skipped]
        names += [PRIVATE] * (self.settings.private_epsilon is not None)
        _check_some_left(names, skipped)
        self._train({name: self.training_settings("real" if name == PRIVATE else name) for name in names})
        attacks: dict[str, dict[str, Any]] = {}
        arms: dict[str, dict[str, Any]] = {}
        for name in names:
            records = self._records(name)
            arms[name] = self._describe(records)
            for attack, figures in self._attack(records).items():
                attacks.setdefault(attack, {})[name] = figures
        return {
            "target": self.settings.target,
            "shadows": self.settings.shadows,
            "images": len(self.train),
            "attacks": attacks,
            "arms": arms,
            "skipped": skipped,
            "seconds": round(time.monotonic() - start, 2),
            "promise": [*PROMISE, *_promise(self.settings)],
        }

    def _train(self, settings_of: Mapping[str, CompareSettings]) -> None:
        """Train missing shadow models, and record what they predict for train, validation and test images."""
        waiting = {
            name: [number for number, path in enumerate(self._paths(name)) if not path.exists()]
            for name in settings_of
        }
        if self.settings.target == "pipeline":  # before counting the steps of phases in epochs
            drawing = [name for name, compare in settings_of.items() if self._uses_synthetic(name, compare)]
            self._draw(sorted({number for name in drawing for number in waiting[name]}))
        jobs = list[ShadowTraining]()
        total = sum(
            self._steps(name, number, settings_of[name]) for name in settings_of for number in waiting[name]
        )
        with self.observer.bar("membership", total=total, unit="steps") as advance:
            for name, compare in settings_of.items():
                if self.terms.compute.is_here and self._can_group(name, compare):
                    self._fit(name, waiting[name], compare, lambda: advance(1))
                else:
                    jobs += [self._job(name, number, compare) for number in waiting[name]]
            do_jobs(jobs, self.terms, advance=advance)

    def _attack(self, records: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        """Figures of every attack on the shadow models of an arm."""
        return audit_membership(
            np.stack([record["train"] for record in records]),
            self.members,
            self.train.labels,
            population=np.stack([record["val"] for record in records]),
            population_labels=self.val.labels,
            false_positive_rates=self.settings.false_positive_rates,
            num_resamples=_RESAMPLES,
            seed=self.seed,
        )

    def _describe(self, records: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        """Accuracy of the shadow models of an arm, and their guarantee of privacy, if any."""
        labels = self.train.labels
        right = [
            (record["train"].argmax(axis=1) == labels)[is_member].mean()
            for record, is_member in zip(records, self.members, strict=True)
        ]
        correct = np.stack([record["test"].argmax(axis=1) == self.test.labels for record in records])
        mean, low, high = accuracy_interval(correct)
        promised = {
            key: max(float(record[key]) for record in records) if key in records[0] else None
            for key in ("epsilon", "delta")
        }
        accuracy = {"mean": mean, "low": low, "high": high}
        return {"train_accuracy": float(np.mean(right)), "test_accuracy": accuracy, **promised}

    def _records(self, name: str) -> list[dict[str, np.ndarray]]:
        """Predictions of all shadow models of an arm."""
        records = []
        for path, is_member in zip(self._paths(name), self.members, strict=True):
            record = read_arrays(path)
            lengths = len(record["val"]), len(record["test"])
            if not np.array_equal(record["members"], is_member) or lengths != (len(self.val), len(self.test)):
                raise InputError(
                    f"{path} must hold a shadow model of these real images, but it belongs to other images: "
                    "use another folder"
                )
            records.append(record)
        return records

    def _paths(self, name: str) -> list[Path]:
        # Audits of one run can have different epsilons and deltas, each with its private reference.
        budget = f"-{self.settings.private_epsilon}-{self.settings.private_delta}"
        stem = f"{name}{budget}" if name == PRIVATE else name
        return [self.folder / f"{stem}-shadow{number}.npz" for number in range(len(self.members))]

    def _uses_synthetic(self, name: str, compare: CompareSettings) -> bool:
        return name != PRIVATE and find_arm(name, compare).uses_synthetic

    def _steps(self, name: str, number: int, compare: CompareSettings) -> int:
        if name == PRIVATE:
            return compare.steps
        arm = find_arm(name, compare)
        has_epochs = arm.uses_synthetic and any(phase.epochs for phase in arm.phases)
        # The number of images matters only for phases whose length is given in epochs.
        drawn = len(self._synthetic(name, number)()) if has_epochs else 0
        return sum(arm.phase_steps(compare, num_real=int(self.members[number].sum()), num_synthetic=drawn))

    def _draw(self, waiting: Sequence[int]) -> None:
        """Run the shadow pipelines that are missing; all arms share their images."""
        missing = [number for number in waiting if not self._drawn(number).exists()]
        if not missing:
            return
        if self.pipeline is None:
            raise InputError(
                "membership.target=pipeline needs a function that adapts and draws, got None: pass pipeline"
            )
        jobs = [
            self.pipeline(np.flatnonzero(self.members[number]), self._seed(number), self._drawn(number))
            for number in missing
        ]
        with self.observer.bar("shadow pipelines", total=len(jobs), unit="pipelines") as advance:
            do_jobs(jobs, self.terms, advance=advance)

    def _can_group(self, name: str, compare: CompareSettings) -> bool:
        return name != PRIVATE and can_group(find_arm(name, compare), compare, self.train.num_classes)

    def _fit(
        self, name: str, waiting: Sequence[int], compare: CompareSettings, on_step: Callable[[], Any]
    ) -> None:
        """Train shadow models together, and record what they predict."""
        jobs = [self._job(name, number, compare) for number in waiting]
        for start in range(0, len(jobs), _BLOCK):
            block = jobs[start : start + _BLOCK]
            trainings = [Training(data=job.data(), seed=job.seed) for job in block]
            fitted = fit_ensemble(name, trainings, settings=compare, device=self.device, on_step=on_step)
            for job, classifier in zip(block, fitted, strict=True):
                job.write(classifier)

    def _job(self, name: str, number: int, compare: CompareSettings) -> ShadowTraining:
        return ShadowTraining(
            path=self._paths(name)[number],
            arm=name,
            is_member=self.members[number],
            sets={"train": self.train, "val": self.val, "test": self.test},
            synthetic=self._synthetic(name, number) if self._uses_synthetic(name, compare) else None,
            settings=compare,
            seed=self._seed(number),
            device=self.device,
            epsilon=self.settings.private_epsilon if name == PRIVATE else None,
            delta=self.settings.private_delta,
            files=(self._drawn(number),) if self.settings.target == "pipeline" else (),
        )

    def _seed(self, number: int) -> int:
        return (self.seed + 1) * _SEEDS + number

    def _synthetic(self, name: str, number: int) -> Callable[[], LabelledSet]:
        """Returns the synthetic images that a shadow model sees; can be sent to another process."""
        if self.settings.target == "pipeline":
            return partial(LabelledSet.load, self._drawn(number))
        others = {
            image for image, inside in zip(self.train.ids, self.members[number], strict=True) if not inside
        }
        images = self.images_of(name)
        seen = [index for index, sources in enumerate(_sources(images)) if not sources & others]
        return partial(images.select, np.array(seen, dtype=np.int64))

    def _drawn(self, number: int) -> Path:
        return self.folder / f"synthetic-shadow{number}.parquet"


def _promise(settings: MembershipSettings) -> Iterator[str]:
    if settings.target == "classifier":
        yield (
            "All shadow models share the generator of the run and its synthetic images, so what the "
            "generator reveals about its real images is not measured; membership.target=pipeline measures "
            "it."
        )
    else:
        yield "Every shadow model has a separate generator, adapted to its half of the real images."
    if settings.private_epsilon is not None:
        bounds = {
            rate: min(1.0, math.exp(settings.private_epsilon) * rate)
            for rate in settings.false_positive_rates
        }
        says = ", ".join(f"{100 * bound:.3g}% at {100 * rate:g}%" for rate, bound in bounds.items())
        yield (
            "For the private reference, no attack can exceed a true-positive rate of exp(epsilon) times the "
            f"false-positive rate, plus delta: here {says}"
            f"{' (no restriction at all)' if min(bounds.values()) == 1 else ''}."
        )


def _unaffected(
    arms: Sequence[str],
    settings_of: Callable[[str], CompareSettings],
    images_of: Callable[[str], LabelledSet],
) -> dict[str, str]:
    """Arms that do not depend on which half of the real images is used, each with the reason."""
    found = {}
    for name in arms:
        if all(phase.data == "synthetic" for phase in find_arm(name, settings_of(name)).phases) and not any(
            _sources(images_of(name))
        ):
            found[name] = (
                f"The arm {name!r} trains only on synthetic images that were drawn without a single real "
                "image, so membership.target=classifier cannot tell members from non-members: use "
                "membership.target=pipeline."
            )
    return found


def _sources(synthetic: LabelledSet) -> list[set[str]]:
    """Ids of the real images from which each synthetic image was drawn or by which it was guided."""
    columns = [name for name in ("source_id", "visual_id", "exemplar_id") if synthetic.has(name)]
    return [
        set(filter(None, row)) for row in zip(*(synthetic.provenance(name) for name in columns), strict=True)
    ] or [set() for _ in range(len(synthetic))]
