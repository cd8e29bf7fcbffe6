"""The simultaneous error: between a single interval and Bonferroni, and its coverage of all rows at once."""

import numpy as np
import pytest
from scipy import stats

from understudy.functional.intervals import mean_interval
from understudy.functional.simultaneous import simultaneous_tail, tukey_half_width


def _rng(seed=0):
    return np.random.default_rng(seed)


def test_independent_differences_have_the_error_of_sidak():
    values = _rng().normal(size=(8, 1, 10_000))
    expected = (1 - 0.95 ** (1 / 8)) / 2
    assert simultaneous_tail(values, _rng()) == pytest.approx(expected, rel=0.2)


def test_equal_differences_are_one():
    values = _rng().normal(size=(1, 3, 400)).repeat(12, axis=0)
    assert simultaneous_tail(values, _rng()) == pytest.approx(0.025, rel=0.1)


def test_equal_arms_do_not_count():
    values = _rng().normal(size=(2, 3, 400))
    with_equal = np.concatenate([values, np.zeros((5, 3, 400))])
    assert simultaneous_tail(with_equal, _rng()) == simultaneous_tail(values, _rng())
    assert simultaneous_tail(np.zeros((4, 3, 400)), _rng()) == pytest.approx(0.025)


def test_lies_between_a_single_interval_and_bonferroni():
    shared = _rng(1).normal(size=(1, 3, 300))
    values = shared + _rng(2).normal(size=(10, 3, 300))
    assert 0.0025 < simultaneous_tail(values, _rng()) < 0.025


def test_what_groups_differ_by_does_not_correlate_the_rows():
    """Differences that are large in one group in all rows, and independent within groups."""
    groups = np.repeat([0, 1], 5000)
    values = _rng().normal(size=(8, 1, 10_000)) + 1000 * groups
    expected = (1 - 0.95 ** (1 / 8)) / 2
    assert simultaneous_tail(values, _rng(), groups=groups) == pytest.approx(expected, rel=0.2)
    assert simultaneous_tail(values, _rng()) == pytest.approx(0.025, rel=0.1)


def test_one_group_is_no_group():
    values = _rng().normal(size=(5, 3, 200)) + _rng(1).normal(size=(1, 1, 200))
    one = simultaneous_tail(values, _rng(), groups=np.zeros(200, dtype=int))
    assert one == pytest.approx(simultaneous_tail(values, _rng()))


@pytest.mark.parametrize("spread", [0.0, 0.01])
@pytest.mark.parametrize("num_arms", [4, 15])
def test_equal_arms_rarely_differ_in_any_row(num_arms, spread):
    """Every arm is 90% right, seeds vary by ``spread``; 100 experiments: standard error 2.2 points. Of single
    intervals, some row excludes 0 in up to 40% of experiments.
    """
    rng, false, num_images = _rng(num_arms), 0, 300
    for _ in range(100):
        luck = rng.normal(size=num_images)
        seeds = rng.normal(0, spread / 0.175, size=(num_arms + 1, 3, 1))
        own = rng.normal(size=(num_arms + 1, 3, num_images))
        correct = np.sqrt(0.5) * (luck + own) + seeds < stats.norm.ppf(0.9)
        differences = correct[1:].astype(float) - correct[0]
        tail = simultaneous_tail(differences, rng)
        ends = [mean_interval(one, limits=(-1, 1), tail=tail) for one in differences]
        false += any(low > 0 or high < 0 for _, low, high in ends)
    assert false / 100 <= 0.09


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="differences, trainings, images"):
        simultaneous_tail(np.zeros((3, 40)), _rng())


def test_two_treatments_have_the_paired_student_interval():
    means = _rng(3).normal(size=(2, 4))
    difference = stats.ttest_rel(*means)
    low, high = difference.confidence_interval(0.95)
    assert tukey_half_width(means) == pytest.approx((high - low) / 2)


def test_what_a_whole_run_or_treatment_shares_does_not_widen():
    means = _rng(4).normal(size=(5, 3))
    shared = means + 10 * _rng(5).normal(size=(1, 3)) + 10 * _rng(6).normal(size=(5, 1))
    assert tukey_half_width(shared) == pytest.approx(tukey_half_width(means))
    assert tukey_half_width(np.arange(5.0)[:, None] + np.arange(3.0)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("num_runs", [2, 3, 5])
def test_equal_treatments_rarely_differ_in_any_pair(num_runs):
    """1,000 experiments: standard error 0.7 points."""
    means = _rng(num_runs).normal(size=(1_000, 5, num_runs))
    widest = np.ptp(means.mean(axis=2), axis=1)
    false = np.mean([width > tukey_half_width(one) for width, one in zip(widest, means, strict=True)])
    assert false == pytest.approx(0.05, abs=0.02)


def test_one_run_has_no_spread():
    with pytest.raises(ValueError, match="treatments, runs"):
        tukey_half_width(np.zeros((3, 1)))
