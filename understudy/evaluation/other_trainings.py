"""The arm of a verdict, judged in each training by the choice that the other trainings make."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from understudy.evaluation.accuracy import figures_on_val, summarise
from understudy.evaluation.choice import Choice, choose
from understudy.training.records import ArmResult


def arms_of_other_trainings(
    results: Sequence[ArmResult], choice: Choice, *, use_val: Collection[str] = ()
) -> tuple[str, ...]:
    """For each training, the arm that is chosen by the figures on validation images of the other trainings.

    Args:
        results: one result per arm, all with the same number of trainings, at least two; at least one is a
            candidate.
        choice: how to choose.
        use_val: arms that learn from the validation images, so that they have no figures on them.
    """
    return tuple(
        choose(figures_on_val(results, use_val=use_val, without=index), choice).arm
        for index in range(len(results[0].seeds))
    )


def judged_by_other_trainings(
    results: Sequence[ArmResult], choice: Choice, *, use_val: Collection[str] = ()
) -> dict[str, Any]:
    """Figures of the chosen arm in which no training had a part in its own choice.

    A lucky training is right about more validation images and about more test images. An arm that is chosen
    and judged by the same trainings carries this luck into its gain. Here training ``s`` is that of the arm
    that the trainings other than ``s`` choose, among the arms with as many steps as the one that all choose:
    figures of trainings of different lengths are not averaged. What it is worth was simulated
    (``docs/limits.md``).

    Args:
        results: as for :func:`arms_of_other_trainings`, with ``real``.
        choice: how to choose.
        use_val: as above.

    Returns:
        ``arms``, the arm of each training, and its figures as in
        :func:`understudy.evaluation.accuracy.summarise`, without those on validation images and the
        difference to the arm without strategies. Empty if every training is of the arm that all trainings
        choose: its own figures hold then.
    """
    best = choose(figures_on_val(results, use_val=use_val), choice).arm
    by_name = {result.arm: result for result in results}
    as_long = [name for name in choice.candidates if by_name[name].steps == by_name[best].steps]
    arms = arms_of_other_trainings(results, replace(choice, candidates=as_long), use_val=use_val)
    if set(arms) == {best}:
        return {}
    probabilities = np.stack([by_name[arm].probabilities[index] for index, arm in enumerate(arms)])
    mixed = [
        replace(result, probabilities=probabilities) if result.arm == best else result for result in results
    ]
    figures = summarise(mixed, use_val=[result.arm for result in mixed])[best]
    return {"arms": list(arms), **{name: value for name, value in figures.items() if name != "minus_plain"}}
