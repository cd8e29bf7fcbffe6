"""Side measures of synthetic sets whose faults are known."""

import json

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import norm

from understudy.evaluation.side_measures import (
    LabelledFeatures,
    class_measures,
    gan_test,
    separability,
    side_measures,
)
from understudy.functional.coverage import density_and_coverage

DIM = 4


def _rng(seed=0):
    return np.random.default_rng(seed)


def _set(num, *, shift=0.0, scale=1.0, seed=0):
    """Two classes of ``num`` points each, far apart."""
    labels = np.arange(2 * num) % 2
    return _rng(seed).normal(shift, scale, size=(2 * num, DIM)) + 20 * labels[:, None], labels


def _measure(synthetic, labels, *, real=None):
    return class_measures(*(real or _set(60)), synthetic, labels, _rng())


def test_gan_test_is_an_accuracy():
    labels = np.array([0, 1, 1, 0, 1])
    probabilities = np.eye(2)[[0, 1, 0, 0, 0]]
    mean, low, high = (gan_test(probabilities, labels)[end] for end in ("mean", "low", "high"))
    assert mean == 0.6 and 0 <= low < mean < high <= 1
    both = gan_test(np.stack([probabilities, np.eye(2)[labels]]), labels)
    assert both["mean"] == pytest.approx(0.8)


def test_faults_show_in_their_measures():
    good, labels = _set(60, seed=1)
    same, narrow, far = (
        _measure(good, labels),
        _measure(*_set(60, scale=0.3, seed=1)),
        _measure(*_set(60, shift=4, seed=1)),
    )
    assert same["density"] == pytest.approx(1, abs=0.3) and same["diversity"] == pytest.approx(1, abs=0.15)
    assert narrow["density"] > 1.5 * same["density"]
    assert narrow["coverage"] < 0.7 * same["coverage"] and narrow["diversity"] == pytest.approx(0.3, abs=0.05)
    assert (
        far["density"] < 0.1
        and far["coverage"] < 0.1
        and far["diversity"] == pytest.approx(same["diversity"])
    )


def test_averages_over_classes():
    (real, labels), (drawn, drawn_labels) = _set(12), _set(12, scale=0.5, seed=1)
    found = _measure(drawn, drawn_labels, real=(real, labels))
    of_classes = [density_and_coverage(real[labels == label], drawn[labels == label]) for label in (0, 1)]
    assert (found["density"], found["coverage"]) == pytest.approx(tuple(np.mean(of_classes, axis=0)))
    distances = [[pdist(points[labels == label]).mean() for label in (0, 1)] for points in (drawn, real)]
    assert found["diversity"] == pytest.approx(np.mean(distances[0]) / np.mean(distances[1]))


def test_more_images_do_not_raise_coverage_and_vendi():
    many, labels = _set(600, seed=1)
    few = _set(60, seed=1)
    assert _measure(many, labels)["coverage"] == pytest.approx(_measure(*few)["coverage"], abs=0.12)
    assert _measure(many, labels)["vendi"] == pytest.approx(_measure(*few)["vendi"], rel=0.1)


def test_a_missing_class_counts_as_nothing():
    drawn, labels = _set(60, seed=1)
    whole, half = _measure(drawn, labels), _measure(drawn[labels == 0], labels[labels == 0])
    assert all(0.35 < half[name] / whole[name] < 0.65 for name in ("density", "coverage", "diversity"))
    assert half["vendi"] < whole["vendi"] and half["vendi_real"] < whole["vendi_real"]


def test_measures_of_single_images_are_none():
    one, labels = _set(1)
    assert set(_measure(*_set(5), real=(one, labels)).values()) == {None}
    equal = np.repeat(one, 3, axis=0), np.repeat(labels, 3)
    found = _measure(*_set(5), real=equal)
    assert found["diversity"] is None and found["vendi_real"] == pytest.approx(1)


def test_separability_of_two_normal_distributions():
    """The best accuracy is Phi(d / 2), the best area Phi(d / sqrt 2)."""
    for distance in (0.0, 1.5):
        real, synthetic = (
            _rng(1).normal(size=(800, 3)),
            _rng(2).normal(size=(1500, 3)) + distance * np.eye(3)[0],
        )
        found = separability(real, synthetic, _rng())
        for name, truth in (("accuracy", norm.cdf(distance / 2)), ("auc", norm.cdf(distance / np.sqrt(2)))):
            assert found[name]["mean"] == pytest.approx(truth, abs=0.04)
            assert 0 <= found[name]["low"] <= found[name]["mean"] <= found[name]["high"] <= 1
    certain = separability(real, real + 1000, _rng())
    assert certain["accuracy"] == certain["auc"] == {"mean": 1, "low": 1, "high": 1}


def test_separability_with_two_images():
    found = separability(np.zeros((2, 3)), np.ones((9, 3)), _rng())
    assert 0 <= found["accuracy"]["low"] <= found["accuracy"]["high"] <= 1


def test_all_measures_together_repeat():
    def features(num, **options):
        points, labels = _set(num, **options)
        return LabelledFeatures(labels=labels, features={"raw": points, "task": points[:, :2]})

    real, synthetic = features(20), features(15, shift=1.0, seed=1)
    probabilities = np.eye(2)[synthetic.labels]
    found = side_measures(real, synthetic, probabilities=probabilities, seed=3)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found == side_measures(real, synthetic, probabilities=probabilities, seed=3)
    assert set(found) == {"gan_test", "raw", "task"}
    assert set(found["raw"]) == {"density", "coverage", "diversity", "vendi", "vendi_real", "separability"}
    assert found["gan_test"]["mean"] == 1
    assert side_measures(real, synthetic, seed=3)["gan_test"] is None


def test_arguments_are_checked():
    points, labels = _set(5)
    raw = LabelledFeatures(labels=labels, features={"raw": points})
    task = LabelledFeatures(labels=labels, features={"task": points})
    with pytest.raises(ValueError, match=r"same kinds of features, got \['raw'\] and \['task'\]"):
        side_measures(raw, task, seed=0)
    with pytest.raises(ValueError, match="for 10 labels, got"):
        gan_test(np.zeros((9, 2)), labels)
    for real, synthetic in ((points[:1], points), (points, points[:, :2]), (points[:, 0], points[:, 0])):
        with pytest.raises(ValueError, match="N and M above 1"):
            separability(real, synthetic, _rng())
