"""All measures of one network's features together, on simulated features whose worth is known."""

import json

import numpy as np
import pytest

from understudy.evaluation.transferability import transferability
from understudy.functional.transferability import h_score, leep, log_me

NUM_CLASSES, DIM = 4, 12
NAMES = {"leep", "log_me", "h_score", "linear_probe", "knn"}


def _set(num_images, *, apart, seed):
    """Features around the same class means for all seeds, their labels, and what a head with those means for
    weights says.
    """
    means = np.random.default_rng(9).normal(size=(NUM_CLASSES, DIM))
    rng = np.random.default_rng(seed)
    labels = np.arange(num_images) % NUM_CLASSES
    features = apart * means[labels] + rng.normal(size=(num_images, DIM))
    logits = np.exp(apart * features @ means.T - np.square(apart * means).sum(axis=1) / 2)
    return features, labels, logits / logits.sum(axis=1, keepdims=True)


def _measure(apart, *, num_train=80):
    train, train_labels, probabilities = _set(num_train, apart=apart, seed=0)
    test, test_labels, _ = _set(200, apart=apart, seed=1)
    return transferability(train, train_labels, test, test_labels, source_probabilities=probabilities)


def test_better_features_score_higher_on_every_measure():
    useless, poor, good = _measure(0.0), _measure(0.4), _measure(1.2)
    assert set(good) == NAMES
    for name in NAMES:
        assert useless[name] < poor[name] < good[name], name
    assert good["linear_probe"] > 0.9 and good["knn"] > 0.9
    assert useless["leep"] == pytest.approx(-np.log(NUM_CLASSES))
    # Chance, four standard errors of 200 test images.
    assert useless["linear_probe"] == pytest.approx(0.25, abs=0.13) and useless["knn"] == pytest.approx(
        0.25, abs=0.13
    )


def test_figures_are_those_of_the_formulas_on_the_train_images():
    train, labels, probabilities = _set(40, apart=0.5, seed=0)
    test, test_labels, _ = _set(20, apart=0.5, seed=1)
    figures = transferability(train, labels, test, test_labels, source_probabilities=probabilities)
    assert (figures["leep"], figures["log_me"]) == (leep(probabilities, labels), log_me(train, labels))
    assert (
        figures["h_score"]
        == h_score(train, labels, shrinkage=True)
        != h_score(train, labels, shrinkage=False)
    )


def test_plain_floats_that_repeat():
    figures = _measure(0.4)
    assert {type(value) for value in figures.values()} == {float}
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures == _measure(0.4)


def test_no_source_probabilities_no_leep():
    (train, labels, _), (test, test_labels, _) = _set(8, apart=1.0, seed=0), _set(8, apart=1.0, seed=1)
    figures = transferability(train, labels, test, test_labels)
    assert figures["leep"] is None
    assert set(figures) == NAMES and None not in [figures[name] for name in NAMES - {"leep"}]


def test_one_image_per_class():
    """10 images in 512 dimensions, where no covariance can be inverted."""
    means, labels = np.random.default_rng(0).normal(size=(10, 512)), np.arange(10)
    noise = np.random.default_rng(1).normal(size=(50, 512))
    good, useless = (
        transferability(means, labels, part, np.repeat(labels, 5))
        for part in (np.repeat(means, 5, axis=0) + noise, noise)
    )
    assert good["linear_probe"] == good["knn"] == 1
    assert useless["linear_probe"] < 0.4 and useless["knn"] < 0.4
    assert np.isfinite(good["log_me"]) and 0 <= good["h_score"] <= 9


def test_linear_probe_does_not_depend_on_units_of_features():
    (train, labels, _), (test, test_labels, _) = _set(40, apart=0.4, seed=0), _set(200, apart=0.4, seed=1)
    units = np.geomspace(1e-3, 1e3, DIM)
    figures = transferability(train, labels, test, test_labels)
    other = transferability(units * train + 7, labels, units * test + 7, test_labels)
    assert other["linear_probe"] == figures["linear_probe"]
    assert other["knn"] < figures["knn"]  # cosines of features as they are


def test_a_constant_feature_does_not_change_the_probe():
    (train, labels, _), (test, test_labels, _) = _set(40, apart=0.4, seed=0), _set(200, apart=0.4, seed=1)
    padded = transferability(
        np.pad(train, ((0, 0), (0, 1))), labels, np.pad(test, ((0, 0), (0, 1))), test_labels
    )
    assert padded["linear_probe"] == transferability(train, labels, test, test_labels)["linear_probe"]


@pytest.mark.parametrize(("per_class", "k"), [(2, 2), (3, 3), (5, 5), (9, 5)])
def test_nearest_neighbours_agree_with_a_loop(per_class, k):
    (train, labels, _), (test, test_labels, _) = (
        _set(NUM_CLASSES * per_class, apart=0.4, seed=2),
        _set(100, apart=0.4, seed=3),
    )
    hits = 0
    for features, label in zip(test, test_labels, strict=True):
        cosine = train @ features / np.linalg.norm(train, axis=1)
        votes = np.bincount(labels[np.argsort(-cosine)[:k]], minlength=NUM_CLASSES)
        hits += votes.argmax() == label  # the first of equals
    assert transferability(train, labels, test, test_labels)["knn"] == hits / 100


def test_labels_need_not_start_at_0():
    (train, labels, _), (test, test_labels, _) = _set(16, apart=1.0, seed=0), _set(30, apart=1.0, seed=1)
    assert transferability(train, 5 + 3 * labels, test, 5 + 3 * test_labels) == transferability(
        train, labels, test, test_labels
    )


X, Y = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, Y, X[:, :1], Y), r"the D of train_features \(2, 2\), got \(2, 1\)"),
        ((X, Y, X[:0], Y[:0]), r"M > 0 .* got \(0, 2\)"),
        ((X, Y, X[0], Y), r"test_features must be \(M, D\)"),
        ((X, Y, np.full((2, 2), np.nan), Y), "test_features must be finite, got 4 values"),
        ((X, Y, X, Y[:1]), r"test_labels must be of shape \(2,\), got \(1,\)"),
        ((X, Y, X, Y + 1), r"among train_labels, got \[2\]"),
        ((X, 0 * Y, X, 0 * Y), "at least 2 classes"),
        ((np.full((2, 2), np.inf), Y, X, Y), "f must be finite"),
        ((X, Y[:1], X, 0 * Y), r"y must be int of shape \(2,\)"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        transferability(*arguments)


def test_source_probabilities_are_checked():
    with pytest.raises(ValueError, match="rows of theta must be probabilities"):
        transferability(X, Y, X, Y, source_probabilities=2 * X)
    with pytest.raises(ValueError, match=r"y must be int of shape \(1,\)"):
        transferability(X, Y, X, Y, source_probabilities=X[:1])
