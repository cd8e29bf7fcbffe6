"""Membership inference: was this image among those that this model learned from?

Symbols::

    p(x|theta)   probability that a model gives to the true class of image x
    phi          logit of that probability, log(p / (1 - p))
    members      which images a model learned from                             bool (K, N) or (N,)
    K, N, C      models, images, classes
    S            shadow models, of which the attacker knows the members
    z            image of a population of which no model learned               M of them
    score        of an image under a target model; higher says member
"""

from __future__ import annotations

from typing import Literal

import numpy as np

_LEAST_DEVIATION = 1e-6  # nats; where all shadow models agree to the last digit


def scaled_confidence(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logit of the probability of the true class, phi; Carlini et al. 2022 (arXiv:2112.03570), phi there.

    Over trainings it is about normally distributed, as the probability is not. The other classes'
    probabilities are summed, since one minus a probability near one has no digits left.

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

    To each image belong two normal distributions of phi, of shadow models that learned from it and of those
    that did not. Online, the score is the log ratio of their densities at the target's phi. Offline, only the
    second is used, one-sided: how far phi lies above its mean, in deviations, which orders as the probability
    does.

    Args:
        phi: of the target, float (N,).
        shadow_phi: of shadow models, float (S, N).
        shadow_members: bool (S, N); each image needs a shadow model without it, and online one with it.
        kind: whether shadow models with the image are used.
        fixed_variance: one variance for all images, within images, instead of one each: better where shadow
            models are few. Without, each image needs two shadow models of either kind in use; with, some
            image does.

    Returns:
        float64 (N,).

    Raises:
        ValueError: if the shapes do not fit or there are too few shadow models.

    Example:
        >>> shadows = np.array([[3.0], [5.0], [0.0], [2.0]])
        >>> members = np.array([[True], [True], [False], [False]])
        >>> lira_scores(np.array([4.0]), shadows, members), lira_scores(np.array([1.0]), shadows, members)
        (array([2.25]), array([-2.25]))
    """
    if shadow_phi.shape != shadow_members.shape or shadow_phi.shape[1:] != phi.shape:
        raise ValueError(
            f"need phi (N,) and shadows (S, N) twice, got {phi.shape}, {shadow_phi.shape} and "
            f"{shadow_members.shape}"
        )
    without = _deviations(phi, shadow_phi, ~shadow_members, fixed_variance=fixed_variance)
    if kind == "offline":
        return without[0]
    member = _deviations(phi, shadow_phi, shadow_members, fixed_variance=fixed_variance)
    return np.asarray((without[0] ** 2 - member[0] ** 2) / 2 + np.log(without[1] / member[1]))


def _deviations(
    phi: np.ndarray, shadow_phi: np.ndarray, used: np.ndarray, *, fixed_variance: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of phi from the mean of the shadow models used, in standard deviations.

    Returns this distance and the standard deviations, both (N,).
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
    ``(p(x|theta) / p(x)) / (p(z|theta) / p(z))``. p(x) is a mean over shadow models, half of the weight on
    those with the image and half on those without; of the population they all are without. The z are the
    population and the candidates themselves, of which the attacker knows no more than of x.

    Where classifiers are nearly sure of every image, no ratio comes near 2 and every score is 0; so gamma is
    1 here.

    Args:
        p: of the target, in [0, 1], float (N,).
        shadow_p: of shadow models, (S, N).
        shadow_members: bool (S, N); each image needs a shadow model of either kind.
        population_p: of the target, (M,), M at least 1.
        population_shadow_p: of shadow models, (S, M).
        gamma: how much more likely the image must have become than z, at least 1.

    Returns:
        float64 (N,), in [0, 1], a multiple of 1 / (M + N).

    Raises:
        ValueError: if the shapes do not fit, or an image lacks shadow models of one kind.

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
    of_population = population_p / np.maximum(population_shadow_p.mean(axis=0), tiny)
    others = np.sort(gamma * np.concatenate([of_population, ratio]))
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
            f"shapes do not fit: {p.shape}, {shadow_p.shape}, {shadow_members.shape}, "
            f"{population_shadow_p.shape}"
        )
    counts = shadow_members.sum(axis=0)
    if counts.min() < 1 or counts.max() == len(shadow_p) or not len(population_p):
        raise ValueError(
            "each image needs a shadow model with it and one without it, and there must be a population"
        )


def roc(
    scores: np.ndarray, members: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """False- and true-positive rate at every threshold, from none that is called a member to all.

    Args:
        scores: of any shape.
        members: bool of the same shape, with both values.
        weights: how often each counts, at least 0, of the same shape; once if not given.

    Returns:
        Two arrays of one length, from 0 to 1, neither ever falling. Equal scores are one step.

    Raises:
        ValueError: if there is no member or no other, by weight.

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
        raise ValueError("a rate needs members and others, got none of one kind")
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return np.append(0, false[last] / false[-1]), np.append(0, true[last] / true[-1])


def area_under(fpr: np.ndarray, tpr: np.ndarray) -> float:
    """Area under a curve of :func:`roc`.

    It is the chance that a member scores higher than another image; guessing gives 0.5.
    """
    return float(np.trapezoid(tpr, fpr))


def tpr_at(fpr: np.ndarray, tpr: np.ndarray, rate: float) -> float:
    """Largest true-positive rate of a threshold whose false-positive rate is at most ``rate``.

    Nothing is interpolated between the points of the curve.

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

    The intervals cover other images and other target models.

    The scores of all target models are put under one threshold. Images and models are resampled at once (Owen
    2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1). Two models that learned from opposite
    halves depend on each other, so pairs are drawn, P - 1 of the P = K / 2 (Rao and Wu 1988, JASA 83);
    percentiles.

    Args:
        scores: float (K, N), K even and at least 4.
        members: bool (K, N); models 2j and 2j + 1 learned from opposite halves.
        rates: false-positive rates, in (0, 1).
        rng: source of the resamples.
        num_resamples: R.

    Returns:
        float64 (1 + len(rates), 3): value, low and high end; the area first.

    Raises:
        ValueError: if the models are not at least two such pairs.
    """
    num_models, num_images = scores.shape
    if num_models < 4 or num_models % 2 or (members[::2] == members[1::2]).any():
        raise ValueError("models must be two or more pairs that learned from opposite halves")
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
