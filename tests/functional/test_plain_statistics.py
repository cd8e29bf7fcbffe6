"""Plain statistics against their definitions on single images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import skew

from understudy.functional.plain_statistics import STATISTICS, plain_statistics

IMAGES = arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(3), *[st.just(6)] * 2))


def _named(pixels):
    return [dict(zip(STATISTICS, row.tolist(), strict=True)) for row in plain_statistics(pixels)]


@given(IMAGES)
def test_definitions(pixels):
    for image, found in zip(pixels.astype(float), _named(pixels), strict=True):
        y = image.mean(axis=0)
        red = image[0].ravel()
        assert found["mean of red"] == pytest.approx(red.mean())
        assert found["deviation of red"] == pytest.approx(red.std())
        assert found["mean of channel spread"] == pytest.approx(
            (image.max(axis=0) - image.min(axis=0)).mean()
        )
        steps = [abs(y[i, j + 1] - y[i, j]) for i in range(5) for j in range(5)]
        assert found["mean of |dx|"] == pytest.approx(np.mean(steps))
        flat = [
            np.hypot(y[i, j + 1] - y[i, j], y[i + 1, j] - y[i, j]) < 4 for i in range(5) for j in range(5)
        ]
        assert found["share of flat pixels"] == pytest.approx(np.mean(flat))
        if y.std() > 1e-6:
            assert found["skewness of brightness"] == pytest.approx(skew(y.ravel()), abs=1e-6)
        border = [y[i, j] for i in range(6) for j in range(6) if min(i, j, 5 - i, 5 - j) < 1]
        centre = y[1:5, 1:5].mean()
        assert found["centre minus border"] == pytest.approx(centre - np.mean(border), abs=1e-9)


@given(IMAGES)
def test_they_are_finite_and_an_image_alone_decides_them(pixels):
    found = plain_statistics(pixels)
    assert found.shape == (len(pixels), len(STATISTICS))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(plain_statistics(pixels[:1]), found[:1])


def test_an_image_turned_by_90_degrees_swaps_the_gradients():
    ramp = np.tile(np.arange(0, 80, 10, dtype=np.uint8), (1, 3, 8, 1))
    (across,), (down,) = _named(ramp), _named(ramp.swapaxes(2, 3))
    assert (across["mean of |dx|"], across["mean of |dy|"]) == (10, 0)
    assert (down["mean of |dx|"], down["mean of |dy|"]) == (0, 10)
    assert across["correlation with the right neighbour"] < down["correlation with the right neighbour"]


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 1, 8, 8), (2, 3, 3, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="pixels must be"):
        plain_statistics(np.zeros(shape, dtype=np.uint8))
