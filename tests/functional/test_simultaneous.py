"""The simultaneous error: between a single interval and Bonferroni, and its coverage of all rows at once."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from understudy.functional.intervals import mean_interval
from understudy.functional.simultaneous import bonferroni_half_widths, simultaneous_tail


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


def test_a_single_difference_has_the_paired_student_interval():
    means = _rng(3).normal(size=(2, 4))
    low, high = stats.ttest_rel(*means).confidence_interval(0.95)
    assert bonferroni_half_widths(np.diff(means, axis=0)) == pytest.approx([(high - low) / 2])


def test_several_differences_share_the_error():
    means = _rng(4).normal(size=(6, 3))
    tests = [stats.ttest_1samp(of_one, 0).confidence_interval(1 - 0.05 / 6) for of_one in means]
    expected = [(ends.high - ends.low) / 2 for ends in tests]
    assert bonferroni_half_widths(means) == pytest.approx(expected)


@pytest.mark.parametrize("num_runs", [2, 3, 5])
@pytest.mark.parametrize("spreads", [(1, 1, 1, 1, 1), (3, 0.2, 0.2, 0.2, 0.2), (3, 2, 1, 0.5, 0.2)])
def test_equal_treatments_rarely_differ_in_any_pair_whatever_their_variances(spreads, num_runs):
    """2,000 experiments: standard error 0.5 points. Tukey's range, which takes the variances as equal, makes
    some pair differ in 10% to 20% of experiments with unequal ones.
    """
    means = _rng(num_runs).normal(size=(2_000, 5, num_runs)) * np.array(spreads)[:, None]
    pairs = np.stack([means[:, a] - means[:, b] for a, b in combinations(range(5), 2)], axis=1)
    false = np.mean([(abs(one.mean(axis=1)) > bonferroni_half_widths(one)).any() for one in pairs])
    assert 0.025 < false < 0.065


def test_one_run_has_no_spread():
    with pytest.raises(ValueError, match="at least 2 runs"):
        bonferroni_half_widths(np.zeros((3, 1)))
