"""Otsu's share of variance against a brute-force search over thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from understudy.functional.otsu import best_threshold


def _brute_force(levels):
    best = (0.0, 0)
    for threshold in range(255):
        low, high = levels[levels <= threshold], levels[levels > threshold]
        if len(low) and len(high):
            share = len(low) * len(high) / len(levels) ** 2
            best = max(best, (share * (high.mean() - low.mean()) ** 2, threshold))
    return best[0] / levels.var()


@given(arrays(np.int64, st.integers(2, 40), elements=st.integers(0, 255)))
def test_brute_force(levels):
    if levels.var() == 0:
        assert best_threshold(levels) == (levels[0], 0)
    else:
        assert best_threshold(levels)[1] == pytest.approx(_brute_force(levels))


@given(arrays(np.int64, 20, elements=st.integers(0, 200)), st.integers(0, 55))
def test_brightness_and_negatives_do_not_matter(levels, shift):
    threshold, share = best_threshold(levels)
    assert best_threshold(levels + shift) == (threshold + shift, pytest.approx(share))
    assert best_threshold(255 - levels)[1] == pytest.approx(share)


@pytest.mark.parametrize("levels", [np.array([], dtype=int), np.array([-1, 3]), np.array([256])])
def test_levels_outside_the_range_are_refused(levels):
    with pytest.raises(ValueError, match=r"levels must be in \[0, 255\]"):
        best_threshold(levels)
