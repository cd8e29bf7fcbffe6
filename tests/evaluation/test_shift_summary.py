"""Shift: what is said of arms on other images, against what was planted."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from tiny import two_classes

from understudy.core.errors import InputError
from understudy.evaluation.accuracy import summarise
from understudy.evaluation.shift import (
    Outcome,
    ShiftTest,
    measure_corruption,
    measure_test_set,
    summarise_shift,
)
from understudy.functional.calibration import brier_terms, expected_calibration_error
from understudy.training.records import ArmResult

NUM_SEEDS, NUM_IMAGES, NUM_CLASSES = 3, 300, 4
LABELS = np.arange(NUM_IMAGES) % NUM_CLASSES


def probabilities(rate, *, seed=0, labels=LABELS):
    """Right at this rate, and 0.85 sure always."""
    rng = np.random.default_rng(seed)
    given = np.full((NUM_SEEDS, len(labels), NUM_CLASSES), 0.05)
    right = rng.random((NUM_SEEDS, len(labels))) < rate
    chosen = np.where(right, labels, (labels + 1) % NUM_CLASSES)
    np.put_along_axis(given, chosen[..., None], 0.85, axis=-1)
    return given


def outcome(rate, *, seed=0):
    return Outcome.of(probabilities(rate, seed=seed), LABELS)


def summarised(clean=None, corruptions=None, tests=None):
    clean = clean or {"real": outcome(0.9), "mixed": outcome(0.95, seed=1)}
    return summarise_shift(clean, corruptions or {}, tests or {})


def corruptions():
    rates = {"noise": {2: 0.8, 4: 0.6}, "blur": {2: 0.9, 4: 0.7}}
    return {
        name: {
            severity: {"mixed": outcome(rate, seed=severity), "real": outcome(rate - 0.2, seed=7)}
            for severity, rate in by_severity.items()
        }
        for name, by_severity in rates.items()
    }


class Dim:
    """Looks at the brightness of the left half; notes how many images it is shown at once."""

    def __init__(self, sharpness):
        self.sharpness, self.shown = sharpness, []

    def predict(self, data):
        self.shown.append(len(data))
        pixels = data.pixels(16).astype(float).mean(axis=1)
        difference = self.sharpness * (
            pixels[:, :, :8].mean(axis=(1, 2)) - pixels[:, :, 8:].mean(axis=(1, 2))
        )
        return np.stack([1 / (1 + np.exp(-difference)), 1 / (1 + np.exp(difference))], axis=1)


def test_outcomes_are_the_terms_of_each_training():
    given = probabilities(0.7)
    found = Outcome.of(given, LABELS)
    np.testing.assert_array_equal(found.correct, given.argmax(axis=-1) == LABELS)
    for seed in range(NUM_SEEDS):
        assert found.ece_terms[seed].mean() == pytest.approx(
            expected_calibration_error(given[seed], LABELS), abs=1e-12
        )
        np.testing.assert_allclose(found.brier_terms[seed], brier_terms(given[seed], LABELS), atol=1e-12)


def test_masked_classes_cannot_be_chosen():
    labels = np.array([1, 3, 3])
    given = np.tile([0.4, 0.3, 0.2, 0.1], (2, 3, 1))
    assert not Outcome.of(given, labels).correct.any()
    found = Outcome.of(given, labels, classes=[1, 3])
    np.testing.assert_array_equal(found.correct, [[True, False, False]] * 2)
    np.testing.assert_allclose(found.brier_terms[0], [2 * 0.25**2, 2 * 0.75**2, 2 * 0.75**2])
    with pytest.raises(ValueError, match=r"labels must be among the classes \[0, 1\], got \[1, 3\]"):
        Outcome.of(given, labels, classes=[0, 1])


def test_section():
    section = summarised(corruptions=corruptions())
    assert list(section) == [
        "per_class",
        "settings",
        "clean",
        "calibration",
        "corruptions",
        "mean_corruption",
        "tests",
    ]
    assert section["settings"] == {"corruptions": ["noise", "blur"], "severities": [2, 4], "bins": 15}
    assert list(section["clean"]) == ["real", "mixed"]
    for name, by_severity in corruptions().items():
        for arm, points in section["corruptions"][name].items():
            assert [point["severity"] for point in points] == [2, 4]
            for point in points:
                there = by_severity[point["severity"]]
                assert point["accuracy"]["mean"] == pytest.approx(there[arm].correct.mean())
                assert point["minus_real"]["mean"] == pytest.approx(
                    there[arm].correct.mean() - there["real"].correct.mean()
                )
                assert point["ece"]["mean"] == pytest.approx(there[arm].ece_terms.mean())
                assert point["brier"]["mean"] == pytest.approx(there[arm].brier_terms.mean())
                assert all(
                    each["low"] <= each["mean"] <= each["high"]
                    for key, each in point.items()
                    if key != "severity"
                )
    mixed = section["corruptions"]["noise"]["mixed"][0]["minus_real"]
    assert 0.05 < mixed["low"] < 0.2 < mixed["high"] < 0.35
    assert section["corruptions"]["noise"]["real"][0]["minus_real"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert section["tests"] == {}


def test_the_mean_over_corruptions_is_the_mean():
    section = summarised(corruptions=corruptions())
    for arm in ("real", "mixed"):
        points = [point for arms in section["corruptions"].values() for point in arms[arm]]
        for figure in ("accuracy", "minus_real"):
            assert section["mean_corruption"][arm][figure]["mean"] == pytest.approx(
                np.mean([point[figure]["mean"] for point in points])
            )
    assert section["mean_corruption"]["mixed"]["minus_real"]["low"] > 0
    assert summarised()["mean_corruption"] == {}


def test_clean_accuracy_is_that_of_the_arms():
    """The same figures, to the last digit, as the section ``arms``."""
    results = [
        ArmResult(
            arm=arm,
            seeds=(0, 1, 2),
            probabilities=probabilities(rate),
            labels=LABELS,
            val_accuracy=(0.5,) * 3,
            val_loss=(1.0,) * 3,
            seconds=1.0,
            steps=1,
            histories=({},) * 3,
        )
        for arm, rate in (("real", 0.8), ("mixed", 0.9))
    ]
    clean = {result.arm: Outcome.of(result.probabilities, result.labels) for result in results}
    there = summarise(results)
    for arm, figures in summarised(clean)["clean"].items():
        assert figures["accuracy"] == {end: there[arm]["accuracy"][end] for end in ("mean", "low", "high")}


def test_the_interval_of_ece_is_cut_at_zero():
    """As often right as it says, up to chance."""
    labels = np.zeros(20, dtype=int)
    given = np.full((1, 20, 2), 0.5)
    given[..., 0] += 0.01 * (-1) ** np.arange(20)
    given[..., 1] = 1 - given[..., 0]
    found = summarised({"real": Outcome.of(given, labels)})["calibration"]["real"]
    assert 0 <= found["ece"]["low"] <= found["ece"]["mean"] <= found["ece"]["high"]


def test_figures_do_not_depend_on_other_arms():
    both, alone = (
        corruptions(),
        {
            name: {key: {"real": arms["real"]} for key, arms in by_severity.items()}
            for name, by_severity in corruptions().items()
        },
    )
    real = outcome(0.9)
    assert (
        summarised({"real": real}, alone)["corruptions"]["blur"]["real"]
        == summarised({"real": real, "mixed": outcome(0.5)}, both)["corruptions"]["blur"]["real"]
    )


def test_further_sets_have_their_own_images_and_classes():
    labels = np.array([1, 3] * 20)
    arms = {
        arm: Outcome.of(probabilities(rate, labels=labels), labels, classes=[1, 3])
        for arm, rate in (("real", 0.6), ("mixed", 0.8))
    }
    found = summarised(tests={"ink": ShiftTest(class_names=("b", "d"), arms=arms)})["tests"]["ink"]
    assert (found["images"], found["classes"]) == (40, ["b", "d"])
    assert found["arms"]["mixed"]["accuracy"]["mean"] == pytest.approx(arms["mixed"].correct.mean())
    assert set(found["arms"]["real"]) == {"accuracy", "minus_real", "ece", "brier", "balanced_accuracy"}


def test_balanced_accuracy_agrees_with_sklearn():
    labels = np.repeat([0, 1, 3], [80, 20, 5])
    arms = {
        arm: Outcome.of(probabilities(rate, labels=labels, seed=3), labels, classes=[0, 1, 3])
        for arm, rate in (("real", 0.6), ("mixed", 0.8))
    }
    found = summarised(tests={"ink": ShiftTest(class_names=("a", "b", "d"), arms=arms)})["tests"]["ink"]
    assert found["per_class"] == [80, 20, 5]
    given = probabilities(0.8, labels=labels, seed=3)[..., [0, 1, 3]].argmax(axis=-1)
    expected = np.mean([balanced_accuracy_score(np.repeat([0, 1, 2], [80, 20, 5]), row) for row in given])
    measured = found["arms"]["mixed"]["balanced_accuracy"]
    assert measured["mean"] == pytest.approx(expected)
    assert measured["low"] < expected < measured["high"]
    difference = expected - found["arms"]["real"]["balanced_accuracy"]["mean"]
    assert measured["minus_real"]["mean"] == pytest.approx(difference)


def test_balanced_accuracy_over_corruptions_is_the_mean():
    found = summarised({"real": outcome(0.9), "mixed": outcome(0.95, seed=1)}, corruptions())
    for arm, measured in found["mean_corruption"].items():
        # Classes of the sample are equally large, so both measures agree.
        assert measured["balanced_accuracy"]["mean"] == pytest.approx(measured["accuracy"]["mean"]), arm


def test_classifiers_predict_one_part_at_a_time(monkeypatch):
    monkeypatch.setattr("understudy.evaluation.corruptions._BATCH_SIZE", 3)
    data = two_classes(8, split="test")
    arms = {"real": [Dim(0.1), Dim(-0.1)], "mixed": [Dim(0.01)]}
    found = measure_corruption("contrast", 5, test=data, arms=arms, size=16, seed=0)
    assert found["real"].correct.tolist() == [[True] * 8, [False] * 8]
    assert found["mixed"].correct.shape == (1, 8)
    assert arms["real"][0].shown == [3, 3, 2]
    assert (
        found["mixed"].brier_terms.mean()
        > measure_test_set(data, [0, 1], arms=arms).arms["mixed"].brier_terms.mean()
    )


def test_measured_on_a_further_set():
    data = two_classes(8, split="test")
    found = measure_test_set(data, [0, 1], arms={"real": [Dim(0.1)]})
    assert found.class_names == ("cat", "dog")
    assert found.arms["real"].correct.all()
    with pytest.raises(InputError, match="measuring on a further test set needs a test set, got a train set"):
        measure_test_set(two_classes(), [0, 1], arms={})


def _cut(seeds, images):
    """Both arms with fewer trainings or images."""
    return {
        arm: Outcome.of(probabilities(0.5)[:seeds, :images], LABELS[:images]) for arm in ("real", "mixed")
    }


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"clean": {"mixed": outcome(0.5)}}, "including 'real'"),
        (
            {"corruptions": {"noise": {1: {"real": outcome(0.5)}}}},
            r"must have the arms \['mixed', 'real'\].*got \['real'\]",
        ),
        ({"corruptions": {"noise": {1: _cut(3, 9)}}}, "same trainings and images"),
        ({"tests": {"a": ShiftTest(class_names=("b",), arms={"real": outcome(0.5)})}}, "must have the arms"),
        ({"tests": {"a": ShiftTest(class_names=("b",), arms=_cut(2, 300))}}, "same trainings and images"),
    ],
)
def test_arguments_are_checked(parts, message):
    with pytest.raises(ValueError, match=message):
        summarised(**parts)
