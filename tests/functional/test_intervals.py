"""Bootstrap intervals against closed forms, scipy, and simulated experiments with a known truth."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from understudy.functional import intervals
from understudy.functional.intervals import bootstrap_mean, paired_bootstrap_difference, student_interval


def _rng(seed=0):
    return np.random.default_rng(seed)


def test_one_training_agrees_with_the_binomial_error():
    correct = (np.arange(1000) < 900)[None]
    mean, low, high = bootstrap_mean(correct, _rng(), num_resamples=20_000)
    error = np.sqrt(0.9 * 0.1 / 1000)
    assert mean == 0.9
    # Means come in steps of 0.001, a tenth of the standard error; the rest is Monte Carlo error.
    np.testing.assert_allclose([low, high], [0.9 - 1.96 * error, 0.9 + 1.96 * error], atol=0.12 * error)


def test_one_training_agrees_with_scipy():
    values = _rng(1).exponential(size=200)
    _, low, high = bootstrap_mean(values[None], _rng(), num_resamples=9999)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=_rng(2)).confidence_interval
    error = values.std() / np.sqrt(200)
    # scipy does not stretch to Student's quantile: 0.6% of the half width here; the rest is Monte Carlo
    # error.
    np.testing.assert_allclose([low, high], [theirs.low, theirs.high], atol=0.08 * error)


def test_seeds_alone_agree_with_student():
    accuracy = np.linspace(0.7, 0.9, 12)
    _, low, high = bootstrap_mean(np.repeat(accuracy[:, None], 50, axis=1), _rng(), num_resamples=20_000)
    half = stats.t.ppf(0.975, 11) * accuracy.std(ddof=1) / np.sqrt(12)
    # A bootstrap of 12 values has lighter tails than the normal distribution.
    np.testing.assert_allclose([low, high], [0.8 - half, 0.8 + half], atol=0.06 * half)


def test_covers_the_truth_with_three_seeds():
    """Accuracy 0.8 + seed effect; 400 experiments: standard error of the coverage 1.1 points."""
    rng, hits, plain = _rng(3), 0, 0
    for _ in range(400):
        rates = 0.8 + rng.normal(0, 0.02, size=3)
        correct = rng.random((3, 500)) < rates[:, None]
        _, low, high = bootstrap_mean(correct, rng, num_resamples=300)
        hits += low <= 0.8 <= high
        plain += abs(correct.mean() - 0.8) <= 1.96 * correct.mean(axis=1).std() / np.sqrt(3)
    assert 0.9 <= hits / 400 <= 0.99
    assert plain / 400 < 0.85  # what seeds resampled plainly would give


def test_pairing_cancels_what_both_share():
    rng = _rng(4)
    hard = rng.random(1000) < 0.5
    a, b = np.tile(~hard, (3, 1)), np.tile(~hard, (3, 1))
    b[:, np.flatnonzero(~hard)[:20]] = False
    mean, low, high = paired_bootstrap_difference(a, b, _rng(), num_resamples=1000)
    assert mean == pytest.approx(0.02)
    assert 0 < low < mean < high < 0.04
    mirrored = paired_bootstrap_difference(b, a, _rng(), num_resamples=1000)
    np.testing.assert_allclose(mirrored, [-mean, -high, -low], atol=0.002)


@given(
    data=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4),
    seed=st.integers(0, 100),
    shift=st.floats(-3, 3),
)
@settings(max_examples=30, deadline=None)
def test_properties(data, seed, shift):
    values = np.array(data)
    mean, low, high = bootstrap_mean(values, _rng(seed), num_resamples=100)
    assert values.min() <= low <= mean <= high <= values.max()
    shuffled = values[:, _rng(seed).permutation(6)]
    np.testing.assert_allclose(
        bootstrap_mean(shuffled, _rng(seed), num_resamples=100), (mean, low, high), atol=1e-12
    )
    moved = bootstrap_mean(values + shift, _rng(seed), num_resamples=100)
    np.testing.assert_allclose(moved, (mean + shift, low + shift, high + shift), atol=1e-9)
    assert paired_bootstrap_difference(values, values, _rng(seed), num_resamples=100) == (0, 0, 0)


def test_resampling_in_parts_equals_resampling_at_once(monkeypatch):
    values = _rng(5).random((3, 50))
    whole = bootstrap_mean(values, _rng(), num_resamples=200)
    monkeypatch.setattr(intervals, "_MAX_CELLS", 700)
    np.testing.assert_allclose(bootstrap_mean(values, _rng(), num_resamples=200), whole, atol=1e-12)


def test_quick_at_full_size():
    correct = _rng(6).random((3, 10_000)) < 0.9
    start = time.perf_counter()
    bootstrap_mean(correct, _rng(), num_resamples=2000)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("shape", [(3,), (0, 5), (3, 1)])
def test_shapes_are_checked(shape):
    with pytest.raises(ValueError, match="must be of shape"):
        bootstrap_mean(np.zeros(shape), _rng(), num_resamples=10)


def test_paired_shapes_are_checked():
    with pytest.raises(ValueError, match="same shape"):
        paired_bootstrap_difference(np.zeros((3, 4)), np.zeros((3, 5)), _rng(), num_resamples=10)


PAPER = {  # Li et al. 2024 (arXiv:2403.19866), table 2: accuracy on ten data sets
    "vanilla": [79.7, 90.5, 83.8, 77.6, 71.6, 95.1, 83.5, 91.3, 83.9, 57.9],
    "mixed": [70.7, 81.3, 80.1, 69.8, 62.4, 87.8, 82.9, 82.5, 76.4, 50.6],
    "bridged": [83.9, 89.7, 90.0, 79.7, 69.2, 96.0, 83.5, 91.1, 79.3, 60.3],
    "reinit": [84.6, 90.7, 90.0, 79.7, 71.7, 96.5, 83.9, 90.2, 79.9, 60.4],
    "++": [85.2, 91.3, 91.6, 80.1, 72.3, 96.9, 84.2, 91.8, 86.6, 60.8],
}


@pytest.mark.parametrize(
    ("name", "base", "mean"),
    [
        ("vanilla", None, 81.49),
        ("mixed", None, 74.45),
        ("bridged", None, 82.27),
        ("reinit", None, 82.76),
        ("++", None, 84.08),
        ("++", "vanilla", 2.59),
        ("mixed", "vanilla", -7.04),
        ("reinit", "bridged", 0.49),
        ("++", "reinit", 1.32),
    ],
)
def test_student_interval_agrees_with_the_paper_and_scipy(name, base, mean):
    values = np.array(PAPER[name]) - (0 if base is None else np.array(PAPER[base]))
    found = student_interval(values.tolist())
    assert found["mean"] == pytest.approx(mean, abs=0.0051)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))


def test_student_interval_of_one_value_and_of_none():
    assert student_interval([0.7]) == {"mean": 0.7, "low": 0.7, "high": 0.7}
    with pytest.raises(ValueError, match="at least one entry"):
        student_interval([])


def test_resampling_within_groups_keeps_their_sizes():
    """A constant answer is sure of its mean over classes; without groups, its interval would have a width."""
    labels = np.repeat([0, 1], [90, 10])
    values = np.where(labels == 0, 100 / 180, 0)[None].repeat(3, axis=0)
    np.testing.assert_allclose(bootstrap_mean(values, _rng(), num_resamples=200, groups=labels), 0.5)
    _, low, high = bootstrap_mean(values, _rng(), num_resamples=200)
    assert low < 0.48 < 0.52 < high


def test_one_group_agrees_with_no_groups():
    correct = (np.arange(400) < 300)[None]
    together = bootstrap_mean(correct, _rng(), num_resamples=20_000)
    in_a_group = bootstrap_mean(correct, _rng(1), num_resamples=20_000, groups=np.zeros(400, dtype=int))
    np.testing.assert_allclose(in_a_group, together, atol=0.002)  # the error of the mean is 0.022
    values = _rng(2).random((3, 50))
    assert intervals.student_stretch(values, np.zeros(50, dtype=int)) == intervals.student_stretch(values)


def test_covers_a_mean_over_classes_of_unlike_sizes():
    """300 and 8 images with rates 0.9 and 0.6; 400 experiments: standard error of the coverage 1.1 points."""
    rng, hits, plain, labels = _rng(7), 0, 0, np.repeat([0, 1], [300, 8])
    weights = np.where(labels == 0, 308 / 600, 308 / 16)
    for _ in range(400):
        values = (rng.random((1, 308)) < np.where(labels == 0, 0.9, 0.6)) * weights
        _, low, high = bootstrap_mean(values, rng, num_resamples=300, groups=labels)
        hits += low <= 0.75 <= high
        spread = np.sqrt(
            sum((values[0, labels == label].std() / 308) ** 2 * (labels == label).sum() for label in (0, 1))
        )
        plain += abs(values.mean() - 0.75) <= 1.96 * spread
    assert 0.92 <= hits / 400 <= 0.99
    assert plain / 400 < hits / 400


@given(st.lists(st.integers(0, 3), min_size=5, max_size=12), st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_the_order_of_images_does_not_matter_within_groups(groups, seed):
    groups, rng = np.array(groups), _rng(seed)
    values = rng.integers(0, 2, size=(2, len(groups))).astype(float)
    mean, low, high = bootstrap_mean(values, _rng(seed), num_resamples=50, groups=groups)
    assert values.min() <= low <= mean <= high <= values.max()
    order = rng.permutation(len(groups))
    shuffled = bootstrap_mean(values[:, order], _rng(seed), num_resamples=50, groups=groups[order])
    np.testing.assert_allclose(shuffled, (mean, low, high), atol=1e-12)
