"""The verdict over several whole runs; in each of them, the arm is judged that the other runs choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from understudy.evaluation.accuracy import RIVALS, judge, measured_by
from understudy.evaluation.choice import Choice, choose
from understudy.evaluation.class_sizes import MEASURES
from understudy.evaluation.repeats import summarise_arm

_Run = Mapping[str, Mapping[str, Any]]
RealImages = Literal["same", "divisions", "same for testing", "other"]
"""Whether runs have the same real images, other divisions of them with more than half of the train images in
common, only the same test images, or none of these.
"""


def verdict_over_runs(
    runs: Sequence[_Run], choice: Choice, *, with_val: Mapping[str, str], images: RealImages
) -> dict[str, Any]:
    """Decide over several runs whether synthetic images help, and say so.

    In each run, the arm is judged that the validation images *of the other runs* choose. The luck of a run,
    such as real images that suit one arm, shows on its validation images and on its test images, so an arm
    that is chosen and judged in the same run carries this luck into the result.

    Args:
        runs: the figures of every arm of each run, as in ``study.json``; at least one run.
        choice: how the arm is chosen, with the number of validation images of one run; its measure also
            judges.
        with_val: by name of an arm, the name of the same arm that also learns from the validation images. In
            runs that have no such arm, the arm itself is compared with ``real+val``.
        images: which real images the runs have in common.

    Returns:
        ``helps`` (whether the 95% intervals over runs of all differences to real images alone lie above 0;
        false for a single run), ``measure``, ``arms`` (the arm that is judged in each run), ``sentence``, and
        the differences by the names in :data:`understudy.evaluation.accuracy.RIVALS`, from
        :func:`understudy.evaluation.repeats.over_runs`.
    """
    chosen, measure = arms_of_other_runs(runs, choice), choice.measure
    answer = {"helps": False, "measure": measure, "arms": chosen}
    if not chosen:
        return answer | {"sentence": "No arm used synthetic images, so nothing is known of their worth."}
    partners = [
        partner if (partner := with_val.get(arm, arm)) in run else arm
        for run, arm in zip(runs, chosen, strict=True)
    ]
    name = chosen[0] if len(set(chosen)) == 1 else "the chosen arm"
    partner = _partner(name, chosen, partners)
    arms = {arm: [arm] * len(runs) for arm in RIVALS.values()} | {name: chosen, partner: partners}
    pooled = _over_runs(runs, arms)
    helps, sentence = judge(
        pooled,
        name,
        terms=MEASURES[measure],
        with_val={name: partner},
        measure=measure,
        runs=_words(len(runs), images),
    )
    judged, beyond = measured_by(pooled[name], measure), measured_by(pooled[partner], measure)
    differences = {field: judged[field] for field in RIVALS if field in judged}
    if "minus_real_val" in beyond:
        differences["minus_real_val"] = beyond["minus_real_val"]
    return answer | {"helps": helps and len(runs) > 1, "sentence": sentence + _note(chosen), **differences}


def arms_of_other_runs(runs: Sequence[_Run], choice: Choice) -> list[str]:
    """For each run, the arm that is chosen by the mean figures on validation images of the other runs.

    The standard error of the choice is that of one run: runs share validation images, or take them from the
    same source, so those of several runs do not count as more images.

    Args:
        runs: the figures of every arm of each run.
        choice: how to choose; candidates that some run lacks are left out.

    Returns:
        A name per run; a single run chooses on its own validation images. Empty if no candidate was trained
        in every run.

    Example:
        >>> def run(synthetic, mixed):
        ...     return {"synthetic": {"val_accuracy": synthetic}, "mixed": {"val_accuracy": mixed}}
        >>> runs = [run(0.9, 0.5), run(0.6, 0.7), run(0.6, 0.7)]
        >>> arms_of_other_runs(runs, Choice(candidates=["synthetic", "mixed"], num_val=50))
        ['mixed', 'synthetic', 'synthetic']
    """
    names = [name for name in runs[0] if name in choice.candidates and all(name in arms for arms in runs)]
    if not names:
        return []
    chosen = []
    for number, run in enumerate(runs):
        others = [*runs[:number], *runs[number + 1 :]] or [run]
        on_val = {name: _on_val([other[name] for other in others]) for name in names}
        chosen.append(choose(on_val, choice).arm)
    return chosen


def _on_val(measured: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over runs of the figures on validation images that every run has."""
    fields = [field for field in measured[0] if field.startswith("val_")]
    return {
        field: sum(run[field] for run in measured) / len(measured)
        for field in fields
        if all(field in run for run in measured)
    }


def _over_runs(runs: Sequence[_Run], arms: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Figures over runs by name; each name stands for an arm of each run, and is left out if one lacks it."""
    return {
        name: summarise_arm([run[arm] for run, arm in zip(runs, of_runs, strict=True)], test_images=True)
        for name, of_runs in arms.items()
        if all(arm in run for run, arm in zip(runs, of_runs, strict=True))
    }


def _partner(name: str, chosen: Sequence[str], partners: Sequence[str]) -> str:
    """What to call the arm that is compared with ``real+val``."""
    if partners == chosen:
        return name
    if len(set(partners)) == 1:
        return partners[0]
    learned = sum(partner != arm for partner, arm in zip(partners, chosen, strict=True))
    return f"{name} (trained with the validation images in {learned} of {len(chosen)} runs)"


def _words(count: int, images: RealImages) -> str:
    """What runs differ in; empty for a single run."""
    if count == 1:
        return ""
    others = "other synthetic images and other classifiers"
    if images == "same":
        return f"Over {count} runs on the same real images, each with {others}"
    if images == "divisions":
        return f"Over {count} divisions of the same real images, each with {others}"
    if images == "same for testing":
        return f"Over {count} runs on the same test images, each with other train images, {others}"
    return f"Over {count} runs, each with other real images, {others}"


def _note(chosen: Sequence[str]) -> str:
    if len(chosen) == 1:
        return " This is a single run, which says nothing about others."
    if len(set(chosen)) == 1:
        return ""
    counts = ", ".join(f"{arm} in {count}" for arm, count in Counter(chosen).items())
    return f" The arm of each run was chosen in the other runs: {counts}."
