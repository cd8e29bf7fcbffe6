"""Which arm a verdict is about: the choice on validation images."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

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


def error_on_val(arm: Mapping[str, Any], field: str, *, num_val: int) -> float:
    """Standard error of the figure of an arm on validation images.

    Args:
        arm: a value of the result of :func:`understudy.evaluation.accuracy.summarise`.
        field: the result of :func:`chosen_by`.
        num_val: number of validation images, at least 1.
    """
    # Older records have none for balanced accuracy; their verdict stays.
    return float(arm.get(f"{field}_standard_error", standard_error(round(float(arm[field]), 9), num_val)))


@final
class Chosen(NamedTuple):
    """The arm that a verdict is about, and why.

    Attributes:
        arm: its name.
        reason: ``only`` one to choose from; ``best`` figure on validation images; ``within`` one standard
            error of the best figure and refittable, unlike the arm with that figure; ``beyond`` one standard
            error of every refittable arm, without being one.
        first: name of the arm with the best figure.
    """

    arm: str
    reason: Literal["only", "best", "within", "beyond"]
    first: str


def choose(arms: Mapping[str, Mapping[str, Any]], choice: Choice) -> Chosen:
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
        return round(float(arms[name][field]), 9)  # means of equal shares may differ by rounding

    first = max(chosen_from, key=on_val)
    refittable = [name for name in chosen_from if name in choice.refittable]
    if len(chosen_from) == 1:
        return Chosen(first, "only", first)
    if first in refittable or not refittable:
        return Chosen(first, "best", first)
    second = max(refittable, key=on_val)
    if on_val(second) == on_val(first):
        return Chosen(second, "best", second)
    error = error_on_val(arms[first], field, num_val=choice.num_val)
    if on_val(second) >= on_val(first) - error:
        return Chosen(second, "within", first)
    return Chosen(first, "beyond", first)


def why_chosen(chosen: Chosen, arms: Mapping[str, Mapping[str, Any]], choice: Choice) -> str:
    """Say in one sentence which arm was chosen, and why.

    Args:
        chosen: the result of :func:`choose`.
        arms: as given to it.
        choice: as given to it.
    """
    arm, reason, first = chosen
    images = f"the {choice.num_val:,} validation images"
    if reason == "only":
        return f"{arm} was chosen because it was the only arm with synthetic images to choose from."
    if reason == "within":
        field = chosen_by({name: arms[name] for name in arms if name in choice.candidates}, choice.measure)
        return (
            f"{arm} was chosen although {first} did better on {images}, {arms[first][field]:.1%} against "
            f"{arms[arm][field]:.1%}: the difference is within one standard error, and {arm} can learn "
            f"from these images afterwards, unlike {first}."
        )
    if reason == "beyond":
        return (
            f"{arm} was chosen because it did better on {images}, by more than one standard error, than "
            "every arm that can learn from them afterwards."
        )
    return f"{arm} was chosen because no other arm with synthetic images did better on {images}."
