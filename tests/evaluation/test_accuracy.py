"""The table and the sentence of a comparison."""

import dataclasses
import json
import re

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)

from understudy.evaluation.accuracy import (
    TOLD,
    confusion,
    images_to_tell_two_points,
    summarise,
    verdict,
)
from understudy.evaluation.choice import Choice, chosen_by
from understudy.evaluation.over_classes import over_classes
from understudy.functional.class_means import macro_f1_terms
from understudy.functional.intervals import accuracy_interval, paired_difference
from understudy.training.records import ArmResult

LABELS = np.repeat(np.arange(4), 50)


def _result(
    arm, share_right, *, val=0.5, seeds=(0, 1, 2), labels=LABELS, num_classes=4, steps=10, val_balanced=()
):
    rng = np.random.default_rng(len(arm))
    predicted = np.stack(
        [np.where(rng.random(len(labels)) < share_right, labels, (labels + 1) % num_classes) for _ in seeds]
    )
    probabilities = np.eye(num_classes)[predicted]
    of_each = {
        "val_accuracy": (val,) * len(seeds),
        "val_loss": (0.1,) * len(seeds),
        "histories": ({},) * len(seeds),
        "val_balanced_accuracy": val_balanced,
    }
    return ArmResult(
        arm=arm, seeds=seeds, probabilities=probabilities, labels=labels, seconds=1.5, steps=steps, **of_each
    )


def _verdict(
    *results,
    candidates=("synthetic", "mixed", "bridged"),
    num_val=1000,
    with_val=None,
    measure="accuracy",
):
    """``with_val`` names only the arms, besides ``real+val``, that learn from the validation images."""
    with_val = {"real": "real+val"} | (with_val or {})
    arms = summarise(results, use_val=with_val.values())
    choice = Choice(candidates=candidates, num_val=num_val, measure=measure)
    return verdict(arms, choice, num_test=len(LABELS), with_val=with_val)


def test_summary_has_the_layout_of_results_json():
    arms = summarise([_result("real", 0.8, val=0.7), _result("bridged", 0.95)])
    assert json.loads(json.dumps(arms)) == arms
    assert list(arms) == ["real", "bridged"]
    for arm in arms.values():
        assert set(arm) == {
            *("accuracy", "balanced_accuracy", "macro_f1", "val_accuracy"),
            *("per_class", "per_class_intervals", "precision_per_class", "minus_real", "steps", "seconds"),
        }
        assert set(arm["accuracy"]) == set(arm["macro_f1"]) == {"mean", "low", "high", "seeds"}
        assert set(arm["balanced_accuracy"]) == {"mean", "low", "high", "seeds", "minus_real"}
        assert arm["accuracy"]["low"] < arm["accuracy"]["mean"] < arm["accuracy"]["high"]
        assert arm["accuracy"]["mean"] == pytest.approx(np.mean(arm["accuracy"]["seeds"]))
    assert arms["real"]["minus_real"] == {"mean": 0, "low": 0, "high": 0}
    assert arms["real"]["val_accuracy"] == pytest.approx(0.7)
    difference = arms["bridged"]["accuracy"]["mean"] - arms["real"]["accuracy"]["mean"]
    assert arms["bridged"]["minus_real"]["mean"] == pytest.approx(difference)


def test_the_recall_of_each_class_has_the_interval_of_its_own_images():
    real, mixed = _result("real", 0.8), _result("mixed", 0.9)
    found = summarise([real, mixed])
    for label in np.unique(LABELS):
        own, theirs = (result.correct[:, label == LABELS] for result in (mixed, real))
        of_class = found["mixed"]["per_class_intervals"][label]
        assert of_class["mean"] == pytest.approx(found["mixed"]["per_class"][label])
        assert (of_class["mean"], of_class["low"], of_class["high"]) == accuracy_interval(own)
        assert tuple(of_class["minus_real"].values()) == pytest.approx(paired_difference(own, theirs))
        assert found["real"]["per_class_intervals"][label]["minus_real"] == dict.fromkeys(
            ("mean", "low", "high"), 0.0
        )


def test_a_class_with_one_test_image_has_no_interval():
    one = _result("real", 0.8, labels=np.repeat(np.arange(4), [50, 50, 1, 50]))
    intervals = summarise([one])["real"]["per_class_intervals"]
    assert intervals[2] is None and intervals[1] is not None


def test_intervals_do_not_depend_on_the_other_arms():
    real, mixed, bridged = _result("real", 0.8), _result("mixed", 0.85), _result("bridged", 0.95)
    alone = summarise([real, bridged])
    together = summarise([bridged, mixed, real])
    assert alone["bridged"] == together["bridged"]


def test_per_class_and_confusion_agree_with_sklearn():
    result = _result("real", 0.8)
    predicted = result.probabilities.argmax(axis=-1)
    theirs = np.mean([recall_score(LABELS, row, average=None) for row in predicted], axis=0)
    np.testing.assert_allclose(summarise([result])["real"]["per_class"], theirs)
    counts = confusion(result)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, sum(confusion_matrix(LABELS, row) for row in predicted))


def test_means_over_classes_agree_with_sklearn():
    labels = np.repeat(np.arange(4), [120, 40, 20, 6])
    real, mixed = _result("real", 0.7, labels=labels), _result("mixed", 0.8, labels=labels)
    arms = summarise([real, mixed])
    for result in (real, mixed):
        arm = arms[result.arm]
        balanced = [balanced_accuracy_score(labels, row) for row in result.predicted]
        f1 = [f1_score(labels, row, average="macro") for row in result.predicted]
        np.testing.assert_allclose(arm["balanced_accuracy"]["seeds"], balanced)
        np.testing.assert_allclose(arm["macro_f1"]["seeds"], f1)
        together = (np.tile(labels, 3), result.predicted.ravel())
        np.testing.assert_allclose(arm["precision_per_class"], precision_score(*together, average=None))
        for name in ("balanced_accuracy", "macro_f1"):
            assert arm[name]["mean"] == pytest.approx(np.mean(arm[name]["seeds"]))
            assert 0 <= arm[name]["low"] < arm[name]["mean"] < arm[name]["high"] <= 1
    difference = arms["mixed"]["balanced_accuracy"]["minus_real"]
    means = [arms[name]["balanced_accuracy"]["mean"] for name in ("mixed", "real")]
    assert difference["mean"] == pytest.approx(means[0] - means[1])
    assert arms["real"]["balanced_accuracy"]["minus_real"] == {"mean": 0, "low": 0, "high": 0}


def test_interval_of_macro_f1_agrees_with_resampling():
    """The linearised interval is as wide as one from F1 of resampled images, class by class."""
    rng, labels = np.random.default_rng(1), np.repeat(np.arange(3), [300, 80, 40])
    result = _result("real", 0.75, labels=labels, num_classes=3, seeds=(0,))
    found = summarise([result])["real"]["macro_f1"]
    resampled = []
    for _ in range(400):
        places = [rng.choice(np.flatnonzero(labels == label), (labels == label).sum()) for label in range(3)]
        place = np.concatenate(places)
        resampled.append(f1_score(labels[place], result.predicted[0, place], average="macro"))
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert found["high"] - found["low"] == pytest.approx(high - low, rel=0.15)


@pytest.mark.parametrize("sizes", [(40, 40), (200, 8), (100, 1), (1, 1, 1)])
def test_no_measure_is_certain_because_all_answers_are_right(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    arm = summarise([_result("real", 1, labels=labels, num_classes=len(sizes))])["real"]
    for measure in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert arm[measure]["low"] < arm[measure]["mean"] == arm[measure]["high"] == 1


@pytest.mark.parametrize(
    ("rates", "sizes"), [((0.99, 0.8), (200, 8)), ((1, 0.92), (300, 20)), ((0.9, 0.5), (40, 2))]
)
def test_macro_f1_is_covered_with_small_classes(rates, sizes):
    """300 experiments: standard error of the coverage 1.3 points."""
    rng, hits, labels = np.random.default_rng(1), 0, np.repeat([0, 1], sizes)
    right = np.array(rates) * sizes
    truth = np.mean(2 * right / (sizes + right + (sizes - right)[::-1]))
    for _ in range(300):
        correct = rng.random((1, len(labels))) < np.array(rates)[labels]
        found = over_classes(macro_f1_terms(np.where(correct, labels, 1 - labels), labels), labels)
        hits += found["low"] <= truth <= found["high"]
    assert hits / 300 >= 0.93


def test_a_constant_answer_is_no_gain():
    labels = np.repeat([0, 1], [40, 2])
    real = _result("real", 1, labels=labels, num_classes=2)
    constant = [
        dataclasses.replace(real, arm=arm, probabilities=np.tile(np.eye(2)[answer], (3, 42, 1)))
        for arm, answer in (("real", 0), ("mixed", 1))
    ]
    arms = summarise(constant)
    for arm in arms.values():
        balanced = arm["balanced_accuracy"]
        assert balanced["low"] < balanced["mean"] == 0.5 < balanced["high"]
    for measure, mean in (("accuracy", "-90.5"), ("balanced_accuracy", "+0.0")):
        choice = Choice(candidates=["mixed"], num_val=1000, measure=measure)
        found = verdict(arms, choice, num_test=42, with_val={})
        assert (found["helps"], found["measure"]) == (False, measure)
        assert mean.replace("-", "by ") in found["sentence"]
    assert "50.0% against 50.0% balanced accuracy on 42 real test images (3 seeds)." in found["sentence"]


def test_the_measure_of_the_verdict_also_chooses():
    real = _result("real", 0.8, val_balanced=(0.5,) * 3)
    synthetic = _result("synthetic", 0.8, val=0.9, val_balanced=(0.5,) * 3)
    mixed = _result("mixed", 0.8, val=0.7, val_balanced=(0.6,) * 3)
    arms = summarise([real, synthetic, mixed])
    choices = {
        measure: Choice(candidates=["synthetic", "mixed"], num_val=1000, measure=measure)
        for measure in ("accuracy", "balanced_accuracy")
    }
    assert verdict(arms, choices["accuracy"], num_test=200, with_val={})["best"] == "synthetic"
    assert verdict(arms, choices["balanced_accuracy"], num_test=200, with_val={})["best"] == "mixed"
    del arms["mixed"]["val_balanced_accuracy"]  # some of its trainings were recorded by an older version
    assert chosen_by(arms, "balanced_accuracy") == "val_accuracy"
    assert verdict(arms, choices["balanced_accuracy"], num_test=200, with_val={})["best"] == "synthetic"


def test_a_class_without_test_images_has_no_accuracy():
    result = _result("real", 0.8, num_classes=5)
    assert summarise([result])["real"]["per_class"][4] is None
    assert confusion(result).shape == (5, 5)


def test_verdict_helps():
    found = _verdict(
        _result("real", 0.8), _result("synthetic", 0.7, val=0.4), _result("bridged", 0.95, val=0.9)
    )
    assert (found["best"], found["chosen_on"], found["helps"]) == ("bridged", "val", True)
    assert found["sentence"].startswith("With these images and this generator, bridged gains ")
    assert found["sentence"].endswith(" on 200 real test images (3 seeds).")


def test_verdict_is_chosen_on_validation_not_on_test():
    found = _verdict(
        _result("real", 0.8), _result("synthetic", 0.95, val=0.6), _result("mixed", 0.81, val=0.7)
    )
    assert found["best"] == "mixed"
    assert not found["helps"]
    assert "shows no difference between mixed and the real images alone" in found["sentence"]


def test_no_difference_says_how_many_test_images_would_tell_one():
    """Two hundred images cannot tell two points; the number grows with the square of the width."""
    found = _verdict(_result("real", 0.8), _result("mixed", 0.81, val=0.7))
    difference = summarise([_result("real", 0.8), _result("mixed", 0.81)])["mixed"]["minus_real"]
    half = (difference["high"] - difference["low"]) / 2
    assert half > TOLD
    number = re.search(
        r"too small for a difference of 2 points: that takes about ([\d,]+) test images", found["sentence"]
    )
    assert int(number[1].replace(",", "")) == pytest.approx(200 * (half / TOLD) ** 2, rel=0.05)


@pytest.mark.parametrize(
    ("ends", "num_test", "wanted"),
    [
        ([(-0.04, 0.04)], 100, 400),
        ([(-0.02, 0.03), (-0.05, 0.05)], 1000, 6300),  # 6,250, rounded up to two digits
        ([(-0.02, 0.02)], 100, None),
        ([(0.01, 0.3), (-0.5, -0.1)], 100, None),
        ([(-0.05, 0.05)], 1, 7),
        ([], 100, None),
    ],
)
def test_the_widest_undecided_difference_says_how_many_test_images_it_takes(ends, num_test, wanted):
    differences = [{"low": low, "high": high} for low, high in ends]
    assert images_to_tell_two_points(differences, num_test) == wanted


@pytest.mark.parametrize("accuracy", [0.5, 0.95])
def test_a_test_that_tells_the_arms_apart_is_not_called_too_small(accuracy):
    found = _verdict(_result("real", 0.8), _result("mixed", accuracy, val=0.7))
    assert "too small" not in found["sentence"]


def test_verdict_hurts():
    found = _verdict(_result("real", 0.95, val=0.9), _result("synthetic", 0.5, val=0.4))
    assert (found["best"], found["helps"]) == ("synthetic", False)
    assert "do not help here: synthetic is worse than the real images alone by " in found["sentence"]


def test_a_longer_arm_is_compared_with_real_long():
    real, long = _result("real", 0.6), _result("real-long", 0.9, steps=20)
    bridged, synthetic = _result("bridged", 0.9, val=0.9, steps=20), _result("synthetic", 0.5, val=0.1)
    arms = summarise([real, long, bridged, synthetic])
    assert [name for name, arm in arms.items() if "minus_real_long" in arm] == ["bridged"]
    difference = arms["bridged"]["accuracy"]["mean"] - arms["real-long"]["accuracy"]["mean"]
    assert arms["bridged"]["minus_real_long"]["mean"] == pytest.approx(difference)
    assert arms["bridged"]["minus_real"]["low"] > 0
    choice = Choice(candidates=["bridged", "synthetic"], num_val=1000)
    found = verdict(arms, choice, num_test=200, with_val={})
    assert not found["helps"]
    assert (
        "no difference between bridged and the real images alone for as many steps (real-long)"
        in found["sentence"]
    )
    alone = _verdict(real, bridged)
    assert alone["helps"]
    assert alone["sentence"].endswith(
        "It made 20 steps, real 10: add the arm real-long to see what the images add."
    )


def test_verdict_ties_go_to_the_first():
    assert _verdict(_result("real", 0.8), _result("mixed", 0.9), _result("bridged", 0.9))["best"] == "mixed"


def test_verdict_without_synthetic_images():
    found = _verdict(_result("real", 0.8))
    assert (found["best"], found["helps"]) == ("real", False)
    assert "No arm used synthetic images" in found["sentence"]


def test_verdict_states_the_figures():
    interval = {"mean": 0.942, "low": 0.93, "high": 0.95, "seeds": [0.94] * 3}
    arms = {
        "real": {
            "accuracy": interval | {"mean": 0.911},
            "val_accuracy": 0.9,
            "steps": 9,
            "minus_real": {"mean": 0.0, "low": 0.0, "high": 0.0},
        },
        "bridged": {
            "accuracy": interval,
            "val_accuracy": 0.9,
            "minus_real": {"mean": 0.031, "low": 0.012, "high": 0.049},
            "steps": 9,
        },
    }
    choice = Choice(candidates=["bridged"], num_val=1000)
    assert verdict(arms, choice, num_test=997, with_val={})["sentence"] == (
        "With these images and this generator, bridged gains 3.1 points [1.2, 4.9] over training on the real "
        "images alone: 94.2% against 91.1% accuracy on 997 real test images (3 seeds)."
    )


def test_refuses_results_that_cannot_be_compared():
    with pytest.raises(ValueError, match="'real' must be among"):
        summarise([_result("mixed", 0.8)])
    with pytest.raises(ValueError, match="'mixed' has others"):
        summarise([_result("real", 0.8), _result("mixed", 0.8, seeds=(3, 4, 5))])


def test_an_arm_that_learns_from_validation_images_is_compared_but_never_chosen():
    results = [_result("real", 0.6), _result("real+val", 0.9, val=1.0), _result("mixed", 0.8, val=0.7)]
    found = _verdict(*results)
    assert (found["best"], found["helps"], found["against_val"]) == ("mixed", False, "mixed")
    assert "over training on the real images alone" in found["sentence"]
    assert "But mixed is worse than real images with the validation images" in found["sentence"]
    arms = summarise(results, use_val=["real+val"])
    assert [name for name, arm in arms.items() if "minus_real_val" in arm] == ["mixed"]
    assert not {"val_accuracy", "val_balanced_accuracy"} & arms["real+val"].keys()
    assert arms["mixed"]["minus_real_val"]["mean"] == pytest.approx(
        arms["mixed"]["accuracy"]["mean"] - arms["real+val"]["accuracy"]["mean"]
    )


@pytest.mark.parametrize(
    ("balanced", "helps", "words"),
    [
        (0.65, True, "mixed also gains"),
        (0.8, False, "mixed shows no difference"),
        (0.95, False, "But mixed is worse than"),
    ],
)
@pytest.mark.parametrize("measure", ["accuracy", "balanced_accuracy"])
def test_real_images_with_equal_classes_are_a_rival(balanced, helps, words, measure):
    arms = {"real": 0.6, "real+val": 0.6, "real+class-balanced": balanced, "mixed": 0.8}
    results = [_result(name, share) for name, share in arms.items()]
    found = _verdict(*results, measure=measure)
    assert (found["best"], found["helps"]) == ("mixed", helps)
    assert words in found["sentence"]
    assert "real images with every class equally often (real+class-balanced, " in found["sentence"]
    summary = summarise(results)
    assert [name for name, arm in summary.items() if "minus_class_balanced" in arm] == ["real+val", "mixed"]
    assert summary["mixed"]["minus_class_balanced"]["mean"] == pytest.approx(
        summary["mixed"]["accuracy"]["mean"] - summary["real+class-balanced"]["accuracy"]["mean"]
    )


def test_longer_training_is_no_gain_over_equal_classes():
    """Neither against the arm with equal classes nor, with ``real-long``, against ``real``."""
    results = [_result("real", 0.6), _result("real+class-balanced", 0.9), _result("bridged", 0.95, steps=20)]
    assert "minus_class_balanced" not in summarise(results)["bridged"]
    sentence = _verdict(*results)["sentence"]
    assert "real+class-balanced made another number of steps, so it was not compared." in sentence


@pytest.mark.parametrize(
    ("with_val", "balanced", "words"),
    [
        (0.7, 0.7, ["mixed also gains", "mixed also gains"]),
        (0.95, 0.95, ["But mixed is worse than", "Mixed is worse than"]),
        (0.95, 0.7, ["But mixed is worse than", "Mixed gains"]),
        (0.7, 0.95, ["mixed also gains", "But mixed is worse than"]),
    ],
)
def test_but_stands_once_and_also_only_after_gains(with_val, balanced, words):
    arms = {"real": 0.6, "real+val": with_val, "real+class-balanced": balanced, "mixed": 0.85}
    sentence = _verdict(*(_result(name, share) for name, share in arms.items()))["sentence"]
    places = [sentence.lower().index(words[0].lower())]
    places.append(sentence.lower().index(words[1].lower(), places[0] + len(words[0])))
    assert sentence.count("But ") == sum(each.startswith("But") for each in words)


@pytest.mark.parametrize(
    ("mixed", "refitted", "words"),
    [
        (0.55, 0.95, "This test shows no difference between mixed"),
        (0.55, 0.65, "This test shows no difference between mixed"),
        (0.95, 0.65, "mixed gains"),
    ],
)
def test_also_and_but_refer_to_the_gain_before(mixed, refitted, words):
    results = [_result("real", 0.6), _result("real+val", 0.8), _result("mixed", mixed)]
    found = _verdict(*results, _result("mixed+val", refitted), with_val={"mixed": "mixed+val"})
    assert words in found["sentence"]
    assert "also" not in found["sentence"]
    assert ("But mixed+val is worse" in found["sentence"]) == (mixed > 0.6)


@pytest.mark.parametrize("name", ["mixed", "mixed@matched"])
@pytest.mark.parametrize(
    ("accuracy", "helps", "words"),
    [(0.99, True, "also gains"), (0.8, False, "shows no difference")],
)
def test_with_equal_images_the_arm_with_validation_images_is_compared(name, accuracy, helps, words):
    partner = name.replace("mixed", "mixed+val")
    results = [_result("real", 0.6), _result("real+val", 0.8), _result(name, 0.75, val=0.7)]
    partners = {"candidates": [name], "with_val": {name: partner}}
    found = _verdict(*results, _result(partner, accuracy), **partners)
    assert (found["best"], found["helps"], found["against_val"]) == (name, helps, partner)
    assert f"{partner} {words}" in found["sentence"]


def test_an_arm_is_no_partner_by_its_name_alone():
    results = [_result("real", 0.6), _result("real+val", 0.8), _result("mine", 0.7, val=0.9)]
    found = _verdict(*results, _result("mine+val", 0.99, val=0.5), candidates=["mine", "mine+val"])
    assert (found["best"], found["helps"]) == ("mine", False)
    assert "But mine is worse than real images with the validation images" in found["sentence"]


def test_a_single_training_is_one_seed():
    real, mixed = (_result(name, 0.8, seeds=(0,)) for name in ("real", "mixed"))
    assert " real test images (1 seed)." in _verdict(real, mixed)["sentence"]


@pytest.mark.parametrize(("num_val", "is_said"), [(50, True), (300, False)])
def test_without_the_arm_few_validation_images_are_mentioned(num_val, is_said):
    sentence = _verdict(_result("real", 0.6), _result("mixed", 0.8), num_val=num_val)["sentence"]
    assert ("add the arm real+val" in sentence) == is_said
