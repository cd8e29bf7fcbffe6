"""Otsu's share of variance against a brute-force search over thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from understudy.functional.otsu import two_level_share


def _brute_force(levels):
    best = 0.0
    for threshold in range(255):
        low, high = levels[levels <= threshold], levels[levels > threshold]
        if len(low) and len(high):
            share = len(low) * len(high) / len(levels) ** 2
            best = max(best, share * (high.mean() - low.mean()) ** 2)
    return best / levels.var()


@given(arrays(np.int64, st.integers(2, 40), elements=st.integers(0, 255)))
def test_brute_force(levels):
    if levels.var() == 0:
        assert two_level_share(levels) == 0
    else:
        assert two_level_share(levels) == pytest.approx(_brute_force(levels))


@given(arrays(np.int64, 20, elements=st.integers(0, 200)), st.integers(0, 55))
def test_brightness_and_negatives_do_not_matter(levels, shift):
    assert two_level_share(levels + shift) == pytest.approx(two_level_share(levels))
    assert two_level_share(255 - levels) == pytest.approx(two_level_share(levels))


@pytest.mark.parametrize("levels", [np.array([], dtype=int), np.array([-1, 3]), np.array([256])])
def test_levels_outside_the_range_are_refused(levels):
    with pytest.raises(ValueError, match=r"levels must be in \[0, 255\]"):
        two_level_share(levels)
