"""Calibration against torchmetrics, scikit-learn and simulated classifiers with a known truth."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import multiclass_calibration_error

from understudy.functional.calibration import (
    brier_terms,
    ece_terms,
    expected_calibration_error,
    reliability,
    restricted,
)
from understudy.functional.intervals import mean_interval


def _predictions(seed, num_images=200, num_classes=4, sharpness=2.0):
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(num_images, num_classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return p, rng.integers(num_classes, size=num_images)


def _calibrated(rng, num_images, num_classes=3):
    """Labels drawn from the probabilities themselves."""
    p = rng.dirichlet(np.ones(num_classes), size=num_images)
    return p, (p.cumsum(axis=1) < rng.random(num_images)[:, None]).sum(axis=1).clip(max=num_classes - 1)


@given(st.integers(0, 1000), st.integers(1, 200), st.integers(2, 6), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_ece_agrees_with_torchmetrics(seed, num_images, num_classes, num_bins):
    p, y = _predictions(seed, num_images, num_classes)
    theirs = multiclass_calibration_error(
        torch.from_numpy(p), torch.from_numpy(y), num_classes=num_classes, n_bins=num_bins, norm="l1"
    )
    # torchmetrics computes in float32.
    assert expected_calibration_error(p, y, num_bins=num_bins) == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
def test_bins_agree_with_scikit_learn(adaptive):
    p, y = _predictions(0, 500)
    counts, conf, acc = reliability(p, y, num_bins=10, adaptive=adaptive)
    right, confidence = p.argmax(axis=1) == y, p.max(axis=1)
    strategy = "quantile" if adaptive else "uniform"
    theirs = calibration_curve(right, confidence, n_bins=10, strategy=strategy)  # leaves out empty bins
    np.testing.assert_allclose((acc[counts > 0], conf[counts > 0]), theirs, atol=1e-12)
    assert counts.sum() == 500
    if adaptive:
        assert set(counts) == {50}


@given(st.integers(0, 1000), st.integers(1, 60), st.booleans())
@settings(max_examples=40, deadline=None)
def test_terms_add_up_to_the_gaps_of_the_bins(seed, num_images, adaptive):
    p, y = _predictions(seed, num_images)
    counts, conf, acc = reliability(p, y, num_bins=7, adaptive=adaptive)
    gaps = np.nansum(counts * abs(acc - conf)) / num_images
    terms = ece_terms(p, y, num_bins=7, adaptive=adaptive)
    assert terms.mean() == pytest.approx(gaps, abs=1e-12)
    assert abs(terms).max() <= 1
    order = np.random.default_rng(seed).permutation(num_images)
    np.testing.assert_allclose(
        ece_terms(p[order], y[order], num_bins=7, adaptive=adaptive), terms[order], atol=1e-12
    )


def test_equal_confidences_share_an_adaptive_bin():
    p = np.tile([0.75, 0.25], (8, 1))
    counts, conf, acc = reliability(p, np.array([0, 0, 0, 1] * 2), num_bins=3, adaptive=True)
    assert sorted(counts) == [0, 0, 8]
    assert np.nanmax(conf) == np.nanmax(acc) == 0.75


def test_overconfidence_is_measured():
    """Always 0.9 sure, right in 60%: 0.3 apart, however many images."""
    p = np.tile([0.9, 0.1], (1000, 1))
    y = (np.arange(1000) % 10 >= 6).astype(int)
    assert expected_calibration_error(p, y) == pytest.approx(0.3)
    assert expected_calibration_error(p, y, adaptive=True) == pytest.approx(0.3)
    assert brier_terms(p, y).mean() == pytest.approx(0.6 * 2 * 0.01 + 0.4 * 2 * 0.81)


def test_ece_of_a_calibrated_classifier_is_its_known_bias():
    """The formula of the docstring, for equally full bins."""
    rng = np.random.default_rng(0)
    found, told = [], []
    for _ in range(200):
        p, y = _calibrated(rng, 1000)
        found.append(expected_calibration_error(p, y, adaptive=True))
        told.append(np.sqrt(2 * 15 * (p.max(axis=1) * (1 - p.max(axis=1))).mean() / (np.pi * 1000)))
    assert np.mean(found) == pytest.approx(np.mean(told), rel=0.1)


def test_intervals_of_the_terms_cover_the_error():
    """Accuracy is 15 points below confidence in every bin; 200 experiments give the coverage a standard error
    of 1.5 points.
    """
    rng, hits, above = np.random.default_rng(1), 0, 0
    for _ in range(200):
        p_hat = rng.uniform(0.6, 0.99, size=400)
        y = (rng.random(400) > p_hat - 0.15).astype(int)
        terms = ece_terms(np.stack([p_hat, 1 - p_hat], axis=1), y, num_bins=5)
        mean, low, high = mean_interval(terms[None])
        assert mean == pytest.approx(terms.mean())
        hits += low <= 0.15 <= high
        above += mean > 0.15
    assert 0.9 <= hits / 200 <= 0.99
    assert 70 <= above <= 130


@given(st.integers(0, 1000), st.integers(2, 6))
@settings(max_examples=30, deadline=None)
def test_brier_is_proper(seed, num_classes):
    """In expectation over labels, no other probabilities score better than the true ones."""
    rng = np.random.default_rng(seed)
    truth, other = rng.dirichlet(np.ones(num_classes), size=2)

    def expected(p):
        return truth @ brier_terms(np.tile(p, (num_classes, 1)), np.arange(num_classes))

    assert expected(truth) == pytest.approx(1 - (truth**2).sum())
    assert expected(other) == pytest.approx(expected(truth) + ((other - truth) ** 2).sum())


@given(st.integers(0, 1000), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_restricting_is_masking_the_logits(seed, num_kept):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(scale=3, size=(2, 7, 5)))
    classes = rng.permutation(5)[:num_kept].tolist()
    mask = torch.full((5,), -torch.inf)
    mask[classes] = 0
    expected = (logits + mask).softmax(dim=-1)[..., classes]
    np.testing.assert_allclose(
        restricted(logits.softmax(dim=-1).numpy(), classes), expected.numpy(), atol=1e-12
    )


def test_restricting_to_classes_without_probability_is_uniform():
    assert restricted(np.array([[1.0, 0.0, 0.0]]), [1, 2]).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        (np.full((2, 2), 0.5), np.zeros(3, int), r"got \(2, 2\) and \(3,\)"),
        (np.full(2, 0.5), np.zeros(2, int), r"must be of shape \(N, C\)"),
        (np.empty((0, 2)), np.zeros(0, int), "above 0"),
        (np.full((2, 2), 0.5), np.array([0, 2]), r"labels must be in \[0, 2\), got 0 to 2"),
        (np.full((2, 2), 0.4), np.zeros(2, int), "sums from 0.8 to 0.8"),
        (np.array([[1.5, -0.5]]), np.zeros(1, int), "smallest value of -0.5"),
        (np.array([[np.nan, 1.0]]), np.zeros(1, int), "must be probabilities"),
    ],
)
def test_bad_predictions(p, y, message):
    for function in (reliability, ece_terms, brier_terms):
        with pytest.raises(ValueError, match=message):
            function(p, y)


def test_bad_bins_and_classes():
    p, y = _predictions(0, 5)
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        reliability(p, y, num_bins=0)
    for classes in ([], [0, 0], [4], [-1]):
        with pytest.raises(ValueError, match=r"classes must differ and be in \[0, 4\)"):
            restricted(p, classes)
