"""Membership inference: was an image among those that a model was trained on?

Symbols::

    p(x|theta)   probability that a model gives to the true class of image x
    phi          logit of that probability, log(p / (1 - p))
    members      which images a model was trained on                           bool (K, N) or (N,)
    K, N, C      models, images, classes
    S            shadow models, whose members the attacker knows
    z            image of a population that no model was trained on            M images
    score        of an image under a target model; higher for likely members
"""

from __future__ import annotations

from typing import Literal

import numpy as np

_LEAST_DEVIATION = 1e-6  # nats; for images on which all shadow models agree to the last digit


def scaled_confidence(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logit of the probability of the true class: phi of Carlini et al. 2022 (arXiv:2112.03570).

    Over trainings, phi is about normally distributed, unlike the probability. ``1 - p`` is computed as the
    sum over the other classes, which keeps its digits if p is near 1.

    Args:
        probabilities: float64 of shape (..., N, C), C at least 2, rows sum to 1.
        labels: int of shape (N,).

    Returns:
        float64 of shape (..., N), finite.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> scaled_confidence(np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([0, 0])).round(3)
        array([0.   , 2.197])
    """
    if probabilities.ndim < 2 or probabilities.shape[-1] < 2 or labels.shape != probabilities.shape[-2:-1]:
        raise ValueError(
            f"probabilities must be (..., N, C) and labels (N,), got {probabilities.shape} and {labels.shape}"
        )
    is_true_NC = np.arange(probabilities.shape[-1]) == labels[:, None]
    tiny = np.finfo(np.float64).tiny
    true, rest = ((probabilities * mask).sum(axis=-1, dtype=np.float64) for mask in (is_true_NC, ~is_true_NC))
    return np.asarray(np.log(np.maximum(true, tiny)) - np.log(np.maximum(rest, tiny)))


def lira_scores(
    phi: np.ndarray,
    shadow_phi: np.ndarray,
    shadow_members: np.ndarray,
    *,
    kind: Literal["online", "offline"] = "online",
    fixed_variance: bool = False,
) -> np.ndarray:
    """Likelihood-ratio attack on one target model; Carlini et al. 2022 (arXiv:2112.03570), algorithm 1.

    Each image has two normal distributions of phi: over shadow models that were trained on it, and over those
    that were not. The online score is the log ratio of the two densities at the target's phi. The offline
    score uses only the second: how many standard deviations phi lies above the mean, which gives the same
    order as the one-sided probability.

    Args:
        phi: phi of the target, float (N,).
        shadow_phi: phi of the shadow models, float (S, N).
        shadow_members: bool (S, N); each image needs a shadow model without it, and one with it for
            ``online``.
        kind: ``online`` uses shadow models with the image, ``offline`` does not.
        fixed_variance: whether all images share one variance (of phi within images), which is better with few
            shadow models. If not, each image needs two shadow models of each kind in use; otherwise one image
            with two is enough.

    Returns:
        float64 (N,).

    Raises:
        ValueError: if the shapes do not match or there are too few shadow models.

    Example:
        >>> shadows = np.array([[3.0], [5.0], [0.0], [2.0]])
        >>> members = np.array([[True], [True], [False], [False]])
        >>> lira_scores(np.array([4.0]), shadows, members), lira_scores(np.array([1.0]), shadows, members)
        (array([2.25]), array([-2.25]))
    """
    if shadow_phi.shape != shadow_members.shape or shadow_phi.shape[1:] != phi.shape:
        raise ValueError(
            "phi, shadow_phi and shadow_members must be (N,), (S, N) and (S, N), "
            f"got {phi.shape}, {shadow_phi.shape} and {shadow_members.shape}"
        )
    without = _deviations(phi, shadow_phi, ~shadow_members, fixed_variance=fixed_variance)
    if kind == "offline":
        return without[0]
    inside = _deviations(phi, shadow_phi, shadow_members, fixed_variance=fixed_variance)
    return np.asarray((without[0] ** 2 - inside[0] ** 2) / 2 + np.log(without[1] / inside[1]))


def _deviations(
    phi: np.ndarray, shadow_phi: np.ndarray, used: np.ndarray, *, fixed_variance: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of phi from the mean of the shadow models in use, in standard deviations.

    Returns:
        This distance and the standard deviations, both (N,).
    """
    counts = used.sum(axis=0)
    if counts.min() < (1 if fixed_variance else 2) or counts.max() < 2:
        raise ValueError(f"too few shadow models with or without an image: {counts.min()} to {counts.max()}")
    mean = np.where(used, shadow_phi, 0).sum(axis=0) / counts
    squares = np.where(used, (shadow_phi - mean) ** 2, 0).sum(axis=0)
    variance = (
        np.full(len(phi), squares.sum() / (counts - 1).sum()) if fixed_variance else squares / (counts - 1)
    )
    deviation = np.maximum(np.sqrt(variance), _LEAST_DEVIATION)
    return (phi - mean) / deviation, deviation


def rmia_scores(
    p: np.ndarray,
    shadow_p: np.ndarray,
    shadow_members: np.ndarray,
    population_p: np.ndarray,
    population_shadow_p: np.ndarray,
    *,
    gamma: float = 1.0,
) -> np.ndarray:
    """Robust attack on one target model; Zarifzadeh et al. 2024 (arXiv:2312.03262), section 3, online.

    The score is the share of images z for which LR(x, z) is at least gamma, where LR(x, z) is
    ``(p(x|theta) / p(x)) / (p(z|theta) / p(z))``. p(x) is a mean over shadow models in which those with the
    image and those without it have half of the weight each; no shadow model has images of the population. The
    z are the population and the attacked images, about which the attacker knows no more than about x.

    The default gamma is 1, not 2 as in the paper: if a classifier is nearly sure of every image, no ratio
    comes near 2, and every score would be 0.

    Args:
        p: probabilities of the target, in [0, 1], float (N,).
        shadow_p: probabilities of the shadow models, (S, N).
        shadow_members: bool (S, N); each image needs a shadow model with it and one without it.
        population_p: probabilities of the target, (M,), M at least 1.
        population_shadow_p: probabilities of the shadow models, (S, M).
        gamma: factor by which x must have become more likely than z, at least 1.

    Returns:
        float64 (N,), in [0, 1], a multiple of 1 / (M + N).

    Raises:
        ValueError: if the shapes do not match, or an image lacks shadow models of one kind.

    Example:
        >>> shadows, members = np.array([[0.6], [0.2]]), np.array([[True], [False]])
        >>> population, by_shadows = np.array([0.4, 0.9]), np.array([[0.4, 0.6], [0.4, 0.6]])
        >>> rmia_scores(np.array([0.6]), shadows, members, population, by_shadows).round(3)
        array([0.667])
    """
    _check_rmia(p, shadow_p, shadow_members, population_p, population_shadow_p)
    tiny = np.finfo(np.float64).tiny
    halves = [
        np.where(used, shadow_p, 0).sum(axis=0) / used.sum(axis=0)
        for used in (shadow_members, ~shadow_members)
    ]
    ratio = p / np.maximum(np.mean(halves, axis=0), tiny)
    population_ratio = population_p / np.maximum(population_shadow_p.mean(axis=0), tiny)
    others = np.sort(gamma * np.concatenate([population_ratio, ratio]))
    return np.asarray(np.searchsorted(others, ratio, side="right") / len(others))


def _check_rmia(
    p: np.ndarray,
    shadow_p: np.ndarray,
    shadow_members: np.ndarray,
    population_p: np.ndarray,
    population_shadow_p: np.ndarray,
) -> None:
    if (
        shadow_p.shape != shadow_members.shape
        or shadow_p.shape[1:] != p.shape
        or population_shadow_p.shape[1:] != population_p.shape
    ):
        raise ValueError(
            "p, shadow_p, shadow_members, population_p and population_shadow_p must be (N,), (S, N), (S, N), "
            f"(M,) and (S, M), got {p.shape}, {shadow_p.shape}, {shadow_members.shape}, {population_p.shape} "
            f"and {population_shadow_p.shape}"
        )
    counts = shadow_members.sum(axis=0)
    if counts.min() < 1 or counts.max() == len(shadow_p) or not len(population_p):
        raise ValueError(
            "each image needs a shadow model with it and one without it, and there must be a population"
        )


def roc(
    scores: np.ndarray, members: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """False- and true-positive rate at every threshold, from "no image is a member" to "all are".

    Args:
        scores: float of any shape.
        members: bool of the same shape, with both values.
        weights: weight of each score, at least 0, of the same shape; 1 if not given.

    Returns:
        Two arrays of equal length, from 0 to 1, never falling. Equal scores make one step.

    Raises:
        ValueError: if all weight is on members or on non-members.

    Example:
        >>> scores, members = np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False])
        >>> [rates.tolist() for rates in roc(scores, members)]
        [[0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0]]
    """
    order = np.argsort(-scores, axis=None, kind="stable")
    weight = np.ones(scores.size) if weights is None else weights.reshape(-1)[order].astype(np.float64)
    is_member, ranked = members.reshape(-1)[order], scores.reshape(-1)[order]
    true, false = np.cumsum(weight * is_member), np.cumsum(weight * ~is_member)
    if not true[-1] or not false[-1]:
        raise ValueError("rates need members and non-members, got only one kind")
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return np.append(0, false[last] / false[-1]), np.append(0, true[last] / true[-1])


def area_under(fpr: np.ndarray, tpr: np.ndarray) -> float:
    """Area under a curve of :func:`roc`.

    It is the probability that a member scores higher than a non-member; guessing gives 0.5.
    """
    return float(np.trapezoid(tpr, fpr))


def tpr_at(fpr: np.ndarray, tpr: np.ndarray, rate: float) -> float:
    """Largest true-positive rate among thresholds with a false-positive rate of at most ``rate``.

    The curve is not interpolated between its points.

    Example:
        >>> tpr_at(np.array([0.0, 0.01, 0.5, 1.0]), np.array([0.0, 0.2, 0.9, 1.0]), 0.1)
        0.2
    """
    return float(tpr[np.searchsorted(fpr, rate * (1 + 1e-9), side="right") - 1])


def attack_rates(
    scores: np.ndarray,
    members: np.ndarray,
    rates: tuple[float, ...],
    rng: np.random.Generator,
    *,
    num_resamples: int,
) -> np.ndarray:
    """Area under the curve and true-positive rates, each with a 95% interval.

    One threshold applies to all target models. Intervals are percentiles over resamples of images and target
    models at the same time (Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1). Two
    models that were trained on opposite halves depend on each other, so pairs are drawn, P - 1 of the
    P = K / 2 (Rao and Wu 1988, JASA 83).

    Args:
        scores: float (K, N), K even and at least 4.
        members: bool (K, N); models 2j and 2j + 1 were trained on opposite halves.
        rates: false-positive rates, in (0, 1).
        rng: source of the resamples.
        num_resamples: R.

    Returns:
        float64 (1 + len(rates), 3): value, low end and high end of the area, then of each rate.

    Raises:
        ValueError: if the models are not at least two pairs with opposite halves.
    """
    num_models, num_images = scores.shape
    if num_models < 4 or num_models % 2 or (members[::2] == members[1::2]).any():
        raise ValueError("models must be at least two pairs that were trained on opposite halves")
    num_pairs = num_models // 2
    values = [_summary(scores, members, rates, None)]
    for _ in range(num_resamples):
        models = np.repeat(rng.multinomial(num_pairs - 1, np.full(num_pairs, 1 / num_pairs)), 2)
        images = rng.multinomial(num_images, np.full(num_images, 1 / num_images))
        values.append(_summary(scores, members, rates, models[:, None] * images))
    measured = np.array(values[0])
    low, high = np.quantile(np.array(values[1:]), [0.025, 0.975], axis=0)
    return np.stack([measured, np.minimum(low, measured), np.maximum(high, measured)], axis=1)


def _summary(
    scores: np.ndarray, members: np.ndarray, rates: tuple[float, ...], weights: np.ndarray | None
) -> list[float]:
    fpr, tpr = roc(scores, members, weights)
    return [area_under(fpr, tpr), *(tpr_at(fpr, tpr, rate) for rate in rates)]
