"""Images that were moved, turned and scaled by a known map are aligned, and others are not."""

import numpy as np
import pytest
from scipy.ndimage import affine_transform, gaussian_filter

from understudy.functional.alignment import agreement, align, scaling
from understudy.functional.orientations import window

SIDE = 32


def smooth(seed):
    levels = gaussian_filter(np.random.default_rng(seed).normal(size=(64, 64)), 3)
    return (128 + 500 * levels).astype(np.float32)


def pair(seed, degrees, scale, shift):
    """A part of a larger image, and the same part moved."""
    whole, angle = smooth(seed), np.radians(degrees)
    matrix = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = np.array([31.5, 31.5])
    offset = centre - matrix @ (centre - np.array(shift))
    moved = affine_transform(whole, matrix, offset=offset, order=1)
    return whole[None, 16:48, 16:48], moved[None, 16:48, 16:48].astype(np.float32)


@pytest.mark.parametrize(
    ("degrees", "scale", "shift"),
    [(0, 1, (0, 0)), (5, 1, (0, 0)), (-8, 1.05, (1, 0)), (0, 0.9, (1, -1)), (3, 1, (-2, 1))],
)
def test_moved_images_are_aligned(degrees, scale, shift):
    for seed in range(3):
        x, y = pair(seed, degrees, scale, shift)
        y = 0.6 * y + 30
        rho, a = align(x, y, window(SIDE), scaling(1, 1.0), steps=8)
        assert rho[0] > 0.99
        np.testing.assert_allclose(agreement(x, y, window(SIDE), a), rho, atol=1e-5)


def test_other_images_are_not():
    for seed in range(5):
        rho, _ = align(
            smooth(seed)[None, :32, :32], smooth(9)[None, :32, :32], window(SIDE), scaling(1, 1.0), steps=8
        )
        assert rho[0] < 0.95


def test_flat_images_and_maps_out_of_bounds_agree_with_nothing():
    x, flat = pair(0, 0, 1, (0, 0))[0], np.full((1, SIDE, SIDE), 9, dtype=np.float32)
    for a, b in ((x, flat), (flat, x), (flat, flat)):
        assert align(a, b, window(SIDE), scaling(1, 1.0), steps=2)[0] == -1
    assert align(x, x, window(SIDE), scaling(1, 3.0), steps=0)[0] == -1
    assert align(x[:0], x[:0], window(SIDE), scaling(0, 1.0), steps=1)[0].shape == (0,)
