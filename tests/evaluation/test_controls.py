"""The sentence about a control follows the interval of its difference to the chosen arm."""

import numpy as np
import pytest

from understudy.evaluation.accuracy import summarise
from understudy.evaluation.controls import against_controls, in_words
from understudy.training.records import ArmResult

LABELS = np.arange(400) % 2


def _result(arm, accuracy):
    """Two trainings that are right about the same images."""
    right = np.arange(400) < 400 * accuracy
    says = np.where(right, LABELS, 1 - LABELS)
    probabilities = np.tile(np.eye(2)[says], (2, 1, 1))
    return ArmResult(
        arm=arm,
        seeds=(0, 1),
        labels=LABELS,
        probabilities=probabilities,
        val_accuracy=(0.9, 0.9),
        val_loss=(0.1, 0.1),
        histories=({}, {}),
        steps=1,
        seconds=1.0,
    )


def _arms(**accuracy):
    return summarise([_result(name, value) for name, value in accuracy.items()])


@pytest.mark.parametrize(
    ("of_control", "beats", "words"),
    [
        (0.6, True, "bridged beats its control"),
        (0.9, False, "is worse than its control"),
        (0.8, False, "shows no difference"),
    ],
)
@pytest.mark.parametrize("control", ["retrieved", "unadapted"])
def test_the_sentence_follows_the_interval(control, of_control, beats, words):
    arms = _arms(**{"real": 0.5, "bridged": 0.8, f"bridged@{control}": of_control})
    found = against_controls(arms, "bridged")[f"bridged@{control}"]
    assert found["beats"] is beats
    says = in_words({"bridged": found})
    assert says.startswith(found["sentence"])
    assert ("nothing shows here" in says) is not beats
    assert words in found["sentence"]
    assert found["minus_control"]["mean"] == pytest.approx(0.8 - of_control)
    assert found["minus_control"]["low"] <= found["minus_control"]["mean"] <= found["minus_control"]["high"]


def test_other_strategies_and_other_arms_are_no_controls():
    arms = _arms(
        **{"real": 0.5, "bridged": 0.8, "bridged@refresh": 0.7, "mixed": 0.7, "mixed@retrieved": 0.7}
    )
    assert against_controls(arms, "bridged") == {}
    assert against_controls(arms, "real") == {}
