"""Which arms still rose in the second half of their training, from made-up curves."""

import dataclasses

import numpy as np
import pytest

from understudy.evaluation.plateau import cannot_tell, plateau_in_words, still_rising, summarise_plateau
from understudy.functional.intervals import student_interval
from understudy.training.records import ArmResult


def result(*curves):
    """One training per curve; a point is step, phase and accuracy on validation images."""
    names = ("step", "phase", "val_accuracy")
    histories = tuple(
        {"curve": [dict(zip(names, point, strict=True)) for point in curve], "phases": []} for curve in curves
    )
    return ArmResult(
        arm="real",
        seeds=tuple(range(len(curves))),
        probabilities=np.full((len(curves), 4, 2), 0.5),
        labels=np.zeros(4, dtype=int),
        val_accuracy=tuple(0.5 for _ in curves),
        val_loss=tuple(0.1 for _ in curves),
        seconds=1.0,
        steps=100,
        histories=histories,
    )


@pytest.mark.parametrize(
    ("gains", "rising"),
    [
        ((0.03, 0.04, 0.035), True),
        ((0.03, 0.0), None),  # a mean above 0.005, and an interval that contains it
        ((0.001, 0.0, 0.002), False),
        ((0.0, 0.03, -0.03), None),
        ((0.03,), None),  # one training says nothing about others
    ],
)
def test_the_interval_over_trainings_decides(gains, rising):
    found = summarise_plateau(result(*([(25, 0, 0.5), (50, 0, 0.9), (100, 0, 0.9 + gain)] for gain in gains)))
    assert found["rising"] is rising
    assert found["gain"] == {end: pytest.approx(value) for end, value in student_interval(gains).items()}


def test_only_the_last_phase_counts():
    """Its middle is at step 80, where the curve stands at 0.9."""
    curve = [(30, 0, 0.4), (60, 0, 0.5), (70, 1, 0.8), (90, 1, 1.0), (100, 1, 1.0)]
    assert summarise_plateau(result(curve))["gain"]["mean"] == pytest.approx(0.1)


@pytest.mark.parametrize("curve", [[], [(100, 0, 0.9)], [(50, 0, 0.5), (60, 1, 0.5)]])
def test_a_curve_without_points_on_both_sides_says_nothing(curve):
    assert summarise_plateau(result(curve)) is None


def test_results_without_histories_say_nothing():
    assert summarise_plateau(dataclasses.replace(result([]), histories=())) is None
    assert summarise_plateau(dataclasses.replace(result([]), histories=({"phases": []},))) is None


RISING = {"gain": {"mean": 0.012, "low": 0.009, "high": 0.015}, "rising": True}
LEVEL = {"gain": {"mean": 0.001, "low": -0.001, "high": 0.003}, "rising": False}
UNCLEAR = {"gain": {"mean": 0.012, "low": 0.0, "high": 0.024}, "rising": None}


def test_every_arm_is_named_with_what_its_curve_shows():
    plateaus = {"real": RISING, "mixed": LEVEL, "synthetic": UNCLEAR, "other": None}
    assert still_rising(plateaus) == "real (+1.2 points [+0.9, +1.5])"
    assert cannot_tell(plateaus) == "synthetic (+1.2 points [+0.0, +2.4])"
    assert plateau_in_words(plateaus) == (
        "Did accuracy on validation images rise by more than 0.5 points in the second half of the training? "
        "Yes: real (+1.2 points [+0.9, +1.5]). No: mixed (+0.1 points [-0.1, +0.3]). The trainings cannot "
        "tell: synthetic (+1.2 points [+0.0, +2.4]). The curve has too few points: other. The falling "
        "learning rate can be the reason. This does not show what more steps give; longer trainings do."
    )


def test_nothing_is_said_of_more_steps_or_of_arms_without_a_curve():
    assert still_rising({"mixed": LEVEL, "real": None}) == cannot_tell({"mixed": LEVEL, "real": None}) == ""
    said = plateau_in_words({"mixed": LEVEL, "real": None})
    assert "No: mixed (" in said and "too few points: real" in said and "learning rate" not in said
    assert plateau_in_words({"real": None}) == plateau_in_words({}) == ""


@pytest.mark.parametrize("rising", [True, False])
def test_records_that_decided_by_the_mean_are_read_by_the_interval(rising):
    assert cannot_tell({"real": UNCLEAR | {"rising": rising}}) == "real (+1.2 points [+0.0, +2.4])"
