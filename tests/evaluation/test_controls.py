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


@pytest.mark.parametrize(
    ("of_control", "last"),
    [
        (0.6, "over"),
        (0.8, "So nothing shows here that synthetic images are needed."),
        (0.9, "So nothing shows here that synthetic images are needed."),
    ],
)
@pytest.mark.parametrize("best", ["mixed", "mixed@refresh"])
@pytest.mark.parametrize("measure", ["accuracy", "balanced_accuracy"])
def test_real_images_with_equal_classes_are_a_control_of_every_arm(of_control, last, best, measure):
    arms = _arms(**{"real": 0.5, best: 0.8, "real+class-balanced": of_control})
    found = against_controls(arms, best, measure)
    (control,) = found.values()
    assert list(found) == ["real+class-balanced"]
    assert control["minus_control"]["mean"] == pytest.approx(0.8 - of_control, abs=0.005)
    assert control["beats"] is (of_control < 0.8)
    says = in_words(found)
    assert "real+class-balanced (real images alone, every class equally often, " in says
    assert says.endswith(control["sentence"] if last == "over" else last)
    assert against_controls(arms, "real", measure) == {}


def test_synthetic_images_come_before_the_generator_in_what_is_not_shown():
    arms = _arms(**{"real": 0.5, "mixed": 0.8, "mixed@unadapted": 0.8, "real+class-balanced": 0.8})
    found = against_controls(arms, "mixed")
    assert list(found) == ["mixed@unadapted", "real+class-balanced"]
    assert in_words(found).count("So nothing shows here") == 1
    assert in_words(found).endswith("that synthetic images are needed.")


def test_other_strategies_and_other_arms_are_no_controls():
    arms = _arms(
        **{"real": 0.5, "bridged": 0.8, "bridged@refresh": 0.7, "mixed": 0.7, "mixed@retrieved": 0.7}
    )
    assert against_controls(arms, "bridged") == {}
    assert against_controls(arms, "real") == {}
