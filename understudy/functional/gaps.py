"""The accuracy gap between training on synthetic and on real images, and its terms.

Wang et al. 2024 (arXiv:2311.03959) attribute most of it to a content gap. The terms below are not theirs but
an operational definition of this project, see ``docs/methods/content_gap.md``. Training on reconstructions
comes from Ravuri and Vinyals 2019 (arXiv:1905.10887, section 4).

Symbols, each the accuracy on real test images after training on a set::

    R       real images                                                   role real
    Rec     real images redrawn by the generator with the least noise     role reconstructed
    S       synthetic images as drawn                                     role plain
    S+F     synthetic images, filtered                                    role filtered
    S otf   synthetic images, new ones throughout training (on the fly)   role fresh
    S*      the best variant of S, chosen on validation images

Accuracies are single values or arrays of equal shape, over seeds, resamples, classes, or each training and
test image (right or wrong). All terms are linear, so the mean of a term is the term of the means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np

VARIANTS = ("plain", "filtered", "fresh", "filtered+fresh", "diverse", "matched")
# Each step: the term, the set it starts from, the set it leads to. All steps together lead from S to R.
# Quality and quantity overlap, so their order matters. Content and appearance have only one order, because
# redrawn images are never filtered.
_REST = (("content", "filtered+fresh", "reconstructed"), ("appearance", "reconstructed", "real"))
PATH = (("quality", "plain", "filtered"), ("quantity", "filtered", "filtered+fresh"), *_REST)
REVERSE_PATH = (("quantity", "plain", "fresh"), ("quality", "fresh", "filtered+fresh"), *_REST)
Outcome = Literal["supported", "refuted", "undecided", "no gap"]
_SINGLE = {"quality": "filtered", "quantity": "fresh", "diversity": "diverse", "matched": "matched"}

Accuracy = TypeVar("Accuracy", float, np.ndarray)


def gap_terms(accuracies: Mapping[str, Accuracy], *, best: str) -> dict[str, Accuracy]:
    """All terms that the measured sets allow.

    ``total = appearance + content + recovered`` and ``total = remaining + recovered`` always hold.
    ``quality``, ``quantity``, ``diversity`` and ``matched`` are the gains of each variant alone over S; they
    overlap and do not add up.

    Args:
        accuracies: by role, including ``real`` and ``plain``; ``appearance`` and ``content`` need
            ``reconstructed``.
        best: role of S*, one of the given roles.

    Returns:
        ``total`` R - S, ``appearance`` R - Rec, ``content`` Rec - S*, ``recovered`` S* - S, ``remaining`` R -
        S*, ``quality`` S+F - S, ``quantity`` S otf - S, and ``diversity`` and ``matched`` in the
        same way.

    Raises:
        ValueError: if ``real``, ``plain`` or ``best`` is missing.

    Example:
        >>> # Ravuri and Vinyals, table 2, top-1:
        >>> vq_vae_2 = {"real": 73.09, "reconstructed": 69.90, "plain": 54.83}
        >>> {name: round(term, 2) for name, term in gap_terms(vq_vae_2, best="plain").items()}
        {'total': 18.26, 'recovered': 0.0, 'remaining': 18.26, 'appearance': 3.19, 'content': 15.07}
    """
    missing = [role for role in ("real", "plain", best) if role not in accuracies]
    if missing:
        raise ValueError(f"accuracies must have {', '.join(missing)}, got {', '.join(accuracies)}")
    real, plain = accuracies["real"], accuracies["plain"]
    terms = {
        "total": real - plain,
        "recovered": accuracies[best] - plain,
        "remaining": real - accuracies[best],
    }
    if "reconstructed" in accuracies:
        terms |= {
            "appearance": real - accuracies["reconstructed"],
            "content": accuracies["reconstructed"] - accuracies[best],
        }
    return terms | {name: accuracies[role] - plain for name, role in _SINGLE.items() if role in accuracies}


def path_terms(accuracies: Mapping[str, Accuracy], steps: Sequence[tuple[str, str, str]]) -> list[Accuracy]:
    """The gain of each step of :data:`PATH` or :data:`REVERSE_PATH`.

    The steps end before the first set that was not measured.

    Args:
        accuracies: by role.
        steps: term, role before and role after, in order.

    Returns:
        One difference per step.

    Example:
        >>> # Slim 2020, CIFAR-10, in percent:
        >>> gan = {"plain": 79.76, "filtered": 83.84, "fresh": 84.25, "filtered+fresh": 88.56}
        >>> [[round(float(term), 2) for term in path_terms(gan, steps)] for steps in (PATH, REVERSE_PATH)]
        [[4.08, 4.72], [4.49, 4.31]]
    """
    differences = []
    for _, before, after in steps:
        if before not in accuracies or after not in accuracies:
            break
        differences.append(accuracies[after] - accuracies[before])
    return differences


def shares(terms: Mapping[str, float]) -> dict[str, float]:
    """Each term divided by the total.

    Args:
        terms: single values, including a positive ``total``.

    Returns:
        Shares by name. Those of ``appearance``, ``content`` and ``recovered`` sum to 1; each of them may be
        negative.

    Raises:
        ValueError: if ``total`` is missing or not positive.
    """
    total = terms.get("total", 0.0)
    if not total > 0:
        raise ValueError(f"shares need a positive total, got {total}")
    return {name: term / total for name, term in terms.items()}


def relative_drop(real: float, other: float) -> float:
    """Share of the real accuracy that is lost: ``(real - other) / real``, or 0 if ``real`` is 0.

    Papers print drops in points or relative drops; the abstract of Ravuri and Vinyals has relative ones.

    Example:
        >>> round(relative_drop(73.09, 42.65), 3)
        0.416
    """
    return (real - other) / real if real else 0.0


def appearance_excess(terms: Mapping[str, Accuracy]) -> Accuracy:
    """The amount by which appearance exceeds half of the total.

    :func:`content_hypothesis` judges the interval of this difference.
    """
    return terms["appearance"] - terms["total"] / 2


def content_hypothesis(excess: tuple[float, float], *, is_gap: bool) -> Outcome:
    """Whether content can explain most of the drop.

    It cannot if reconstructions, which keep the content of the real images, already lose more than half.

    Args:
        excess: low and high end of the interval of :func:`appearance_excess`.
        is_gap: whether the total is distinguishable from 0 and positive.

    Returns:
        ``refuted`` if the interval lies above 0, ``supported`` if it lies below, ``undecided`` in between,
        ``no gap`` without a gap.
    """
    low, high = excess
    if not is_gap:
        return "no gap"
    if low > 0:
        return "refuted"
    return "supported" if high < 0 else "undecided"
