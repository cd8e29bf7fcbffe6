"""The choice of the arm of a verdict on validation images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.evaluation.choice import Choice, choose, why_chosen
from understudy.training.classifier import validation_figures

NAMES = ("synthetic", "mixed", "bridged")
REFITS = ("mixed", "bridged")


def arms(*on_val):
    return {name: {"val_accuracy": val} for name, val in zip(NAMES, on_val, strict=True)}


@pytest.mark.parametrize(
    ("on_val", "chosen"),
    [
        ((0.98, 0.96, 0.97), "bridged"),  # within a standard error, which is 3 points for 50 images
        ((0.98, 0.90, 0.92), "synthetic"),
        ((0.90, 0.96, 0.96), "mixed"),
        ((1.00, 0.98, 0.90), "mixed"),  # all right is no certainty
    ],
)
def test_an_arm_that_cannot_learn_from_validation_images_is_chosen_only_if_clearly_better(on_val, chosen):
    assert choose(arms(*on_val), Choice(candidates=NAMES, num_val=50, refittable=REFITS)).arm == chosen
    plain = choose(arms(*on_val), Choice(candidates=NAMES, num_val=50)).arm
    assert plain == NAMES[on_val.index(max(on_val))]


@given(st.lists(st.integers(0, 997), min_size=3, max_size=3), st.integers(1, 1000))
def test_the_rule_of_one_standard_error(rights, num_val):
    """The best arm that can learn from the labels, unless ``synthetic`` is better by a standard error."""
    on_val = [right / 997 for right in rights]
    chosen = choose(arms(*on_val), Choice(candidates=NAMES, num_val=num_val, refittable=REFITS))
    share = (num_val * on_val[0] + 2) / (num_val + 4)
    error = (share * (1 - share) / (num_val + 4)) ** 0.5
    best_refit = max(on_val[1:])
    if on_val[0] - error > best_refit:
        assert chosen == ("synthetic", "beyond", "synthetic")
    else:
        assert chosen.arm == NAMES[1 + on_val[1:].index(best_refit)]


@pytest.mark.parametrize(("rights", "chosen"), [(6, "mixed"), (5, "synthetic")])
def test_the_standard_error_of_balanced_accuracy_counts_each_class_by_itself(rights, chosen):
    """``synthetic`` has 7 of 8 right in the small class, and a standard error of 6.7 points; with all 208
    images in one class it would be 1.8. One more answer in this class is worth 6.2 points.
    """
    labels = np.repeat([0, 1], [200, 8])

    def figures(*rights):
        right = np.concatenate([np.arange(size) < num for size, num in zip((200, 8), rights, strict=True)])
        return validation_figures(np.eye(2)[np.where(right, labels, 1 - labels)], labels)

    measured = {"synthetic": figures(198, 7), "mixed": figures(198, rights)}
    choice = Choice(candidates=NAMES, num_val=208, refittable=REFITS, measure="balanced_accuracy")
    assert choose(measured, choice).arm == chosen
    error = measured["synthetic"].pop("val_balanced_accuracy_standard_error")
    assert error == pytest.approx(0.0667, abs=1e-4)
    assert choose(measured, choice).arm == "synthetic", "records of earlier versions keep their verdict"


WITHIN = (
    "bridged was chosen although synthetic did better on the 50 validation images, 98.0% against 97.0%: the "
    "difference is within one standard error, and bridged can learn from these images afterwards, unlike "
    "synthetic."
)
BEYOND = (
    "synthetic was chosen because it did better on the 50 validation images, by more than one standard "
    "error, than every arm that can learn from them afterwards."
)
BEST = "was chosen because no other arm with synthetic images did better on the 50 validation images."
ONLY = "mixed was chosen because it was the only arm with synthetic images to choose from."


@pytest.mark.parametrize(
    ("on_val", "candidates", "refittable", "why"),
    [
        ((0.98, 0.96, 0.97), NAMES, REFITS, WITHIN),
        ((0.98, 0.90, 0.92), NAMES, REFITS, BEYOND),
        ((0.90, 0.96, 0.96), NAMES, REFITS, f"mixed {BEST}"),
        ((0.97, 0.96, 0.97 + 1e-12), NAMES, REFITS, f"bridged {BEST}"),
        ((0.98, 0.97, 0.90), NAMES, (), f"synthetic {BEST}"),
        ((0.98, 0.50, 0.90), ("mixed",), REFITS, ONLY),
    ],
    ids=["within", "beyond", "tie", "tie with the best", "best", "only"],
)
def test_the_reason_of_a_choice_is_said(on_val, candidates, refittable, why):
    choice = Choice(candidates=candidates, num_val=50, refittable=refittable)
    chosen = choose(arms(*on_val), choice)
    assert why_chosen(chosen, arms(*on_val), choice) == why
    assert why.startswith(chosen.arm)


def test_without_arms_that_learn_more_the_best_arm_wins():
    measured = arms(0.5, 0.6, 0.55)
    assert choose(measured, Choice(candidates=("synthetic", "bridged"), num_val=10)).arm == "bridged"
    assert choose(measured, Choice(candidates=NAMES, num_val=10, refittable=NAMES)).arm == "mixed"


def test_the_number_of_validation_images_must_be_known():
    with pytest.raises(ValueError, match="num_val must be at least 1, got 0"):
        Choice(candidates=NAMES, num_val=0, refittable=REFITS)
