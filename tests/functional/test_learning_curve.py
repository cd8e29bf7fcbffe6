"""Learning curves against numpy, scipy and simulated experiments with a known truth."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import isotonic_regression

from understudy.functional.intervals import mean_interval, student_stretch
from understudy.functional.learning_curve import (
    fall_of_second_half,
    gain_of_second_half,
    gains_per_doubling,
    increasing,
    invert,
    log_fit,
    resampled_curves,
    stops,
    worth_in_real_images,
)

SIZES = np.array([100, 200, 400, 800])
curves = st.lists(st.floats(0, 1), min_size=4, max_size=4)


def _rng(seed=0):
    return np.random.default_rng(seed)


def _correct(rates, *, num_seeds=3, num_images=400, spread=0.0, rng):
    """Right and wrong with these rates, (K, S, N); which images are hard is the same for all."""
    hardness = rng.random(num_images)
    return hardness < np.reshape(rates, (-1, 1, 1)) + rng.normal(
        0, spread, size=(np.size(rates), num_seeds, 1)
    )


def test_fit_agrees_with_numpy():
    values = _rng().random((2, 3, 4))
    intercept, slope = log_fit(SIZES, values)
    theirs = np.polyfit(np.log2(SIZES), values.reshape(6, 4).T, 1)
    np.testing.assert_allclose([slope.ravel(), intercept.ravel()], theirs, atol=1e-12)


def test_real_fake_gains_1_5_points_with_each_doubling():
    """Yuan et al. 2023, ImageNet, synthetic alone: 70.9, 72.9, 74.5, 76.0 at 1, 2, 5, 10 times; real 79.6."""
    intercept, slope = log_fit(np.array([1, 2, 5, 10]), np.array([70.9, 72.9, 74.5, 76.0]))
    assert float(slope) == pytest.approx(1.5, abs=0.05)
    assert float(intercept) == pytest.approx(70.9, abs=0.3)


@given(curves, st.floats(-1, 1), st.floats(0.1, 10))
def test_fit_properties(values, shift, factor):
    values = np.array(values)
    intercept, slope = log_fit(SIZES, values)
    np.testing.assert_allclose(log_fit(SIZES, values + shift), (intercept + shift, slope), atol=1e-12)
    np.testing.assert_allclose(log_fit(factor * SIZES, values)[1], slope, atol=1e-12)
    line = np.array([0.2, 0.3, 0.4, 0.5])
    np.testing.assert_allclose(log_fit(SIZES / 100, line), (0.2, 0.1))


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8))
def test_increasing_agrees_with_scipy(values):
    fit = increasing(np.array(values))
    np.testing.assert_allclose(fit, isotonic_regression(values).x, atol=1e-9)
    assert (np.diff(fit) >= 0).all()
    assert fit.sum() == pytest.approx(sum(values), abs=1e-9)
    np.testing.assert_allclose(increasing(fit), fit, atol=1e-12)


def test_increasing_takes_many_curves_at_once():
    values = _rng().random((5, 3, 6))
    np.testing.assert_array_equal(increasing(values)[2, 1], increasing(values[2, 1]))


@given(curves, st.floats(-0.1, 1.1))
def test_inverse_reaches_the_wanted_value(values, wanted):
    values = np.sort(values)
    size = invert(SIZES, values, wanted)
    if wanted <= values[0]:
        assert size == 100
    elif wanted > values[-1]:
        assert size == math.inf
    else:
        assert 100 <= size <= 800
        # Between two sizes that differ by the last digits of a float, the size is not determined better than
        # this.
        assert (
            np.interp(np.log(size), np.log(SIZES), values) == pytest.approx(wanted, abs=1e-9)
            or np.diff(values).min() < 1e-6
        )
        assert invert(SIZES, values, wanted - 0.01) <= size


def test_inverse_at_and_between_sizes():
    values = np.array([0.5, 0.6, 0.6, 0.8])
    assert [invert(SIZES, values, wanted) for wanted in (0.5, 0.6, 0.8)] == [100, 200, 800]
    assert invert(SIZES, values, 0.7) == pytest.approx(400 * 2**0.5)
    assert invert(SIZES[:1], values[:1], 0.4) == 100
    assert invert(SIZES[:1], values[:1], 0.6) == math.inf


def test_resampled_curves_are_those_of_the_intervals():
    values = _correct([0.6, 0.8], spread=0.03, rng=_rng(1))
    resampled = resampled_curves(values, _rng(), num_resamples=4000)
    assert resampled.shape == (4000, 2)
    for point in range(2):
        mean, low, high = mean_interval(values[point])
        ends = mean + student_stretch(values[point].astype(float)) * (
            np.quantile(resampled[:, point], [0.025, 0.975]) - mean
        )
        np.testing.assert_allclose(ends, [low, high], atol=0.08 * (high - low))


def test_resamples_are_shared():
    values = _correct([0.7], rng=_rng(1))
    both = resampled_curves(np.concatenate([values, values]), _rng(), num_resamples=50)
    np.testing.assert_array_equal(both[:, 0], both[:, 1])
    assert both[:, 0].std() > 0.01
    shuffled = values[:, :, _rng(3).permutation(400)]
    np.testing.assert_allclose(
        resampled_curves(shuffled, _rng(), num_resamples=50)[:, 0], both[:, 0], atol=1e-12
    )


def test_worth_of_the_real_sets_themselves():
    real = _correct([0.5, 0.6, 0.7, 0.8], rng=_rng())
    worth = worth_in_real_images(SIZES, real, real, _rng(), num_resamples=200)
    # A curve is always exactly as far as itself, in every resample.
    np.testing.assert_allclose(worth, np.repeat(SIZES[:, None], 3, axis=1))


def test_worth_beyond_the_measured_sizes():
    real = _correct([0.5, 0.6, 0.7, 0.8], rng=_rng())
    others = np.stack([np.zeros((3, 400), dtype=bool), np.ones((3, 400), dtype=bool)])
    worth = worth_in_real_images(SIZES, real, others, _rng(), num_resamples=100)
    assert worth.tolist() == [[100, 100, 100], [math.inf] * 3]


@pytest.mark.parametrize("worth", [150, 300, 600])
@pytest.mark.parametrize(("first", "doubling"), [(0.5, 0.05), (0.9, 0.025)])
@pytest.mark.parametrize("spread", [0.003, 0.015])
def test_worth_covers_the_truth(worth, first, doubling, spread):
    """Accuracy ``first`` with 100 images and ``doubling`` more with each doubling, and seed effects; a set
    worth ``worth`` real images. 100 experiments: standard error 2.2 points.
    """
    rng, hits = _rng(5), 0
    rates = first + doubling * np.log2(np.array([*SIZES, worth]) / 100)
    for _ in range(100):
        values = _correct(rates, spread=spread, rng=rng)
        ((size, low, high),) = worth_in_real_images(SIZES, values[:4], values[4:], rng, num_resamples=100)
        assert low <= size <= high
        hits += low <= worth <= high
    assert hits / 100 >= 0.93


@given(data=st.lists(st.booleans(), min_size=40, max_size=40), seed=st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_worth_properties(data, seed):
    values = np.array(data).reshape(5, 2, 4)
    worth = worth_in_real_images(SIZES[:3], values[:3], values[3:], _rng(seed), num_resamples=30)
    assert worth.shape == (2, 3)
    assert (worth[:, 1] <= worth[:, 0]).all() and (worth[:, 0] <= worth[:, 2]).all()
    assert (((worth >= 100) & (worth <= 400)) | np.isinf(worth)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_fit(SIZES, np.ones(3)), "must be"),
        (lambda: log_fit(np.array([100, 100]), np.ones(2)), "not all equal"),
        (lambda: log_fit(np.array([0, 100]), np.ones(2)), "positive"),
        (lambda: increasing(np.ones((2, 0))), "K > 0"),
        (lambda: invert(SIZES[::-1], np.arange(4), 0.5), "increase"),
        (lambda: invert(SIZES[:0], np.arange(0), 0.5), "increase"),
        (lambda: invert(SIZES, np.array([0, 1, 0, 1]), 0.5), "never fall"),
        (lambda: invert(SIZES, np.arange(3), 0.5), "one per size"),
        (lambda: resampled_curves(np.ones((2, 5)), _rng(), num_resamples=2), "points, seeds, images"),
        (
            lambda: worth_in_real_images(
                SIZES, np.ones((3, 2, 5)), np.ones((1, 2, 5)), _rng(), num_resamples=2
            ),
            "must be",
        ),
    ],
)
def test_arguments_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(st.lists(st.floats(0.05, 2), min_size=1, max_size=6), st.floats(-1, 1), st.floats(-0.2, 0.2))
def test_a_straight_line_gains_its_slope_at_every_step(steps, intercept, slope):
    sizes = 10 * 2.0 ** np.cumsum([0, *steps])
    values = intercept + slope * np.log2(sizes)
    np.testing.assert_allclose(gains_per_doubling(sizes, values), slope, atol=1e-9)


def test_gains_sum_up_to_the_whole_gain():
    sizes, values = np.array([3, 5, 40]), np.random.default_rng(0).random((2, 4, 3))
    gains = gains_per_doubling(sizes, values)
    assert gains.shape == (2, 4, 2)
    np.testing.assert_allclose((gains * np.diff(np.log2(sizes))).sum(-1), values[..., -1] - values[..., 0])


@pytest.mark.parametrize(
    ("sizes", "values"),
    [([1], [1]), ([2, 1], [0, 0]), ([0, 1], [0, 0]), ([1, 1], [0, 0]), ([1, 2], [0, 0, 0])],
)
def test_gains_need_a_growing_size(sizes, values):
    with pytest.raises(ValueError, match="sizes"):
        gains_per_doubling(np.array(sizes), np.array(values))


def test_the_stop_rule_uses_the_low_end_of_the_paired_t_interval():
    """Where the low end of the interval just reaches what is asked for, the two-sided t test gives 5%."""
    gains = np.array([0.4, 1.1, 0.9, 1.6])
    ends, interval = stops(gains, below=0.0)
    assert not ends
    assert stats.ttest_1samp(gains, interval["low"]).pvalue == pytest.approx(0.05)
    assert stops(gains, below=interval["low"] + 1e-9)[0] and not stops(gains, below=interval["low"])[0]
    with pytest.raises(ValueError, match="at least one entry"):
        stops(np.array([]), below=1.0)


def test_gain_of_the_second_half():
    assert gain_of_second_half([20, 50, 100], [0.1, 0.6, 0.9]) == pytest.approx(0.3)
    assert gain_of_second_half([40, 60, 100], [0.5, 0.7, 0.9]) == pytest.approx(0.3)  # 0.6 at 50
    assert gain_of_second_half([60, 100], [0.5, 0.9]) is None


def test_fall_of_the_second_half():
    assert fall_of_second_half([0, 10, 20], [1.0, 0.8, 0.6]) == pytest.approx(0.25)
    assert fall_of_second_half([0, 10, 20], [1.0, 0.8, 0.9]) == 0, "the lowest loss is in the first half"
    assert fall_of_second_half([30, 40], [1.0, 0.5]) is None, "no point in the first half"
    assert fall_of_second_half([0], [1.0]) is None, "no point in the second half"
    for steps in ([], [1, 2, 3]):
        with pytest.raises(ValueError, match="steps must have a loss each"):
            fall_of_second_half(steps, [0.5, 0.6][: len(steps)])


@pytest.mark.parametrize("steps", [[], [0, 10], [10, 10], [10, 20, 30]])
def test_points_of_a_training_are_checked(steps):
    with pytest.raises(ValueError, match="steps must be positive, increase"):
        gain_of_second_half(steps, [0.5, 0.6])
