"""Membership-inference audit: how well an attacker can tell which real images a classifier was trained on.

Every model is the target once, and the others are the attacker's shadow models. Models come in pairs that are
trained on opposite halves of the images. The partner of the target is left out, because it would reveal the
answer; without it, the attacker has equal numbers of shadow models with and without each image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from understudy.core.errors import InputError
from understudy.functional.membership import attack_rates, lira_scores, rmia_scores, roc, scaled_confidence

ATTACKS = ("lira", "rmia")
PROMISE = (
    (
        "An attack that succeeds proves that the classifier gives away who is in its training set; "
        "a better attacker may learn more."
    ),
    (
        "An attack that fails proves nothing: an audit is a lower bound, "
        "and only differential privacy is an upper one."
    ),
    (
        "Rates are means over all images; single images, such as rare or mislabelled ones, "
        "can be far easier to tell."
    ),
    (
        "Images that look like copies and a low attack rate can go together: "
        "look at the memorisation section as well."
    ),
)
_LEAST_FALSE_POSITIVES = 10  # false positives that are expected at the lowest reported rate
# Without target and partner, two models with and two without each image are left; a variance needs two.
_LEAST_MODELS = 6
_MIN_MODELS_PER_IMAGE = 64  # Carlini et al. 2022: with fewer models, one variance for all is better
_CURVE_POINTS = 200


def half_splits(labels: np.ndarray, num_models: int, *, seed: int) -> np.ndarray:
    """Choose the images that each model is trained on: a random half of each class.

    Models 2j and 2j + 1 get opposite halves, so each image belongs to exactly half of the models. If a class
    has an odd number of images, chance decides which of the two gets one more.

    Args:
        labels: int (N,).
        num_models: K, even.
        seed: chooses the halves.

    Returns:
        bool (K, N).

    Raises:
        InputError: if ``num_models`` is odd, or a class has a single image, which cannot be divided.

    Example:
        >>> half_splits(np.array([0, 0, 1, 1]), 4, seed=0).sum(axis=0)
        array([2, 2, 2, 2])
    """
    if num_models % 2:
        raise InputError(
            "membership.shadows must be even, because models come in pairs with opposite halves of the "
            f"images, got {num_models}"
        )
    counts = np.bincount(labels)
    if (counts == 1).any():
        alone = int(np.flatnonzero(counts == 1)[0])
        raise InputError(
            "a membership audit needs at least 2 real images of each class, one for each half, "
            f"got 1 of class number {alone}"
        )
    rng = np.random.default_rng([seed, num_models])
    first = np.empty((num_models // 2, len(labels)), dtype=bool)
    for row in first:
        for label in np.flatnonzero(counts):
            places = np.flatnonzero(labels == label)
            row[rng.permutation(places)] = np.arange(len(places)) < len(places) // 2 + (
                len(places) % 2
            ) * rng.integers(2)
    return np.stack([first, ~first], axis=1).reshape(num_models, len(labels))


def enough_shadows(num_models: int, num_images: int, false_positive_rates: Sequence[float]) -> None:
    """Check that there are enough models and images for the false-positive rates.

    Each of K models has N / 2 images that it was not trained on. A rate needs at least 10 false positives
    among these K N / 2 cases.

    Args:
        num_models: K.
        num_images: N.
        false_positive_rates: in (0, 1).

    Raises:
        InputError: naming the number of models that the rates need, or the lowest possible rate.
    """
    lowest = min(false_positive_rates)
    needed = max(_LEAST_MODELS, math.ceil(2 * _LEAST_FALSE_POSITIVES / (lowest * num_images) - 1e-9))
    needed += needed % 2
    if num_models < needed:
        use = f"use --shadows {needed} (membership.shadows={needed})"
        if needed == _LEAST_MODELS:
            raise InputError(f"an audit needs at least {needed} shadow models, got {num_models}: {use}")
        fewest = max(num_models - num_models % 2, _LEAST_MODELS)
        possible = math.ceil(2e4 * _LEAST_FALSE_POSITIVES / (fewest * num_images)) / 1e4
        rate = f"--rates {max(possible, 0.01):g} (membership.false_positive_rates)"
        instead = f", or with {fewest} models no rate below {possible:g}, such as {rate}" * (possible < 1)
        raise InputError(
            f"a true-positive rate at a false-positive rate of {lowest:g} needs {needed} shadow models with "
            f"{num_images} real images, got {num_models}: {use}{instead}"
        )


def audit_membership(
    probabilities: np.ndarray,
    members: np.ndarray,
    labels: np.ndarray,
    *,
    population: np.ndarray,
    population_labels: np.ndarray,
    false_positive_rates: Sequence[float],
    num_resamples: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Attack every model of an arm, with the other models as shadow models.

    Args:
        probabilities: predictions of the models for the images, float (K, N, C).
        members: which images each model was trained on, bool (K, N), from :func:`half_splits`.
        labels: int (N,).
        population: predictions for real images that no model was trained on, (K, M, C); for RMIA.
        population_labels: int (M,).
        false_positive_rates: rates at which the true-positive rate is reported.
        num_resamples: bootstrap resamples behind each interval.
        seed: seed of the resamples.

    Returns:
        By attack, ``auc``, ``tpr`` and ``roc``; see docs/results_json.md.

    Raises:
        InputError: as :func:`enough_shadows`.
        ValueError: if the models are not pairs with opposite halves.
    """
    num_models, num_images = members.shape
    enough_shadows(num_models, num_images, false_positive_rates)
    if num_models % 2 or (members[::2] == members[1::2]).any():
        raise ValueError("models must be pairs that were trained on opposite halves")
    scores = {name: np.empty(members.shape) for name in ATTACKS}
    phi, true = scaled_confidence(probabilities, labels), _of_true_class(probabilities, labels)
    known = _of_true_class(population, population_labels)
    for target in range(num_models):
        shadows = np.flatnonzero(np.arange(num_models) // 2 != target // 2)
        fixed = num_models < _MIN_MODELS_PER_IMAGE
        scores["lira"][target] = lira_scores(
            phi[target], phi[shadows], members[shadows], fixed_variance=fixed
        )
        scores["rmia"][target] = rmia_scores(
            true[target], true[shadows], members[shadows], known[target], known[shadows]
        )
    return {
        name: _summarise(given, members, tuple(false_positive_rates), num_resamples=num_resamples, seed=seed)
        for name, given in scores.items()
    }


def _of_true_class(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.asarray(probabilities[:, np.arange(len(labels)), labels])


def _summarise(
    scores: np.ndarray, members: np.ndarray, rates: tuple[float, ...], *, num_resamples: int, seed: int
) -> dict[str, Any]:
    values = attack_rates(scores, members, rates, np.random.default_rng(seed), num_resamples=num_resamples)
    intervals = [dict(zip(("mean", "low", "high"), row, strict=True)) for row in values.tolist()]
    fpr, tpr = roc(scores, members)
    # Evenly spaced on a logarithmic axis, starting at one false positive.
    shown = np.geomspace(1 / (~members).sum(), 1, _CURVE_POINTS) * (1 + 1e-9)
    kept = np.unique(np.searchsorted(fpr, shown, side="right") - 1)
    return {
        "auc": intervals[0],
        "tpr": [{"fpr": rate, "tpr": interval} for rate, interval in zip(rates, intervals[1:], strict=True)],
        "roc": {"fpr": fpr[kept].tolist(), "tpr": tpr[kept].tolist()},
    }
