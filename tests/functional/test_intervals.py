"""Intervals against closed forms, scipy, and simulated experiments with a known truth."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from understudy.functional import intervals
from understudy.functional.intervals import (
    accuracy_interval,
    mean_interval,
    paired_difference,
    resampled_means,
    standard_error,
    student_interval,
    variance_of_mean,
)


def _rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("num_images", [2, 50, 1000])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("num_seeds", [1, 3])
def test_trainings_that_agree_give_the_exact_binomial_interval(num_images, share, num_seeds):
    """With three equal trainings as with one: they are no more test images."""
    right = round(share * num_images)
    correct = np.tile(np.arange(num_images) < right, (num_seeds, 1))
    mean, *ends = accuracy_interval(correct)
    exact = stats.binomtest(right, num_images).proportion_ci(method="exact")
    assert mean == right / num_images
    np.testing.assert_allclose(ends, [exact.low, exact.high], atol=1e-9 if num_seeds == 1 else 2e-3)


def test_trainings_that_differ_widen_the_interval():
    images = np.arange(400)
    equal = np.stack([images < 380] * 3)
    by_image = np.stack([(images + shift) % 400 < 380 for shift in (0, 20, 40)])
    by_seed = np.stack([images < right for right in (372, 380, 388)])
    widths = [accuracy_interval(correct)[2] - accuracy_interval(correct)[1] for correct in (equal, by_image)]
    assert widths[1] == pytest.approx(widths[0], rel=0.05)  # no more than N images count
    assert accuracy_interval(by_seed)[2] - accuracy_interval(by_seed)[1] > 1.5 * widths[0]


def test_all_right_is_the_rule_of_three_and_never_less_than_one_error():
    """Hanley and Lippman-Hand 1983: at 95% on one side, 3 / N; 3.7 / N on two sides."""
    for num_images in (50, 200, 1000):
        right = np.ones((3, num_images), dtype=bool)
        low = accuracy_interval(right)[1]
        assert low == pytest.approx(1 - 3.689 / num_images, rel=0.01)
        one_error = right.copy()
        one_error[0, 0] = False
        assert accuracy_interval(one_error)[1] < low


CELLS = [(n, p, seeds) for n in (50, 200, 1000) for p in (0.95, 0.99, 1.0) for seeds in (1, 3)]


def _trainings(rng, n, p, seeds, *, shared):
    """Correct predictions with mean ``p``: the errors of seeds vary by 30%, and images are shared luck."""
    rates = np.full(seeds, p)
    if seeds > 1 and p < 1:  # with one training the interval covers test images only
        strength = p / (1 - p) / 0.3**2 - 1
        rates = rng.beta(strength * p, strength * (1 - p), size=seeds)
    noise = np.sqrt(shared) * rng.standard_normal(n) + np.sqrt(1 - shared) * rng.standard_normal((seeds, n))
    return noise < stats.norm.ppf(rates)[:, None]


@pytest.mark.parametrize(("n", "p", "seeds"), CELLS)
def test_accuracy_near_the_ceiling_is_covered(n, p, seeds):
    """300 experiments: standard error of the coverage 1.3 points. A bootstrap may cover 59% here."""
    rng, hits = _rng(n + seeds), 0
    for _ in range(300):
        _, low, high = accuracy_interval(_trainings(rng, n, p, seeds, shared=0.5))
        hits += low <= p <= high
    assert hits / 300 >= 0.93


@pytest.mark.parametrize(("n", "p", "seeds"), CELLS)
def test_paired_differences_near_the_ceiling_are_covered(n, p, seeds):
    """``b`` is 1 point below ``a``, and shares luck with it."""
    rng, hits = _rng(2 * n + seeds), 0
    for _ in range(300):
        a = _trainings(rng, n, p, seeds, shared=0.5)
        kept = (rng.random(n) < 1 - 0.006 / p) & (rng.random((seeds, n)) < 1 - 0.004 / p)
        _, low, high = paired_difference(a, a & kept)
        hits += low <= p - p * (1 - 0.006 / p) * (1 - 0.004 / p) <= high
    assert hits / 300 >= 0.93


def test_no_discordant_pair_is_not_certain():
    """Bonett and Price 2012: the interval of two discordant pairs among N + 2, one in each direction."""
    for num_images in (50, 1000):
        same = _rng(num_images).random((1, num_images)) < 0.9
        mean, low, high = paired_difference(same, same)
        half = 1.96 * np.sqrt(2) / (num_images + 2)
        assert mean == 0
        assert (low, high) == (pytest.approx(-half, rel=0.04), pytest.approx(half, rel=0.04))


def test_one_training_agrees_with_bonett_and_price():
    """12 images right only in ``a``, 3 only in ``b``, of 200."""
    a, b = (np.zeros((1, 200)) for _ in range(2))
    a[0, :12], b[0, 12:15], a[0, 15:], b[0, 15:] = 1, 1, 1, 1
    p12, p21 = 13 / 202, 4 / 202
    half = 1.96 * np.sqrt((p12 + p21 - (p12 - p21) ** 2) / 202)
    _, low, high = paired_difference(a, b)
    np.testing.assert_allclose([low, high], [p12 - p21 - half, p12 - p21 + half], atol=0.02 * half)


def test_one_training_agrees_with_student():
    values = _rng(1).exponential(size=200)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(mean_interval(values[None]), [values.mean(), theirs.low, theirs.high])


def test_seeds_alone_agree_with_student():
    accuracy = np.linspace(0.7, 0.9, 12)
    _, low, high = mean_interval(np.repeat(accuracy[:, None], 50, axis=1))
    half = stats.t.ppf(0.975, 11) * accuracy.std(ddof=1) / np.sqrt(12)
    np.testing.assert_allclose([low, high], [0.8 - half, 0.8 + half])


def test_the_variance_has_both_parts_in_expectation():
    """Images vary by 4, seeds by 1, the rest by 9: 4/20 + 1/3 + 9/60; the limits add a little."""
    rng = _rng(2)
    found = [
        variance_of_mean(
            2 * rng.standard_normal(20) + rng.standard_normal((3, 1)) + 3 * rng.standard_normal((3, 20))
        )[0]
        for _ in range(2000)
    ]
    assert np.mean(found) == pytest.approx(4 / 20 + 1 / 3 + 9 / 60, rel=0.1)


def test_groups_keep_their_sizes():
    """The variance of a stratified mean (Cochran 1977, eq. 5.6): what groups differ by is no chance."""
    labels = np.repeat([0, 1, 2], [300, 8, 1])
    values = np.where(labels == 0, 1.0, 5.0) + _rng(8).standard_normal((1, 309))
    parts = [values[0, labels == label] for label in (0, 1)]
    expected = sum((len(part) / 309) ** 2 * part.var(ddof=1) / len(part) for part in parts)
    assert variance_of_mean(values, labels)[0] == pytest.approx(expected)
    constant = np.where(labels == 0, 1.0, 5.0)[None].repeat(3, axis=0)
    assert mean_interval(constant, groups=labels) == pytest.approx([constant.mean()] * 3)
    together = variance_of_mean(values.repeat(3, axis=0))
    assert variance_of_mean(values.repeat(3, axis=0), np.zeros(309)) == pytest.approx(together)


def test_groups_of_one_image_count_as_one_group():
    values = _rng(9).standard_normal((3, 30))
    assert variance_of_mean(values, np.arange(30)) == pytest.approx(variance_of_mean(values))


@pytest.mark.parametrize(
    ("sizes", "rates"), [((200, 8), (0.99, 0.8)), ((300, 20), (1, 0.92)), ((1,) * 30, (0.8,) * 30)]
)
def test_equal_arms_rarely_differ_over_classes(sizes, rates):
    """400 experiments with one training: a false difference in at most 5%, standard error 1.1 points."""
    rng, false, labels = _rng(10), 0, np.repeat(np.arange(len(sizes)), sizes)
    rate, weight = np.array(rates)[labels], (len(labels) / (len(sizes) * np.array(sizes)))[labels]
    for _ in range(400):
        a, b = rng.random((2, 1, len(labels))) < rate
        _, low, high = mean_interval((1.0 * a - b) * weight, limits=(-1, 1), groups=labels)
        false += not low <= 0 <= high
    assert false / 400 <= 0.07


def test_covers_the_truth_with_three_seeds():
    """Accuracy 0.8 + seed effect; 400 experiments: standard error of the coverage 1.1 points."""
    rng, hits, plain = _rng(3), 0, 0
    for _ in range(400):
        rates = 0.8 + rng.normal(0, 0.02, size=3)
        correct = rng.random((3, 500)) < rates[:, None]
        _, low, high = accuracy_interval(correct)
        hits += low <= 0.8 <= high
        plain += abs(correct.mean() - 0.8) <= 1.96 * correct.mean(axis=1).std() / np.sqrt(3)
    assert hits / 400 >= 0.93
    assert plain / 400 < 0.85  # what three seeds alone would give


def test_pairing_cancels_what_both_share():
    rng = _rng(4)
    hard = rng.random(1000) < 0.5
    a, b = np.tile(~hard, (3, 1)), np.tile(~hard, (3, 1))
    b[:, np.flatnonzero(~hard)[:20]] = False
    mean, low, high = paired_difference(a, b)
    assert mean == pytest.approx(0.02)
    assert 0 < low < mean < high < 0.04
    np.testing.assert_allclose(paired_difference(b, a), [-mean, -high, -low])


@given(
    data=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4),
    seed=st.integers(0, 100),
    shift=st.floats(-3, 3),
)
@settings(max_examples=30, deadline=None)
def test_properties(data, seed, shift):
    values = np.array(data)
    mean, low, high = accuracy_interval(values)
    assert 0 <= low <= mean <= high <= 1
    assert low < high
    np.testing.assert_allclose(accuracy_interval(~values), [1 - mean, 1 - high, 1 - low], atol=1e-12)
    shuffled = values[:, _rng(seed).permutation(6)]
    np.testing.assert_allclose(accuracy_interval(shuffled), (mean, low, high), atol=1e-12)
    mean, low, high = mean_interval(values)
    assert values.min() <= low <= mean <= high <= values.max()
    moved = mean_interval(values + shift)
    np.testing.assert_allclose(moved, (mean + shift, low + shift, high + shift), atol=1e-9)
    mean, low, high = mean_interval(values, limits=(0, 1))
    moved = mean_interval(values + shift, limits=(shift, 1 + shift))
    np.testing.assert_allclose(moved, (mean + shift, low + shift, high + shift), atol=1e-9)
    _, low, high = paired_difference(values, values)
    assert low == pytest.approx(-high)
    assert high > 0


def test_resampling_in_parts_equals_resampling_at_once(monkeypatch):
    values = _rng(5).random((2, 3, 50))
    whole = resampled_means(values, _rng(), 200)
    monkeypatch.setattr(intervals, "_MAX_CELLS", 700)
    np.testing.assert_allclose(resampled_means(values, _rng(), 200), whole, atol=1e-12)


def test_resampled_means_vary_as_the_mean_does():
    values = 0.3 * _rng(6).standard_normal((5, 1)) + _rng(7).standard_normal(200)
    resampled = resampled_means(values[None], _rng(), 4000)[:, 0]
    assert resampled.std() == pytest.approx(np.sqrt(variance_of_mean(values)[0]), rel=0.1)


def test_quick_at_full_size():
    correct = _rng(6).random((3, 10_000)) < 0.9
    start = time.perf_counter()
    accuracy_interval(correct)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("shape", [(3,), (0, 5), (3, 1)])
@pytest.mark.parametrize("of", [accuracy_interval, mean_interval, lambda x: mean_interval(x, limits=(0, 1))])
def test_shapes_are_checked(shape, of):
    with pytest.raises(ValueError, match="must be of shape"):
        of(np.zeros(shape))


def test_paired_shapes_are_checked():
    with pytest.raises(ValueError, match="same shape"):
        paired_difference(np.zeros((3, 4)), np.zeros((3, 5)))


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


def test_a_constant_answer_is_nearly_sure_of_its_mean_over_classes():
    """90 and 10 images weigh as much as 36 in classes of equal size."""
    labels = np.repeat([0, 1], [90, 10])
    values = np.where(labels == 0, 100 / 180, 0)[None].repeat(3, axis=0)
    _, low, high = mean_interval(values, limits=(0, 1), groups=labels)
    assert 0.5 - low == pytest.approx(1.96 * np.sqrt(0.5) / 38, rel=0.03)
    assert high - 0.5 == pytest.approx(0.5 - low)


def test_one_group_agrees_with_no_groups():
    values = _rng(2).integers(0, 2, size=(3, 50)).astype(float)
    found = mean_interval(values, limits=(0, 1), groups=np.zeros(50))
    np.testing.assert_allclose(found, mean_interval(values, limits=(0, 1)), atol=0.002)


@pytest.mark.parametrize(
    ("right", "images", "expected"),
    [(0, 10, 0.09352195), (10, 10, 0.09352195), (7, 12, 0.12401959), (45, 46, 0.03358571)],
)
def test_the_standard_error_is_that_of_agresti_and_coull(right, images, expected):
    """By hand, with two more images of each kind: 2 (or 12) right of 14, 9 of 16, and 47 of 50."""
    assert standard_error(right / images, images) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
def test_with_many_images_the_standard_error_is_the_plain_one(share):
    assert standard_error(share, 10_000) == pytest.approx(np.sqrt(share * (1 - share) / 10_000), rel=2e-3)
