"""Differences between arms with intervals that hold for all rows of the table at once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from understudy.functional.class_means import balanced_accuracy_terms
from understudy.functional.clusters import per_cluster
from understudy.functional.intervals import mean_interval
from understudy.functional.simultaneous import simultaneous_tail
from understudy.training.records import ArmResult

Ends = dict[str, float]
Name = TypeVar("Name", bound=Hashable)


def differences_at_once(results: Sequence[ArmResult], *, seed: int) -> dict[str, dict[str, dict[str, Ends]]]:
    """Intervals of the differences to ``real``, and of arms with strategies to the same arm without them.

    Of twenty single intervals one excludes 0 by chance; of these sets of intervals, one set in twenty has any
    that does.

    Args:
        results: as :func:`understudy.evaluation.accuracy.summarise`.
        seed: of the draws behind the simultaneous error.

    Returns:
        By measure (``accuracy``, ``balanced_accuracy``), by difference (``minus_real``, ``minus_plain``), by
        arm: ``low`` and ``high``. A difference that fewer than two arms have is left out.
    """
    by_name = {result.arm: result for result in results}
    rivals = {
        "minus_real": {arm: "real" for arm in by_name if arm != "real"},
        "minus_plain": {
            arm: plain for arm in by_name if (plain := arm.split("@")[0]) in by_name and plain != arm
        },
    }
    labels, clusters = results[0].labels, results[0].groups
    terms = {
        "accuracy": {arm: result.correct.astype(np.float64) for arm, result in by_name.items()},
        "balanced_accuracy": {
            arm: balanced_accuracy_terms(result.predicted, labels) for arm, result in by_name.items()
        },
    }
    strata = {"accuracy": None, "balanced_accuracy": labels}
    return {
        measure: {
            name: at_once(
                {
                    arm: per_cluster(of_arm[arm] - of_arm[other], clusters, strata[measure])
                    for arm, other in pairs.items()
                },
                groups=strata[measure] if clusters is None else None,
                seed=seed,
            )
            for name, pairs in rivals.items()
            if len(pairs) > 1
        }
        for measure, of_arm in terms.items()
    }


def at_once(
    differences: Mapping[Name, np.ndarray], *, groups: np.ndarray | None, seed: int
) -> dict[Name, Ends]:
    """Intervals of differences that hold for all of them at once: ``low`` and ``high`` by name.

    Args:
        differences: by name, values in [-1, 1] of each training and image, float (S, N).
        groups: class of each image, int (N,), if the sizes of the classes are given; None otherwise.
        seed: of the draws behind the simultaneous error.
    """
    values = np.stack(list(differences.values()))
    tail = simultaneous_tail(values, np.random.default_rng(seed), groups=groups)
    found = {}
    for arm, of_arm in zip(differences, values, strict=True):
        _, low, high = mean_interval(of_arm, limits=(-1.0, 1.0), groups=groups, tail=tail)
        found[arm] = {"low": low, "high": high}
    return found
