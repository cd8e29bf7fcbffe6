"""Which arm a verdict is about: the choice on validation images."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, final

from understudy.functional.intervals import standard_error


@final
@dataclass(frozen=True, kw_only=True)
class Choice:
    """How the arm of a verdict is chosen on validation images.

    Attributes:
        candidates: names of the arms to choose from: they use synthetic images and do not learn from
            validation images.
        num_val: number of validation images, at least 1.
        refittable: names of the arms that can be trained again on train and validation images.
        measure: a key of :data:`understudy.evaluation.class_sizes.MEASURES`.
    """

    candidates: Collection[str]
    num_val: int
    refittable: Collection[str] = ()
    measure: str = "accuracy"

    def __post_init__(self) -> None:
        if self.num_val < 1:
            raise ValueError(f"num_val must be at least 1, got {self.num_val}")


def chosen_by(arms: Mapping[str, Mapping[str, Any]], measure: str) -> str:
    """The field with the figure on validation images that chooses between arms for a measure.

    Args:
        arms: the result of :func:`understudy.evaluation.accuracy.summarise`.
        measure: a key of :data:`understudy.evaluation.class_sizes.MEASURES`.
    """
    field = f"val_{measure}"
    # An arm that learns from the validation images has no figure on them.
    return field if all(field in arm for arm in arms.values() if "val_accuracy" in arm) else "val_accuracy"


def choose(arms: Mapping[str, Mapping[str, Any]], choice: Choice) -> str:
    """Choose the arm that a verdict is about: the best one on validation images, the first among equals.

    An arm that cannot learn from the validation images afterwards is chosen only if it is better there than
    every arm that can, by more than one standard error: otherwise they cannot tell the arms apart, and an arm
    of ``choice.refittable`` still gains their labels (the one-standard-error rule of Breiman et al. 1984).

    Args:
        arms: the result of :func:`understudy.evaluation.accuracy.summarise`, with at least one candidate.
        choice: how to choose.
    """
    chosen_from = {name: arm for name, arm in arms.items() if name in choice.candidates}
    field = chosen_by(chosen_from, choice.measure)

    def on_val(name: str) -> float:
        return float(arms[name][field])

    best = max(chosen_from, key=on_val)
    learning = [name for name in chosen_from if name in choice.refittable]
    if best in choice.refittable or not learning:
        return best
    second = max(learning, key=on_val)
    error = standard_error(on_val(best), choice.num_val)
    return second if on_val(second) >= on_val(best) - error else best


def why_chosen(arms: Mapping[str, Mapping[str, Any]], choice: Choice) -> str:
    """Say in one sentence which arm :func:`choose` takes, and why; its arguments are the same."""
    best, images = choose(arms, choice), f"the {choice.num_val:,} validation images"
    chosen_from = {name: arm for name, arm in arms.items() if name in choice.candidates}
    if len(chosen_from) == 1:
        return f"{best} was chosen because no other arm with synthetic images was to choose from."
    field = chosen_by(chosen_from, choice.measure)
    first = max(chosen_from, key=lambda name: float(arms[name][field]))
    if first != best:
        return (
            f"{best} was chosen although {first} did better on {images}, {arms[first][field]:.1%} against "
            f"{arms[best][field]:.1%}: the difference is within one standard error, and {best} can learn "
            f"from these images afterwards, unlike {first}."
        )
    if best not in choice.refittable and any(name in choice.refittable for name in chosen_from):
        return (
            f"{best} was chosen because it did better on {images}, by more than one standard error, than "
            "every arm that can learn from them afterwards."
        )
    return f"{best} was chosen because no other arm with synthetic images did better on {images}."
