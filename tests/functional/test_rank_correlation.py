"""The interval of a rank correlation: its published form, and its coverage over few objects."""

import math

import numpy as np
import pytest

from understudy.functional.rank_correlation import rank_correlation_interval


def test_agrees_with_the_formula():
    half = 1.959964 * math.sqrt((1 + 0.6**2 / 2) / 17)
    expected = [math.tanh(math.atanh(0.6) - half), math.tanh(math.atanh(0.6) + half)]
    assert rank_correlation_interval(0.6, 20)[1:] == pytest.approx(expected)


@pytest.mark.parametrize("correlation", [-1.0, -0.3, 0.0, 0.9, 1.0])
def test_is_symmetric_within_its_range_and_never_certain(correlation):
    mean, low, high = rank_correlation_interval(correlation, 12)
    assert (mean, -1 <= low <= mean <= high <= 1, high - low > 0.005) == (correlation, True, True)
    assert rank_correlation_interval(-correlation, 12) == pytest.approx((-mean, -high, -low))


def test_more_objects_narrow_it():
    widths = [high - low for _, low, high in (rank_correlation_interval(0.8, n) for n in (6, 12, 50))]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("num", [8, 12, 20])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.83, 0.95])
def test_covers_the_correlation_of_all_objects(num, rho):
    """Ranks of two normal figures, of which rho is Spearman's correlation, measured in three repetitions on
    the same objects. 1000 experiments: standard error 0.7 points.
    """
    rng = np.random.default_rng(num)
    pearson = 2 * math.sin(math.pi * rho / 6)
    noise = 0.05  # of a repetition: figures are means over hundreds of images
    truth = 6 / math.pi * math.asin(pearson / (1 + noise**2) / 2)
    x, rest = rng.standard_normal((2, 1000, 1, num))
    both = np.stack([x, pearson * x + math.sqrt(1 - pearson**2) * rest])
    ranks = (both + noise * rng.standard_normal((2, 1000, 3, num))).argsort(axis=-1).argsort(axis=-1)
    squares = np.square(ranks[0] - ranks[1]).sum(axis=-1)
    found = (1 - 6 * squares / (num * (num**2 - 1))).mean(axis=-1)  # Spearman's formula without ties
    ends = [rank_correlation_interval(float(one), num)[1:] for one in found]
    assert np.mean([low <= truth <= high for low, high in ends]) >= 0.93


@pytest.mark.parametrize(("correlation", "num"), [(1.1, 12), (0.5, 3)])
def test_ranges_are_checked(correlation, num):
    with pytest.raises(ValueError, match="correlation must be in"):
        rank_correlation_interval(correlation, num)
