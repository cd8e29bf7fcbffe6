"""Differences of synthetic and real images in predictions and features; no network is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from understudy.functional.coverage import density_and_coverage
from understudy.functional.diversity import mean_distance, vendi_score
from understudy.functional.intervals import Interval, accuracy_interval, student_interval

_NUM_FOLDS = 5
_PROBE_C = 1.0  # C of scikit-learn, the inverse strength of the squared penalty on the weights: its default
_PROBE_MAX_ITER = 1000
_MAX_TOLD_APART = 1000  # most images of each kind; more would only narrow the interval


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledFeatures:
    """Features of one or more kinds, and labels, of a set of images.

    Attributes:
        labels: int of shape (N,).
        features: float (N, D) each, by kind, such as ``raw`` (from a network that was not trained on the
            task) and ``task`` (from a classifier trained on real images).
    """

    labels: np.ndarray
    features: Mapping[str, np.ndarray]


def side_measures(
    real: LabelledFeatures,
    synthetic: LabelledFeatures,
    *,
    probabilities: np.ndarray | None = None,
    seed: int,
    k: int = 5,
) -> dict[str, Any]:
    """Measure a synthetic set in all ways except the accuracy of classifiers trained on it.

    Args:
        real: real images; with fewer than two in a class, measures per class are None.
        synthetic: synthetic images with the same kinds of features as ``real``.
        probabilities: predictions for ``synthetic`` by classifiers trained on real images, see
            :func:`gan_test`; None if there are none.
        seed: seed of all random choices.
        k: neighbours of density and coverage.

    Returns:
        ``gan_test`` (None without probabilities), and for each kind of features the result of
        :func:`class_measures`, extended by ``separability``, the result of :func:`separability`.

    Raises:
        ValueError: if shapes or kinds do not match, or there are fewer than 2 images.
    """
    if set(real.features) != set(synthetic.features):
        raise ValueError(
            "real and synthetic must have the same kinds of features, "
            f"got {[*real.features]} and {[*synthetic.features]}"
        )
    rng = np.random.default_rng(seed)
    return {
        "gan_test": None if probabilities is None else gan_test(probabilities, synthetic.labels),
        **{
            kind: class_measures(features, real.labels, synthetic.features[kind], synthetic.labels, rng, k=k)
            | {"separability": separability(features, synthetic.features[kind], rng)}
            for kind, features in real.features.items()
        },
    }


def gan_test(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy on synthetic images of classifiers trained on real ones, a measure of labels and quality.

    Shmelkov et al. 2018 (arXiv:1807.09499). It rises when diversity falls, so it must not be optimised alone.
    The reverse, training on synthetic and testing on real images (their GAN-train, the classification
    accuracy score of arXiv:1905.10887), is the accuracy of the arm.

    Args:
        probabilities: float of shape (N, C) of one classifier, or (S, N, C) of several.
        labels: int of shape (N,), the intended classes, N at least 2.

    Returns:
        ``mean``, ``low`` and ``high``, in [0, 1], over images and classifiers.

    Raises:
        ValueError: if shapes do not match.
    """
    named = np.asarray(probabilities).argmax(axis=-1)
    if named.shape[-1:] != labels.shape or named.ndim not in (1, 2):
        raise ValueError(
            f"probabilities must be (N, C) or (S, N, C) for {len(labels)} labels, got {probabilities.shape}"
        )
    return asdict(Interval.of(accuracy_interval(np.atleast_2d(named == labels))))


def class_measures(
    real: np.ndarray,
    real_labels: np.ndarray,
    synthetic: np.ndarray,
    synthetic_labels: np.ndarray,
    rng: np.random.Generator,
    *,
    k: int = 5,
) -> dict[str, float | None]:
    """Density, coverage and diversity within each class, averaged over the classes of ``real``.

    Coverage and Vendi score grow with the number of images, so at most as many synthetic as real images of a
    class are measured, chosen at random. In a class without synthetic images, density, coverage and diversity
    are 0.

    Args:
        real: float of shape (N, D).
        real_labels: int of shape (N,).
        synthetic: float of shape (M, D).
        synthetic_labels: int of shape (M,).
        rng: chooses images.
        k: neighbours; at most one less than the number of real images of the class is used.

    Returns:
        ``density`` and ``coverage`` (:func:`understudy.functional.coverage.density_and_coverage`);
        ``diversity``, the mean distance of synthetic images divided by that of real images; ``vendi`` and
        ``vendi_real``, the Vendi scores of equal numbers of synthetic and real images
        (:func:`understudy.functional.diversity.vendi_score`; both 0 in a class without synthetic images). All
        are None if a class has a single real image; ``diversity`` also if the real images of each class are
        equal.

    Raises:
        ValueError: if shapes do not match.
    """
    names = ("density", "coverage", "diversity", "vendi", "vendi_real")
    rows = []
    for label in np.unique(real_labels):
        originals, drawn = real[real_labels == label], synthetic[synthetic_labels == label]
        if len(originals) < 2:
            return dict.fromkeys(names)
        drawn = _choose(drawn, len(originals), rng)
        density, coverage = density_and_coverage(originals, drawn, k=k) if len(drawn) else (0.0, 0.0)
        scores = [
            vendi_score(part) if len(part) else 0.0 for part in (drawn, _choose(originals, len(drawn), rng))
        ]
        rows.append(
            [
                density,
                coverage,
                mean_distance(drawn) if len(drawn) > 1 else 0.0,
                *scores,
                mean_distance(originals),
            ]
        )
    *means, real_distance = np.mean(rows, axis=0).tolist()
    found = dict(zip(names, means, strict=True))
    # The ratio of means, not the mean of ratios, so that a class with equal real images does not dominate.
    return found | {"diversity": found["diversity"] / real_distance if real_distance else None}


def separability(
    real: np.ndarray, synthetic: np.ndarray, rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    """How well logistic regression separates real from synthetic images, on images that it was not fitted to.

    This is a classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv:1610.06545). It uses five folds (or
    fewer for fewer images), equal numbers of each kind (at most 1000, chosen at random), and features
    standardised over the images that it is fitted to.

    Args:
        real: float of shape (N, D), N at least 2.
        synthetic: float of shape (M, D), M at least 2.
        rng: chooses images and folds.

    Returns:
        ``accuracy`` and ``auc`` (area under the receiver operating curve), each ``mean``, ``low``, ``high``
        with a 95% Student interval over folds, cut to [0, 1]; 0.5 means inseparable, 1 fully separable.

    Raises:
        ValueError: if there are fewer images, widths differ, or features are not finite.
    """
    # slow to import, and not needed by most commands
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(len(real), len(synthetic)) < 2 or real.shape[1:] != synthetic.shape[1:] or real.ndim != 2:
        raise ValueError(
            f"real and synthetic must be (N, D) and (M, D) with N and M above 1, got {real.shape} and "
            f"{synthetic.shape}"
        )
    count = min(len(real), len(synthetic), _MAX_TOLD_APART)
    x = np.concatenate([_choose(real, count, rng), _choose(synthetic, count, rng)]).astype(np.float64)
    y = np.repeat([0, 1], count)
    folds = StratifiedKFold(min(_NUM_FOLDS, count), shuffle=True, random_state=int(rng.integers(2**31)))
    accuracies, areas = [], []
    for fitted, held_out in folds.split(x, y):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=_PROBE_C, max_iter=_PROBE_MAX_ITER)).fit(
            x[fitted], y[fitted]
        )
        accuracies.append(float((probe.predict(x[held_out]) == y[held_out]).mean()))
        areas.append(float(roc_auc_score(y[held_out], probe.decision_function(x[held_out]))))
    return {"accuracy": _within_unit(accuracies), "auc": _within_unit(areas)}


def _choose(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Choose at most ``count`` points at random, in their order."""
    return points if len(points) <= count else points[np.sort(rng.choice(len(points), count, replace=False))]


def _within_unit(values: list[float]) -> dict[str, float]:
    return {name: min(1.0, max(0.0, value)) for name, value in student_interval(values).items()}
