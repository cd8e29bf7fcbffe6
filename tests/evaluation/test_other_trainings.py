"""The arm of a verdict, judged by trainings that had no part in its choice."""

import dataclasses

import numpy as np
import pytest
from scipy.special import ndtri

from understudy.evaluation.accuracy import summarise, verdict
from understudy.evaluation.choice import Choice
from understudy.evaluation.other_trainings import arms_of_other_trainings, judged_by_other_trainings
from understudy.training.records import ArmResult

LABELS = np.zeros(200, dtype=np.int64)


def result(arm, on_val, right=(0.9, 0.9, 0.9), *, labels=LABELS):
    """An arm whose trainings are right about the first test images."""
    predicted = np.stack([np.arange(len(labels)) >= share * len(labels) for share in right]).astype(int)
    return of_predicted(arm, on_val, predicted, labels)


def of_predicted(arm, on_val, predicted, labels):
    return ArmResult(
        arm=arm,
        seeds=tuple(range(len(on_val))),
        probabilities=np.eye(2)[predicted],
        labels=labels,
        val_accuracy=tuple(on_val),
        val_loss=(0.1,) * len(on_val),
        seconds=1.0,
        steps=10,
        histories=({},) * len(on_val),
    )


REAL = result("real", (0.5, 0.5, 0.5), (0.6, 0.6, 0.6))
CHOICE = Choice(candidates=["mixed", "bridged"], num_val=1000)


def test_each_training_takes_the_arm_that_the_others_choose():
    lucky = result("mixed", (0.99, 0.80, 0.80), (0.95, 0.70, 0.70))
    steady = result("bridged", (0.85, 0.85, 0.85), (0.80, 0.80, 0.80))
    assert arms_of_other_trainings([REAL, lucky, steady], CHOICE) == ("bridged", "mixed", "mixed")
    found = judged_by_other_trainings([REAL, lucky, steady], CHOICE)
    assert found["arms"] == ["bridged", "mixed", "mixed"]
    assert found["accuracy"]["seeds"] == pytest.approx([0.8, 0.7, 0.7])
    assert found["minus_real"]["mean"] == pytest.approx(0.8 / 3 + 1.4 / 3 - 0.6)
    assert "val_accuracy" not in found


def test_nothing_is_added_if_all_choose_the_same_arm():
    better = result("mixed", (0.9, 0.9, 0.9))
    assert judged_by_other_trainings([REAL, better, result("bridged", (0.8, 0.8, 0.8))], CHOICE) == {}
    assert judged_by_other_trainings([REAL, better], Choice(candidates=["mixed"], num_val=50)) == {}


def test_an_arm_that_learns_from_validation_images_has_no_figures_on_them():
    arms = [
        REAL,
        result("real+val", (1, 1, 1)),
        result("mixed", (0.8, 0.9, 0.8)),
        result("bridged", (0.9, 0.8, 0.8)),
    ]
    assert judged_by_other_trainings(arms, CHOICE, use_val=["real+val"])["arms"] == [
        "mixed",
        "bridged",
        "mixed",
    ]


def test_the_verdict_says_which_arms_its_figures_are_of():
    lucky = result("mixed", (0.99, 0.80, 0.80), (0.95, 0.70, 0.70))
    results = [REAL, lucky, result("bridged", (0.85, 0.85, 0.85), (0.80, 0.80, 0.80))]
    arms, judged = summarise(results), judged_by_other_trainings(results, CHOICE)
    found = verdict(arms, CHOICE, num_test=len(LABELS), with_val={}, judged=judged)
    assert found["best"] == "mixed"
    assert "the chosen arm gains 13.3 points" in found["sentence"]
    assert found["why"].endswith(
        "in each training by the choice of the other trainings: bridged, mixed, mixed."
    )
    assert found["judged"]["minus_real"] == judged["minus_real"]
    assert found["judged"]["arms"] == ["bridged", "mixed", "mixed"]


def test_trainings_of_other_lengths_are_not_mixed():
    """``bridged`` takes twice the steps, so its trainings do not stand for those of ``mixed``."""
    lucky = result("mixed", (0.99, 0.80, 0.80), (0.95, 0.70, 0.70))
    longer = dataclasses.replace(result("bridged", (0.85, 0.85, 0.85), (0.80, 0.80, 0.80)), steps=20)
    assert judged_by_other_trainings([REAL, lucky, longer], CHOICE) == {}
    alike = result("bridged++", (0.84, 0.84, 0.84), (0.75, 0.75, 0.75))
    choice = Choice(candidates=["mixed", "bridged", "bridged++"], num_val=1000)
    found = judged_by_other_trainings([REAL, lucky, longer, alike], choice)
    assert found["arms"] == ["bridged++", "mixed", "mixed"]
    assert found["steps"] == lucky.steps


def test_the_form_with_validation_images_stays_that_of_the_chosen_arm():
    lucky = result("mixed", (0.99, 0.80, 0.80), (0.95, 0.70, 0.70))
    steady = result("bridged", (0.85, 0.85, 0.85), (0.80, 0.80, 0.80))
    with_val = [
        result("real+val", (1, 1, 1), (0.7, 0.7, 0.7)),
        result("mixed+val", (1, 1, 1), (0.9, 0.9, 0.9)),
    ]
    arms = summarise([REAL, lucky, steady, *with_val], use_val=["real+val", "mixed+val"])
    judged = judged_by_other_trainings([REAL, lucky, steady, with_val[0]], CHOICE, use_val=["real+val"])
    for partners, against in (({"mixed": "mixed+val"}, "mixed+val also gains"), ({}, "Against real images")):
        found = verdict(arms, CHOICE, num_test=len(LABELS), with_val=partners, judged=judged)
        assert against in found["sentence"]
        assert found["against_val"] == partners.get("mixed", "mixed")


def test_luck_of_a_training_no_longer_counts_twice():
    """Twelve equal arms whose trainings spread by one point, 1,000 validation and 1,000 test images."""
    rng, count, experiments = np.random.default_rng(0), 1000, 200
    names = [f"arm-{number}" for number in range(12)]
    choice = Choice(candidates=names, num_val=count)
    of_all, of_others = [], []
    for _ in range(experiments):
        hard = np.sqrt(0.8) * rng.standard_normal((2, 1, count))
        limits = ndtri(np.clip(0.95 + 0.01 * rng.standard_normal((12, 3)), 0.9, 0.999))[..., None]
        val, test = (
            (image + np.sqrt(0.2) * rng.standard_normal((12, 3, count)) < limits).mean(axis=-1)
            for image in hard
        )
        results = [result(*arm, (1, 1, 1), labels=LABELS[:1]) for arm in zip(names, val, strict=True)]
        of_all.append(test[val.mean(axis=1).argmax()].mean())
        arms = arms_of_other_trainings(results, choice)
        of_others.append(np.mean([test[names.index(arm), index] for index, arm in enumerate(arms)]))
    error = np.std(of_others) / np.sqrt(experiments)
    # Images, and the limit on accuracies, take the mean a little away from 95%; arms are equal all the same.
    assert np.mean(of_all) - np.mean(of_others) > 0.005
    assert abs(np.mean(of_others) - 0.95) < 3 * error
