"""Transferability against closed forms, brute-force maximisation of the evidence, and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf
from sklearn.feature_selection import f_classif
from sklearn.linear_model import BayesianRidge

from understudy.functional.transferability import h_score, leep, log_me


def _rng(seed=0):
    return np.random.default_rng(seed)


def _classes(num_images, num_classes):
    return np.arange(num_images) % num_classes


def _features(num_images, dim, num_classes, *, apart=1.0, seed=0):
    """Normal around class means that are ``apart`` times normal themselves."""
    rng = _rng(seed)
    means = apart * rng.normal(size=(num_classes, dim))
    return means[_classes(num_images, num_classes)] + rng.normal(size=(num_images, dim))


def _softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _entropy(y):
    shares = np.unique(y, return_counts=True)[1] / len(y)
    return float(-(shares * np.log(shares)).sum())


# LEEP


@pytest.mark.parametrize(
    ("num_classes", "value"),
    [
        (100, -4.605),
        (101, -4.615),
        (196, -5.278),
        (200, -5.298),
        (47, -3.850),
        (102, -4.625),
        (37, -3.611),
        (120, -4.787),
        (397, -5.984),
    ],
)
def test_leep_of_equal_predictions_is_chance(num_classes, value):
    """Ten data sets of Li et al. 2024 (arXiv:2403.19866), table 1."""
    y = _classes(2 * num_classes, num_classes)
    theta = np.repeat(_softmax(_rng().normal(size=(1, 50))), len(y), axis=0)
    assert leep(theta, y) == pytest.approx(-np.log(num_classes), abs=1e-12)
    assert leep(theta, y) == pytest.approx(value, abs=5.1e-4)


def test_leep_of_equal_predictions_is_minus_the_entropy_of_unbalanced_labels():
    y = np.array([0, 0, 0, 0, 0, 1, 1, 2])
    assert leep(np.full((8, 3), 1 / 3), y) == pytest.approx(-_entropy(y), abs=1e-12)


def test_leep_of_one_source_label_per_class_is_0():
    y = _classes(12, 4)
    assert leep(np.eye(4)[[2, 0, 3, 1]][y], y) == 0
    # Two of four classes share a source label.
    assert leep(np.eye(3)[np.minimum(y, 2)], y) == pytest.approx(-0.5 * np.log(2))


def test_leep_agrees_with_a_loop():
    theta, y = _softmax(_rng().normal(size=(9, 4))), np.array([0, 1, 1, 2, 0, 2, 2, 0, 1])
    total = 0.0
    for i in range(9):
        expected = 0.0
        for z in range(4):
            joint = sum(theta[j, z] for j in range(9) if y[j] == y[i])
            expected += joint / sum(theta[j, z] for j in range(9)) * theta[i, z]
        total += np.log(expected) / 9
    assert leep(theta, y) == pytest.approx(total, abs=1e-12)


@given(
    seed=st.integers(0, 1000),
    num_classes=st.integers(2, 5),
    num_source=st.integers(1, 6),
    sharp=st.floats(0, 30),
)
@settings(max_examples=40, deadline=None)
def test_leep_properties(seed, num_classes, num_source, sharp):
    rng = _rng(seed)
    y = np.concatenate([np.arange(num_classes), rng.integers(num_classes, size=6)])
    theta = _softmax(sharp * rng.normal(size=(len(y), num_source)))
    value = leep(theta, y)
    assert -_entropy(y) - 1e-12 <= value <= 0
    assert leep(theta[:, rng.permutation(num_source)], y) == pytest.approx(value, abs=1e-12)
    order = rng.permutation(len(y))
    assert leep(theta[order], y[order]) == pytest.approx(value, abs=1e-12)
    # Labels are names: gaps among them are classes that do not occur.
    assert leep(theta, 10 - 3 * y) == pytest.approx(value, abs=1e-12)
    assert leep(np.insert(theta, 1, 0, axis=1), y) == pytest.approx(value, abs=1e-12)


def test_leep_takes_single_precision_and_stays_in_range():
    y = _classes(200, 2)
    theta = _softmax(_rng().normal(size=(200, 1000))).astype(np.float32)
    assert leep(theta, y) == pytest.approx(
        leep(theta.astype(np.float64) / theta.sum(axis=1, keepdims=True), y), abs=1e-5
    )
    assert leep(np.eye(2)[y] * (1 + 5e-6), y) == 0


# LogME


def _log_evidence(f, target, alpha, beta):
    """Labels are normal with covariance I / beta + f f' / alpha."""
    return multivariate_normal(np.zeros(len(f)), np.eye(len(f)) / beta + f @ f.T / alpha).logpdf(target)


def _brute_force_log_me(f, y, grid=range(-8, 9, 2)):
    """The largest maximum that a search over log alpha and log beta finds from many starts."""
    values = []
    for label in np.unique(y):
        target = (y == label).astype(float)

        def loss(logs, target=target):
            try:
                return -_log_evidence(f, target, *np.exp(logs))
            except np.linalg.LinAlgError:  # a condition above 5e9, which no maximum here has
                return np.inf

        starts = sorted(((a, b) for a in grid for b in grid), key=loss)[:3]
        found = [
            minimize(
                loss,
                start,
                method="Nelder-Mead",
                options={"xatol": 1e-4, "fatol": 1e-9},
                bounds=[(-16, 16)] * 2,
            )
            for start in starts
        ]
        values.append(-min(one.fun for one in found) / len(f))
    return float(np.mean(values))


@pytest.mark.parametrize(("num_images", "dim"), [(12, 3), (8, 8), (6, 10)])
@pytest.mark.parametrize("apart", [0.5, 2.0])
def test_log_me_agrees_with_brute_force(num_images, dim, apart):
    f, y = _features(num_images, dim, 3, apart=apart), _classes(num_images, 3)
    assert log_me(f, y) == pytest.approx(_brute_force_log_me(f, y), abs=2e-5)


def test_log_me_agrees_with_brute_force_where_the_mean_is_large():
    """Features after a ReLU have a mean that serves as intercept."""
    f, y = 5 + _features(12, 3, 2), _classes(12, 2)
    assert log_me(f, y) == pytest.approx(_brute_force_log_me(f, y), abs=2e-5)


def test_log_me_finds_the_largest_of_several_maxima():
    """A strong direction that says nothing hides a weak one that says it all: evidence also peaks where all
    of it is taken for noise.
    """
    y = np.repeat([0, 1], 8)
    useless, useful = (
        30 * np.tile([1.0, -1.0], 8),
        np.where(y == 0, 1, -1) * (1 + 0.1 * np.tile([1, 1, -1, -1], 4)),
    )
    f = np.stack([useless, np.ones(16), useful], axis=1)
    noise_alone = -(np.log(2 * np.pi * 0.5) + 1) / 2
    greatest = _brute_force_log_me(f, y)
    assert greatest > noise_alone + 1
    for unit in (1.0, 1e-3, 1e3):
        assert log_me(unit * f, y) == pytest.approx(greatest, abs=2e-5)


def test_log_me_agrees_with_bayesian_ridge():
    f, y = _features(60, 5, 3), _classes(60, 3)
    theirs = []
    for label in range(3):
        ridge = BayesianRidge(
            max_iter=1000,
            tol=1e-10,
            alpha_1=0,
            alpha_2=0,
            lambda_1=0,
            lambda_2=0,
            compute_score=True,
            fit_intercept=False,
        )
        theirs.append(ridge.fit(f, y == label).scores_[-1] / 60)
    assert log_me(f, y) == pytest.approx(np.mean(theirs), abs=1e-6)


def test_log_me_of_features_orthogonal_to_the_labels():
    """Nothing but noise of variance |y|^2 / N is left: here 1 / 2."""
    y = np.array([0, 0, 1, 1])
    for f in ([[1.0], [-1.0], [1.0], [-1.0]], [[1.0], [-1.0], [0.0], [0.0]]):  # up to rounding, and exactly
        assert log_me(np.array(f), y) == pytest.approx(-(np.log(2 * np.pi * 0.5) + 1) / 2, abs=1e-9)


def test_log_me_where_the_labels_are_certain():
    """Unbounded evidence is cut off, above that of features with the slightest noise."""
    y = _classes(20, 4)
    certain, nearly = np.eye(4)[y], np.eye(4)[y] + 1e-3 * _rng().normal(size=(20, 4))
    assert np.isfinite(log_me(certain, y))
    assert log_me(certain, y) > log_me(nearly, y) + 1 > 2


@given(
    seed=st.integers(0, 1000),
    num_classes=st.integers(2, 4),
    more=st.integers(0, 8),
    dim=st.integers(1, 8),
    apart=st.sampled_from([0.0, 0.5, 3.0]),
    scale=st.sampled_from([1e-4, 10.0, 1e5]),
)
@settings(max_examples=40, deadline=None)
def test_log_me_properties(seed, num_classes, more, dim, apart, scale):
    f, y = (
        _features(num_classes + more, dim, num_classes, apart=apart, seed=seed),
        _classes(num_classes + more, num_classes),
    )
    value, rng = log_me(f, y), _rng(seed)
    order, rotation = rng.permutation(len(y)), np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    assert log_me(scale * f, y) == pytest.approx(value, abs=1e-5)
    assert log_me(f @ rotation, y) == pytest.approx(value, abs=1e-5)
    assert log_me(f[order], y[order]) == pytest.approx(value, abs=1e-5)
    assert log_me(f, 7 - 2 * y) == pytest.approx(value, abs=1e-5)
    assert log_me(np.pad(f, ((0, 0), (0, 2))), y) == pytest.approx(value, abs=1e-5)
    # No alpha and beta may give more.
    for alpha, beta in np.exp(rng.uniform(-5, 5, size=(5, 2))):
        assert (
            np.mean([_log_evidence(f, 1.0 * (y == label), alpha, beta) for label in range(num_classes)])
            / len(y)
            < value + 1e-5
        )


# H-score


def _direct_h_score(f, y):
    means = np.stack([f[y == label].mean(axis=0) for label in y])
    return np.trace(np.linalg.solve(np.cov(f.T, bias=True), np.cov(means.T, bias=True)))


def test_h_score_agrees_with_direct_computation():
    f, y = _features(40, 5, 4) @ _rng(1).normal(size=(5, 5)), _rng(2).permutation(_classes(40, 4))
    assert h_score(f, y, shrinkage=False) == pytest.approx(_direct_h_score(f, y), abs=1e-10)
    uneven = np.minimum(y, 1)
    assert h_score(f, uneven, shrinkage=False) == pytest.approx(_direct_h_score(f, uneven), abs=1e-10)


def test_h_score_of_one_feature_is_the_explained_variance():
    f, y = _features(30, 1, 3), _classes(30, 3)
    ratio = f_classif(f, y)[0][0] * 2 / 27  # between over within
    for shrinkage in (False, True):  # one feature is nothing to shrink
        assert h_score(f, y, shrinkage=shrinkage) == pytest.approx(ratio / (1 + ratio), abs=1e-12)


@pytest.mark.parametrize(("num_images", "dim"), [(10, 3), (40, 5), (40, 39), (20, 200)])
def test_shrunk_h_score_agrees_with_sklearn(num_images, dim):
    f, y = _features(num_images, dim, 4) * np.linspace(0.5, 2, dim), _classes(num_images, 4)
    theirs = LedoitWolf().fit(f)
    means = np.stack([f[y == label].mean(axis=0) for label in y])
    between = (1 - theirs.shrinkage_) * np.cov(means.T, bias=True)
    assert 0 < theirs.shrinkage_ < 1
    assert h_score(f, y, shrinkage=True) == pytest.approx(
        np.trace(np.linalg.solve(theirs.covariance_, between)), abs=1e-9
    )


def test_h_score_of_separate_points_is_largest():
    y = _classes(12, 4)
    assert h_score(np.eye(4)[y], y, shrinkage=False) == pytest.approx(3)  # of rank 3 in 4 dimensions
    assert h_score(np.eye(4)[y], np.repeat([0, 1], 6), shrinkage=False) < 0.5


def test_h_score_without_shrinkage_rates_noise_highest():
    y = _classes(40, 4)
    noise, useful = _features(40, 100, 4, apart=0.0), _features(40, 100, 4)
    assert [h_score(f, y, shrinkage=False) for f in (noise, useful)] == pytest.approx([3, 3])
    assert h_score(noise, y, shrinkage=True) < 1 < 2 < h_score(useful, y, shrinkage=True)


def test_h_score_ignores_constant_directions():
    y = _classes(20, 2)
    assert [h_score(np.full((20, 3), 0.1), y, shrinkage=shrinkage) for shrinkage in (False, True)] == [0, 0]
    # Rounding of a large mean is no direction: N = 20 would else find up to 1 in 30 constant features.
    f = np.hstack([_features(20, 1, 2), np.full((20, 30), 1e6 / 3)])
    assert h_score(f, y, shrinkage=False) == pytest.approx(h_score(f[:, :1], y, shrinkage=False), abs=1e-6)


@given(
    seed=st.integers(0, 1000),
    num_classes=st.integers(2, 4),
    more=st.integers(0, 12),
    dim=st.integers(1, 8),
    apart=st.floats(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_h_score_properties(seed, num_classes, more, dim, apart):
    f, y = (
        _features(num_classes + more, dim, num_classes, apart=apart, seed=seed),
        _classes(num_classes + more, num_classes),
    )
    rng = _rng(seed)
    plain, shrunk = h_score(f, y, shrinkage=False), h_score(f, y, shrinkage=True)
    assert -1e-12 <= shrunk <= plain + 1e-9
    assert plain <= min(dim, num_classes - 1) + 1e-9
    if len(y) > dim:
        # Singular values between 1/2 and 2: the map itself must not lose digits.
        left, right = (np.linalg.qr(rng.normal(size=(dim, dim)))[0] for _ in range(2))
        assert h_score(
            f @ (left * rng.uniform(0.5, 2, size=dim)) @ right + 3, y, shrinkage=False
        ) == pytest.approx(plain, abs=1e-8)
    rotation, order = np.linalg.qr(rng.normal(size=(dim, dim)))[0], rng.permutation(len(y))
    assert h_score(5 * f @ rotation - 2, y, shrinkage=True) == pytest.approx(shrunk, abs=1e-8)
    for shrinkage, value in ((False, plain), (True, shrunk)):
        assert h_score(f[order], 9 - 2 * y[order], shrinkage=shrinkage) == pytest.approx(value, abs=1e-8)


def _h_score(f, y):
    return h_score(f, y, shrinkage=True)


@pytest.mark.parametrize("measure", [leep, log_me, _h_score])
@pytest.mark.parametrize(
    ("rows", "y", "message"),
    [
        (np.ones(2), np.array([0, 1]), r"at least 1 column, got \(2,\)"),
        (np.ones((2, 0)), np.array([0, 1]), r"at least 1 column, got \(2, 0\)"),
        (np.ones((2, 1)), np.array([0, 1, 1]), r"y must be int of shape \(2,\), got int64 of shape \(3,\)"),
        (np.ones((2, 1)), np.array([[0], [1]]), r"got int64 of shape \(2, 1\)"),
        (np.ones((2, 1)), np.array([0.0, 1.0]), "y must be int .* got float64"),
        (np.array([[1.0], [np.nan]]), np.array([0, 1]), "must be finite, got 1 values"),
        (np.array([[np.inf], [-np.inf]]), np.array([0, 1]), "must be finite, got 2 values"),
        (np.ones((2, 1)), np.array([3, 3]), r"at least 2 classes, got \[3\]"),
        (np.ones((0, 1)), np.array([], dtype=int), r"at least 2 classes, got \[\]"),
    ],
)
def test_arguments_are_checked(measure, rows, y, message):
    with pytest.raises(ValueError, match=message):
        measure(rows, y)


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        ([[0.5, 0.5], [0.5, 0.4]], "sums from 0.9 to 1"),
        ([[2.0, -1.0], [0.5, 0.5]], "smallest value of -1"),
        ([[0.0, 0.0], [0.5, 0.5]], "sums from 0 to 1"),
    ],
)
def test_leep_checks_that_rows_are_probabilities(theta, message):
    with pytest.raises(ValueError, match=message):
        leep(np.array(theta), np.array([0, 1]))


def test_log_me_checks_that_features_are_not_all_0():
    with pytest.raises(ValueError, match=r"f must not be all 0, got \(2, 3\) zeros"):
        log_me(np.zeros((2, 3)), np.array([0, 1]))
