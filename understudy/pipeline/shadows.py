"""The membership audit: shadow models of every arm, and what attacks make of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.files import read_arrays, write_arrays
from understudy.core.progress import Observer, Silent
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.membership import PROMISE, audit_membership, enough_shadows, half_splits
from understudy.evaluation.settings import MembershipSettings
from understudy.functional.intervals import bootstrap_mean
from understudy.training.arms import find_arm
from understudy.training.classifier import TrainedClassifier
from understudy.training.data import TrainingData
from understudy.training.ensemble import Training, fit_ensemble
from understudy.training.private import check_private, fit_private
from understudy.training.settings import CompareSettings
from understudy.training.strategies import STRATEGIES, split_name

MakeSynthetic = Callable[[np.ndarray, int], LabelledSet]
"""Numbers of the real train images that a shadow pipeline may see, and its seed, to the images that it draws."""

_Trained = tuple[int, TrainedClassifier, dict[str, Any]]
"""Number of a shadow model, the model, and what its record says besides."""

PRIVATE = "private"
"""Name of the differentially private reference among the arms."""
_RESAMPLES = 200
_SEEDS = 1_000_000  # between those of two runs: no shadow model has the seed of a compared training
_BLOCK = 16  # shadow models trained between two records; their images are in memory at once


def check_audit(settings: MembershipSettings, train: LabelledSet, compare: CompareSettings) -> None:
    """Refuse at once what :func:`audit` would refuse.

    Args:
        settings: of the audit.
        train: real images.
        compare: in which own arms are found.

    Raises:
        InputError: for too few shadow models or images, an arm that cannot be audited, or a missing opacus.
    """
    enough_shadows(settings.shadows, len(train), settings.false_positive_rates)
    half_splits(train.labels, settings.shadows, seed=0)
    for name in settings.arms:
        if name == PRIVATE:
            raise InputError(f"membership.arms must not have {PRIVATE!r}, the reference's name: set membership.private_epsilon instead")
        if any(phase.refresh_every is not None for phase in find_arm(name, compare).phases):
            raise InputError(f"membership.arms must not refresh their images, as {name!r} does: leave it out")
        changing = [strategy for strategy in split_name(name)[1] if STRATEGIES[strategy].overrides is not None]
        if changing and settings.target == "pipeline":
            raise InputError(
                f"membership.target=pipeline draws one set for all arms, but {', '.join(changing)} asks for images of its own: leave "
                f"{name!r} out, or use membership.target=classifier"
            )
    if settings.private_epsilon is not None:
        check_private()
        smallest = int(half_splits(train.labels, settings.shadows, seed=0).sum(axis=1).min())
        if smallest < compare.batch_size:
            raise InputError(
                f"the private reference needs at least compare.batch_size={compare.batch_size} real images in every half of the train "
                f"images, got {smallest}: leave --epsilon out, or start a run with smaller batches"
            )


def check_measurable(settings: MembershipSettings, compare: CompareSettings, curated: LabelledSet) -> None:
    """Refuse an audit of nothing but arms that are the same for members and others.

    Args:
        settings: of the audit.
        compare: in which own arms are found.
        curated: the synthetic images that arms share.

    Raises:
        InputError: with the reason for each arm.
    """
    if settings.target == "pipeline" or settings.private_epsilon is not None:
        return
    if any(STRATEGIES[strategy].overrides is not None for name in settings.arms for strategy in split_name(name)[1]):
        return  # such an arm may have images that go back to real ones
    skipped = _unaffected(settings.arms, lambda _: compare, lambda _: curated)
    if len(skipped) == len(settings.arms):
        raise InputError(f"a membership audit needs an arm that it can measure: {' '.join(skipped.values())}")


def audit(
    *,
    train: LabelledSet,
    val: LabelledSet,
    test: LabelledSet,
    settings: MembershipSettings,
    recipe: Callable[[str], CompareSettings],
    images_of: Callable[[str], LabelledSet],
    seed: int,
    device: str,
    folder: Path,
    make_synthetic: MakeSynthetic | None = None,
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Train the shadow models that are not there yet, and attack every one with the others.

    Writes, with ``target=pipeline``, the images of every shadow model, ``folder/synthetic-shadowI.parquet``; then, when shadow model I is
    measured, ``folder/ARM-shadowI.npz``. What is there is not made again.

    With ``target=classifier`` a shadow model sees its half of the real images, and of the synthetic ones those that go back to no image
    of the other half (``source_id`` and ``visual_id``). An arm that sees synthetic images alone, none of which names a source, would
    be the same for members and others; it is skipped, and the result says so.

    Args:
        train: real images; every one is in half of the shadow models.
        val: real images that no model learns from: the population of RMIA.
        test: real images that measure accuracy.
        settings: arms, target, number of shadow models and rates.
        recipe: how an arm is trained.
        images_of: the synthetic images of an arm (``target=classifier``); asked only for arms that use some.
        seed: of the run.
        device: where to train.
        folder: where records go; made if missing.
        make_synthetic: adapts and draws anew for some of the real images (``target=pipeline``).
        observer: is told of each pipeline and each step that is not there yet, from any thread.

    Returns:
        The section ``membership`` of ``results.json``.

    Raises:
        InputError: as :func:`check_audit`, as :func:`understudy.training.fit.fit_arm`, if no arm is left, and for a record that was made
            with other data.
    """
    check_audit(settings, train, recipe("real"))
    val.require("val", purpose="a population for membership inference")
    test.require("test", purpose="measuring shadow models")
    start = time.monotonic()
    skipped = {} if settings.target == "pipeline" else _unaffected(settings.arms, recipe, images_of)
    names = [name for name in settings.arms if name not in skipped] + ([PRIVATE] if settings.private_epsilon is not None else [])
    if not names:
        raise InputError(f"a membership audit needs an arm that it can measure: {' '.join(skipped.values())}")
    shadows = _Shadows(train, settings, seed, device, folder, images_of, make_synthetic)
    shadows.make({name: recipe("real" if name == PRIVATE else name) for name in names}, val=val, test=test, observer=observer or Silent())
    attacks: dict[str, dict[str, Any]] = {}
    arms: dict[str, dict[str, Any]] = {}
    for name in names:
        records = shadows.records(name, lengths=(len(val), len(test)))
        arms[name] = _describe(records, shadows.members, train.labels, test.labels, seed=seed)
        found = audit_membership(
            np.stack([record["train"] for record in records]), shadows.members, train.labels,
            population=np.stack([record["val"] for record in records]), population_labels=val.labels,
            false_positive_rates=settings.false_positive_rates, num_resamples=_RESAMPLES, seed=seed,
        )  # fmt: skip
        for attack, figures in found.items():
            attacks.setdefault(attack, {})[name] = figures
    return {
        "target": settings.target,
        "shadows": settings.shadows,
        "images": len(train),
        "attacks": attacks,
        "arms": arms,
        "skipped": skipped,
        "seconds": round(time.monotonic() - start, 2),
        "promise": [*PROMISE, *_promise(settings)],
    }


@final
@dataclass
class _Shadows:
    """Trains the shadow models of any arm and keeps what they say of every image."""

    train: LabelledSet
    settings: MembershipSettings
    seed: int
    device: str
    folder: Path
    images_of: Callable[[str], LabelledSet]
    make_synthetic: MakeSynthetic | None

    def __post_init__(self) -> None:
        self.members = half_splits(self.train.labels, self.settings.shadows, seed=self.seed)

    def make(self, recipes: Mapping[str, CompareSettings], *, val: LabelledSet, test: LabelledSet, observer: Observer) -> None:
        """Train the shadow models of all arms that are not there yet, and write what they say of ``train``, ``val`` and ``test``."""
        waiting = {name: [number for number, path in enumerate(self._paths(name)) if not path.exists()] for name in recipes}
        if self.settings.target == "pipeline":  # first: the number of images decides how long phases of epochs are
            self._draw(sorted({number for name in recipes if self._draws(name, recipes[name]) for number in waiting[name]}), observer)
        sets = {"train": self.train, "val": val, "test": test}
        total = sum(self._steps(name, number, recipe) for name, recipe in recipes.items() for number in waiting[name])
        with observer.bar("membership", total=total, unit="steps") as advance:
            for name, recipe in recipes.items():
                fit = self._private if name == PRIVATE else partial(self._fit, name)
                for number, classifier, further in fit(waiting[name], recipe, lambda: advance(1)):
                    said = {split: classifier.predict(data) for split, data in sets.items()}
                    write_arrays(self._paths(name)[number], {"members": self.members[number], **said, **further})

    def records(self, name: str, *, lengths: tuple[int, int]) -> list[dict[str, np.ndarray]]:
        """Probabilities of all shadow models of an arm for ``train``, and for ``val`` and ``test``, which have these lengths."""
        return [_read(path, is_member, lengths) for path, is_member in zip(self._paths(name), self.members, strict=True)]

    def _paths(self, name: str) -> list[Path]:
        # How private a model is decides what it is; the arms' recipes are the run's own.
        promised = f"-{self.settings.private_epsilon}-{self.settings.private_delta}" if name == PRIVATE else ""
        return [self.folder / f"{name}{promised}-shadow{number}.npz" for number in range(len(self.members))]

    def _draws(self, name: str, recipe: CompareSettings) -> bool:
        return name != PRIVATE and find_arm(name, recipe).uses_synthetic

    def _steps(self, name: str, number: int, recipe: CompareSettings) -> int:
        if name == PRIVATE:
            return recipe.steps
        arm = find_arm(name, recipe)
        in_epochs = arm.uses_synthetic and any(phase.epochs for phase in arm.phases)  # only then does it matter how many images there are
        drawn = len(self._synthetic(name, number)) if in_epochs else 0
        return sum(arm.phase_steps(recipe, num_real=int(self.members[number].sum()), num_synthetic=drawn))

    def _draw(self, waiting: Sequence[int], observer: Observer) -> None:
        """Let the shadow pipelines that are not there yet draw; their images are kept for all arms."""
        missing = [number for number in waiting if not self._drawn(number).exists()]
        with observer.bar("shadow pipelines", total=len(missing), unit="pipelines") as advance:
            for number in missing:
                if self.make_synthetic is None:
                    raise InputError("membership.target=pipeline needs something that adapts and draws, got none: pass make_synthetic")
                images = self.make_synthetic(np.flatnonzero(self.members[number]), self._seed(number))
                images.require("synthetic", purpose="a shadow pipeline")
                images.save(self._drawn(number))
                advance(1)

    def _fit(self, name: str, waiting: Sequence[int], recipe: CompareSettings, on_step: Callable[[], Any]) -> Iterator[_Trained]:
        draws = self._draws(name, recipe)
        for start in range(0, len(waiting), _BLOCK):
            block = waiting[start : start + _BLOCK]
            group = [
                Training(
                    data=TrainingData(train=self._half(number), synthetic=self._synthetic(name, number) if draws else None),
                    seed=self._seed(number),
                )
                for number in block
            ]
            trained = fit_ensemble(name, group, settings=recipe, device=self.device, on_step=on_step)
            yield from ((number, classifier, {}) for number, classifier in zip(block, trained, strict=True))

    def _private(self, waiting: Sequence[int], recipe: CompareSettings, on_step: Callable[[], Any]) -> Iterator[_Trained]:
        assert self.settings.private_epsilon is not None
        for number in waiting:
            classifier, promise = fit_private(
                self._half(number), settings=recipe, seed=self._seed(number), device=self.device, on_step=on_step,
                epsilon=self.settings.private_epsilon, delta=self.settings.private_delta,
            )  # fmt: skip
            yield number, classifier, {"epsilon": promise.epsilon, "delta": promise.delta}

    def _half(self, number: int) -> LabelledSet:
        return self.train.select(np.flatnonzero(self.members[number]))

    def _seed(self, number: int) -> int:
        return (self.seed + 1) * _SEEDS + number

    def _synthetic(self, name: str, number: int) -> LabelledSet:
        """What a shadow model sees of synthetic images."""
        if self.settings.target == "pipeline":
            return LabelledSet.load(self._drawn(number))
        others = {image for image, inside in zip(self.train.ids, self.members[number], strict=True) if not inside}
        images = self.images_of(name)
        return images.select([index for index, sources in enumerate(_sources(images)) if not sources & others])

    def _drawn(self, number: int) -> Path:
        return self.folder / f"synthetic-shadow{number}.parquet"


def _promise(settings: MembershipSettings) -> Iterator[str]:
    if settings.target == "classifier":
        yield (
            "The generator and its synthetic images are the run's own for all shadow models, so what the generator gives away of its real "
            "images is not measured; membership.target=pipeline measures it."
        )
    else:
        yield "Every shadow model has a generator of its own, adapted to its half of the real images."
    if settings.private_epsilon is not None:
        bounds = {rate: min(1.0, math.exp(settings.private_epsilon) * rate) for rate in settings.false_positive_rates}
        says = ", ".join(f"{100 * bound:.3g}% at {100 * rate:g}%" for rate, bound in bounds.items())
        yield (
            "The private reference has a bound, whatever the attack: a true-positive rate of exp(epsilon) times the false-positive rate, "
            f"plus delta; here {says}{' (which says nothing)' if min(bounds.values()) == 1 else ''}."
        )


def _unaffected(arms: Sequence[str], recipe: Callable[[str], CompareSettings], images_of: Callable[[str], LabelledSet]) -> dict[str, str]:
    """Arms that are the same whichever half a shadow model has, with the reason."""
    found = {}
    for name in arms:
        if all(phase.data == "synthetic" for phase in find_arm(name, recipe(name)).phases) and not any(_sources(images_of(name))):
            found[name] = (
                f"The arm {name!r} sees synthetic images alone, none of which names a real image that it goes back to, so with "
                "membership.target=classifier members and others are alike to it: use membership.target=pipeline."
            )
    return found


def _sources(synthetic: LabelledSet) -> list[set[str]]:
    """Ids of the real images that each synthetic one goes back to by itself, besides what the generator has learned."""
    columns = [name for name in ("source_id", "visual_id") if name in synthetic.table.column_names]
    return [set(filter(None, row)) for row in zip(*(synthetic.provenance(name) for name in columns), strict=True)] or [
        set() for _ in range(len(synthetic))
    ]


def _read(path: Path, is_member: np.ndarray, lengths: tuple[int, int]) -> dict[str, np.ndarray]:
    record = read_arrays(path)
    if not np.array_equal(record["members"], is_member) or (len(record["val"]), len(record["test"])) != lengths:
        raise InputError(f"{path} must hold a shadow model of these real images: it was made with other data, use another folder")
    return record


def _describe(
    records: Sequence[Mapping[str, np.ndarray]], members: np.ndarray, labels: np.ndarray, test_labels: np.ndarray, *, seed: int
) -> dict[str, Any]:
    """How good the shadow models are, and what was promised of them."""
    right = [(record["train"].argmax(axis=1) == labels)[is_member].mean() for record, is_member in zip(records, members, strict=True)]
    correct = np.stack([record["test"].argmax(axis=1) == test_labels for record in records])
    mean, low, high = bootstrap_mean(correct, np.random.default_rng(seed), num_resamples=_RESAMPLES)
    promised = {key: max(float(record[key]) for record in records) if key in records[0] else None for key in ("epsilon", "delta")}
    return {"train_accuracy": float(np.mean(right)), "test_accuracy": {"mean": mean, "low": low, "high": high}, **promised}
