"""Which arms may still rise, from made-up curves."""

import dataclasses

import numpy as np
import pytest

from understudy.evaluation.plateau import still_rising, summarise_plateau
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


def test_a_training_that_gains_in_its_second_half_may_rise():
    found = summarise_plateau(result([(50, 0, 0.9), (100, 0, 0.93)], [(50, 0, 0.91), (100, 0, 0.96)]))
    assert found["rising"]
    assert found["gain"]["mean"] == pytest.approx(0.04)
    assert found["gain"]["low"] < 0.03 < 0.05 < found["gain"]["high"]


def test_a_level_training_may_not():
    found = summarise_plateau(
        result([(25, 0, 0.5), (50, 0, 0.95), (100, 0, 0.951)], [(50, 0, 0.96), (100, 0, 0.96)])
    )
    assert not found["rising"]


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


def test_arms_that_may_rise_are_named():
    rising = {"gain": {"mean": 0.012, "low": 0.0, "high": 0.02}, "rising": True}
    level = {"gain": {"mean": 0.001, "low": 0.0, "high": 0.02}, "rising": False}
    assert still_rising({"real": rising, "mixed": level, "other": None}) == "real (+1.2 points)"
    assert still_rising({"mixed": level}) == ""
