"""Accuracy and calibration of arms under distribution shift: on corrupted images and on other test sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from understudy.curation.scores import Classifier
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.corruptions import corrupted
from understudy.evaluation.over_classes import balanced_accuracy, difference_over_classes
from understudy.functional.calibration import NUM_BINS, brier_terms, ece_terms, restricted
from understudy.functional.class_means import balanced_accuracy_terms
from understudy.functional.intervals import Interval, accuracy_interval, mean_interval, paired_difference

_BASELINE = "real"


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """Predictions of an arm's S trainings for N images, reduced to one term per measure, training and image.

    Attributes:
        correct: whether the most probable class is the true one, bool (S, N).
        ece_terms: see :func:`understudy.functional.calibration.ece_terms`, float64 (S, N).
        brier_terms: see :func:`understudy.functional.calibration.brier_terms`, float64 (S, N).
        balanced_terms: see :func:`understudy.functional.class_means.balanced_accuracy_terms`, float64 (S, N).
        labels: true classes, numbered among those that can be predicted, int (N,).
    """

    correct: np.ndarray
    ece_terms: np.ndarray
    brier_terms: np.ndarray
    balanced_terms: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(
        cls, probabilities: np.ndarray, labels: np.ndarray, *, classes: Sequence[int] | None = None
    ) -> Outcome:
        """Reduce the probabilities of S trainings to one term per measure, training and image.

        Args:
            probabilities: float (S, N, C), rows sum to 1.
            labels: true labels, int (N,), each among ``classes``.
            classes: classes that can be predicted, ascending; all C if not given.

        Raises:
            ValueError: if labels are not among the classes, and as
                :func:`understudy.functional.calibration.reliability`.
        """
        if classes is not None:
            if not np.isin(labels, classes).all():
                raise ValueError(
                    f"labels must be among the classes {list(classes)}, got {sorted(set(labels.tolist()))}"
                )
            probabilities, labels = restricted(probabilities, classes), np.searchsorted(classes, labels)
        predicted = probabilities.argmax(axis=-1)
        return cls(
            correct=predicted == labels,
            ece_terms=np.stack([ece_terms(p, labels) for p in probabilities]),
            brier_terms=np.stack([brier_terms(p, labels) for p in probabilities]),
            balanced_terms=balanced_accuracy_terms(predicted, labels),
            labels=labels,
        )


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class ShiftTest:
    """Outcomes on another test set.

    Attributes:
        class_names: classes that occur in the test set; predictions are restricted to them.
        arms: outcome by arm.
    """

    class_names: tuple[str, ...]
    arms: Mapping[str, Outcome]


def measure_corruption(
    name: str,
    severity: int,
    *,
    test: LabelledSet,
    arms: Mapping[str, Sequence[Classifier]],
    size: int,
    seed: int,
) -> dict[str, Outcome]:
    """Corrupt the test images once, a part at a time, and test every training of every arm on them.

    Args:
        name: a registered corruption.
        severity: 1 to 5.
        test: real test images.
        arms: the trainings of each arm, in the order of their seeds.
        size: width and height of the classifiers' input, in pixels.
        seed: seed of the random numbers.

    Returns:
        Outcome by arm.

    Raises:
        InputError: as :func:`understudy.evaluation.corruptions.corrupted`.
    """
    return _ask(arms, corrupted(test, name, severity=severity, size=size, seed=seed), test.labels)


def measure_test_set(
    data: LabelledSet, classes: Sequence[int], *, arms: Mapping[str, Sequence[Classifier]]
) -> ShiftTest:
    """Test every training of every arm on another test set.

    Args:
        data: the test set, with the labels and class names of the run.
        classes: classes that occur in the test set, ascending.
        arms: the trainings of each arm, in the order of their seeds.

    Raises:
        InputError: if ``data`` is not a test set.
    """
    data.check_split("test", purpose="measuring on a further test set")
    return ShiftTest(
        class_names=tuple(data.class_names[label] for label in classes),
        arms=_ask(arms, [data], data.labels, classes=classes),
    )


def summarise_shift(
    clean: Mapping[str, Outcome],
    corruptions: Mapping[str, Mapping[int, Mapping[str, Outcome]]],
    tests: Mapping[str, ShiftTest],
) -> dict[str, Any]:
    """Summarise the outcomes for the section ``shift`` of ``results.json``.

    All intervals are 95% intervals over trainings and test images; see
    :mod:`understudy.functional.intervals`. Differences are paired by image and seed.

    Args:
        clean: outcomes on the test images of the run by arm, including ``real``.
        corruptions: outcomes on the same images in the same order by corruption, severity and arm.
        tests: outcomes on other test sets by name.

    Returns:
        ``settings``, ``clean``, ``calibration``, ``corruptions``, ``mean_corruption`` (mean over all
        corruptions and severities) and ``tests``; see ``docs/results_json.md``. Accuracies, ECE and
        differences are fractions; Brier scores are in [0, 2].

    Raises:
        ValueError: if an arm is missing somewhere, ``real`` is missing, or numbers of trainings or images
            differ.
    """
    groups = [arms for by_severity in corruptions.values() for arms in by_severity.values()]
    for arms in (clean, *groups):
        _check(arms, clean, same_images=True)
    for test in tests.values():
        _check(test.arms, clean, same_images=False)
    severities = sorted({severity for by_severity in corruptions.values() for severity in by_severity})
    return {
        "per_class": _per_class(clean),
        "settings": {"corruptions": list(corruptions), "severities": severities, "bins": NUM_BINS},
        "clean": {
            arm: {"accuracy": _interval(accuracy_interval(outcome.correct)), **_balanced([clean], arm)}
            for arm, outcome in clean.items()
        },
        "calibration": {arm: _calibration(outcome) for arm, outcome in clean.items()},
        "corruptions": {
            name: {arm: _by_severity(outcomes, arm) for arm in clean}
            for name, outcomes in corruptions.items()
        },
        "mean_corruption": {
            arm: _mean_accuracy(_means(groups), arm) | _balanced(groups, arm)
            for arm in (clean if groups else {})
        },
        "tests": {name: _test_set(test) for name, test in tests.items()},
    }


def _test_set(test: ShiftTest) -> dict[str, Any]:
    """Another test set: its size and classes, and every arm."""
    return {
        "images": test.arms[_BASELINE].correct.shape[1],
        "classes": list(test.class_names),
        "per_class": _per_class(test.arms),
        "arms": {arm: _measures(test.arms, arm) | _balanced([test.arms], arm) for arm in test.arms},
    }


def _per_class(arms: Mapping[str, Outcome]) -> list[int]:
    """Test images of each class up to the last one that has any."""
    return [int(count) for count in np.bincount(arms[_BASELINE].labels)]


def _balanced(conditions: Sequence[Mapping[str, Outcome]], arm: str) -> dict[str, Any]:
    """``balanced_accuracy``, mean over conditions with the same images, with its ``minus_real``."""
    labels = conditions[0][arm].labels
    ours, real = (
        np.mean([condition[name].balanced_terms for condition in conditions], axis=0)
        for name in (arm, _BASELINE)
    )
    nothing = _interval((0.0, 0.0, 0.0))
    minus_real = nothing if arm == _BASELINE else difference_over_classes(ours, real, labels)
    correct = np.mean([condition[arm].correct for condition in conditions], axis=0)
    return {"balanced_accuracy": {**balanced_accuracy(correct, labels), "minus_real": minus_real}}


def _interval(ends: tuple[float, float, float]) -> dict[str, float]:
    return asdict(Interval.of(ends))


def _minus_real(correct: Mapping[str, np.ndarray], arm: str) -> dict[str, float]:
    """The difference to ``real``, which is zero for ``real``."""
    zero = (0.0, 0.0, 0.0)
    return _interval(zero if arm == _BASELINE else paired_difference(correct[arm], correct[_BASELINE]))


def _mean_accuracy(means: Mapping[str, np.ndarray], arm: str) -> dict[str, Any]:
    """``accuracy`` and ``minus_real`` of shares of correct predictions, (S, N)."""
    accuracy = _interval(mean_interval(means[arm], limits=(0.0, 1.0)))
    return {"accuracy": accuracy, "minus_real": _minus_real(means, arm)}


def _calibration(outcome: Outcome) -> dict[str, Any]:
    """``ece``, with an interval that is cut at 0, and ``brier``."""
    ece = _interval(mean_interval(outcome.ece_terms))
    return {
        "ece": ece | {"low": max(0.0, ece["low"])},
        "brier": _interval(mean_interval(outcome.brier_terms)),
    }


def _by_severity(outcomes: Mapping[int, Mapping[str, Outcome]], arm: str) -> list[dict[str, Any]]:
    """One arm under one corruption, by ascending severity."""
    return [{"severity": severity} | _measures(outcomes[severity], arm) for severity in sorted(outcomes)]


def _measures(arms: Mapping[str, Outcome], arm: str) -> dict[str, Any]:
    """All figures of an arm on one set of images."""
    correct = {name: outcome.correct for name, outcome in arms.items()}
    accuracy = _interval(accuracy_interval(correct[arm]))
    return {"accuracy": accuracy, "minus_real": _minus_real(correct, arm), **_calibration(arms[arm])}


def _ask(
    arms: Mapping[str, Sequence[Classifier]],
    parts: Iterable[LabelledSet],
    labels: np.ndarray,
    *,
    classes: Sequence[int] | None = None,
) -> dict[str, Outcome]:
    answers: dict[str, list[np.ndarray]] = {arm: [] for arm in arms}
    for part in parts:
        for arm, trainings in arms.items():
            answers[arm].append(np.stack([training.predict(part) for training in trainings]))
    return {
        arm: Outcome.of(np.concatenate(given, axis=1), labels, classes=classes)
        for arm, given in answers.items()
    }


def _means(groups: Sequence[Mapping[str, Outcome]]) -> dict[str, np.ndarray]:
    """By arm, the share of groups in which a training predicts an image correctly, float64 (S, N).

    Each share is a sum divided by a count, so that equal shares are exactly equal.
    """
    return {arm: np.sum([group[arm].correct for group in groups], axis=0) / len(groups) for arm in groups[0]}


def _check(arms: Mapping[str, Outcome], clean: Mapping[str, Outcome], *, same_images: bool) -> None:
    if _BASELINE not in clean or set(arms) != set(clean):
        raise ValueError(
            f"every condition must have the arms {sorted(clean)}, including {_BASELINE!r}, got {sorted(arms)}"
        )
    first = (clean if same_images else arms)[_BASELINE].correct.shape
    for name, outcome in arms.items():
        if outcome.correct.shape != first or outcome.correct.shape[0] != clean[_BASELINE].correct.shape[0]:
            raise ValueError(
                "all arms must have the same trainings and images, "
                f"but {name!r} has {outcome.correct.shape} instead of {first}"
            )
