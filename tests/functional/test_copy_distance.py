"""Copies are at distance 0 whatever was done to them, and the threshold keeps its promise."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.fft import dctn
from scipy.ndimage import zoom
from scipy.stats import mannwhitneyu
from sklearn.datasets import load_digits

from understudy.functional.copies import (
    copy_distances,
    copy_threshold,
    nearest_copies,
    share_closer,
)
from understudy.functional.copy_candidates import _FREQUENCIES, _cosines


def pictures(num, *, seed=0, size=32):
    return np.random.default_rng(seed).random((num, size, size))


def digits(num):
    """Handwritten ones, 8 x 8, four times as large."""
    return zoom(load_digits().images[:num] / 16, (1, 4, 4), order=1, mode="nearest", grid_mode=True)


def lowest_of(coefficients):
    return [
        coefficients[0, 1],
        coefficients[1, 0],
        coefficients[1, 1],
        coefficients[0, 2],
        coefficients[2, 0],
    ]


def by_definition(x, y, reach):
    """Distance of two pictures, straight from its words."""
    size, least = len(y), 0.5 * cells(y).var()
    best = -1.0
    for moves, mirrored in itertools.product(
        itertools.product(range(-reach, reach + 1), repeat=2), (False, True)
    ):
        theirs = y[:, ::-1] if mirrored else y
        rows, columns = (
            (slice(max(move, 0), size + min(move, 0)), slice(max(-move, 0), size + min(-move, 0)))
            for move in moves
        )
        a, b = cells(x[rows[0], columns[0]]), cells(theirs[rows[1], columns[1]])
        best = max(best, np.corrcoef(a, b)[0, 1] if b.var() >= least else 0.0)
    return np.sqrt(2 - 2 * best)


def cells(picture):
    height, width = (length // 2 for length in picture.shape)
    return picture[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3)).ravel()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 3]))
def test_equals_the_definition(seed, reach):
    x, y = 0.1 + 0.8 * pictures(3, seed=seed, size=8), pictures(4, seed=seed + 1, size=8) ** 3
    wanted = np.array([[by_definition(one, other, reach) for other in y] for one in x])
    index, distance = nearest_copies(x, y, reach=reach)
    np.testing.assert_array_equal(index, wanted.argmin(axis=1))
    np.testing.assert_allclose(distance, wanted.min(axis=1), atol=1e-5)
    np.testing.assert_allclose(copy_distances(x, y[:3], reach=reach), np.diagonal(wanted), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(-4, 4),
    st.integers(-4, 4),
    st.booleans(),
    st.floats(0.1, 0.9),
    st.floats(0, 0.1),
)
def test_edited_copies_are_found(seed, down, right, mirrored, gain, offset):
    real = pictures(5, seed=seed)
    copy = np.roll(real[3], (down, right), axis=(0, 1)) * gain + offset
    index, distance = nearest_copies(copy[None, :, ::-1] if mirrored else copy[None], real)
    assert index == 3
    assert distance < 1e-4


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1.1, 2), st.floats(-0.5, 0.1), st.booleans())
def test_copies_clipped_at_black_and_white_are_found(seed, gain, offset, mirrored):
    real = pictures(5, seed=seed)
    copy = np.clip(np.roll(real[3], 3, axis=0) * gain + offset, 0, 1)
    index, distance = nearest_copies(copy[None, :, ::-1] if mirrored else copy[None], real)
    assert index == 3
    assert distance < 0.05
    np.testing.assert_allclose(
        copy_distances(copy[None, :, ::-1], real[3:4]), nearest_copies(copy[None], real)[1], atol=1e-3
    )


def test_an_image_is_at_distance_0_from_itself_and_others_are_not():
    real = pictures(6)
    index, distance = nearest_copies(real, real)
    np.testing.assert_array_equal(index, np.arange(6))
    np.testing.assert_array_equal(distance, 0)
    index, distance = nearest_copies(real, real, skip_own=True)
    assert (index != np.arange(6)).all()
    assert (distance > 1).all()


def test_blocks_make_no_difference(monkeypatch):
    x, y = pictures(7), pictures(5, seed=1)
    monkeypatch.setattr("understudy.functional.copies._CANDIDATES", 3)
    whole = nearest_copies(x, y), nearest_copies(x, x, skip_own=True)
    monkeypatch.setattr("understudy.functional.copy_candidates._BLOCK", (3, 2))
    for found, again in zip(whole, (nearest_copies(x, y), nearest_copies(x, x, skip_own=True)), strict=True):
        np.testing.assert_array_equal(found[0], again[0])
        np.testing.assert_allclose(found[1], again[1])


def test_a_copy_is_found_among_many():
    """More than are compared in full, mirrored and moved by every odd and even number of pixels; digits
    differ least from each other.
    """
    real = digits(400)
    moves = list(itertools.product(range(-4, 5), repeat=2))
    copies = np.stack(
        [np.roll(image, move, axis=(0, 1)) for image, move in zip(real[:81], moves, strict=True)]
    )
    copies[::2] = copies[::2, :, ::-1]
    index, distance = nearest_copies(copies * 0.6 + 0.2, real)
    np.testing.assert_array_equal(index, np.arange(81))
    np.testing.assert_allclose(distance, 0, atol=1e-3)


@pytest.mark.slow
def test_a_clipped_copy_is_found_among_thousands():
    """Smooth images are much alike; four pixels of five are lost beyond white or black."""
    real = zoom(
        np.random.default_rng(0).random((3000, 4, 4)), (1, 8, 8), order=1, mode="nearest", grid_mode=True
    )
    copies = np.concatenate([np.clip(3 * real[:30], 0, 1), np.clip(3 * real[:30] - 2, 0, 1)])
    assert (nearest_copies(copies, real)[0] == np.tile(np.arange(30), 2)).mean() >= 0.9


def test_a_copy_in_two_levels_is_found_whatever_their_shares():
    """Where all pixels are black or white, clipping by more than that would leave nothing."""
    real = digits(100) > np.linspace(0.05, 0.6, 100)[:, None, None]
    index, distance = nearest_copies(real[:, :, ::-1].astype(float), real.astype(float))
    np.testing.assert_array_equal(index, np.arange(100))
    np.testing.assert_allclose(distance, 0, atol=1e-6)


def test_the_search_agrees_with_comparing_all_pairs(monkeypatch):
    real, others = np.split(digits(215), [200])
    index, distance = nearest_copies(others, real)
    monkeypatch.setattr("understudy.functional.copies._CANDIDATES", 200)
    all_index, all_distance = nearest_copies(others, real)
    assert (index == all_index).mean() >= 0.98
    np.testing.assert_allclose(distance[index == all_index], all_distance[index == all_index], atol=1e-6)
    assert (distance >= all_distance - 1e-6).all()
    np.testing.assert_allclose(distance, all_distance, atol=0.02)


def smooth(num, *, seed=0, waves=8):
    """Random pictures without fine detail; the fewer waves, the more they are alike."""
    coarse = np.random.default_rng(seed).random((num, waves, waves))
    return zoom(coarse, (1, 32 // waves, 32 // waves), order=1, mode="nearest", grid_mode=True)


def compared_with_all(monkeypatch, x, y):
    with monkeypatch.context() as patch:
        patch.setattr("understudy.functional.copies._CANDIDATES", len(y))
        return nearest_copies(x, y)


@pytest.mark.parametrize("waves", [4, 8])
def test_the_search_misses_hardly_any_nearest_image_among_hundreds(waves, monkeypatch):
    x, y = smooth(20, seed=1, waves=waves), smooth(600, waves=waves)
    index, distance = nearest_copies(x, y)
    wanted, least = compared_with_all(monkeypatch, x, y)
    assert (index == wanted).mean() >= 0.95
    np.testing.assert_allclose(distance, least, atol=0.02)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["noise", "smooth", "very smooth"]))
def test_the_search_finds_the_nearest_copy_that_comparing_all_pairs_finds(seed, kind, monkeypatch):
    """Copies that are moved, mirrored, paler and noisy at once, of pictures that are more or less alike."""
    rng = np.random.default_rng(seed)
    real = (
        pictures(150, seed=seed)
        if kind == "noise"
        else smooth(150, seed=seed, waves=4 if "very" in kind else 8)
    )
    chosen = rng.integers(0, len(real), 4)
    copies = np.stack([np.roll(real[one], rng.integers(-4, 5, 2), axis=(0, 1)) for one in chosen])
    copies[::2] = copies[::2, :, ::-1]
    copies = np.clip(copies * rng.uniform(0.5, 0.7) + 0.2 + rng.normal(0, 0.02, copies.shape), 0, 1)
    index, distance = nearest_copies(copies, real)
    wanted, least = compared_with_all(monkeypatch, copies, real)
    np.testing.assert_array_equal(index, chosen)
    np.testing.assert_array_equal(index, wanted)
    np.testing.assert_allclose(distance, least, atol=1e-6)


def test_the_first_of_equal_images_is_nearest():
    real = pictures(30)
    assert nearest_copies(real[:1], np.concatenate([real, real]))[0] == 0


@pytest.mark.parametrize(("height", "width"), [(16, 16), (15, 14), (2, 1), (1, 1)])
def test_the_lowest_frequencies_are_orthonormal_and_ignore_the_mean(height, width):
    waves = _cosines(height, width)
    assert waves.shape == (height * width, min(_FREQUENCIES, height * width - 1))
    np.testing.assert_allclose(waves.T @ waves, np.eye(waves.shape[1]), atol=1e-5)
    np.testing.assert_allclose(waves.sum(axis=0), 0, atol=1e-5)
    if min(height, width) > 2:
        picture = np.random.default_rng(0).random((height, width))
        np.testing.assert_allclose(
            np.sort(waves[:, :5].T @ picture.ravel()),
            np.sort(lowest_of(dctn(picture, norm="ortho"))),
            atol=1e-6,
        )


def test_a_shift_beyond_the_reach_is_another_image():
    real = pictures(1)
    assert copy_distances(np.roll(real, 8, axis=1), real) > 1


def test_flat_images_are_no_copies():
    flat, faint = np.full((1, 32, 32), 0.3), 0.3 + 1e-4 * pictures(1)
    for image in (flat, faint):
        for other in (flat, faint, pictures(1)):
            assert copy_distances(image, other) == copy_distances(other, image) == pytest.approx(np.sqrt(2))
    assert nearest_copies(flat, pictures(3))[1] == pytest.approx(np.sqrt(2))


def test_empty_corners_are_no_copies_of_each_other():
    """Two different things at the edge: without it both images are the same faint ramp."""
    ramp = np.tile(np.linspace(0, 0.1, 32), (32, 1))
    x, y = ramp.copy(), ramp.copy()
    x[:3, :20], y[:3, 12:] = pictures(1)[0, :3, :20], pictures(1, seed=1)[0, :3, 12:]
    assert copy_distances(x[None], y[None]) > 0.5


def test_a_copy_with_a_black_border_is_found():
    real = pictures(1) * 0.2 + 0.8
    moved = np.zeros_like(real)
    moved[:, 4:, :-4] = real[:, :-4, 4:]
    assert copy_distances(moved, real) < 1e-4


def test_shapes_are_checked():
    with pytest.raises(
        ValueError, match=r"square thumbnails of equal, even width, got \(1, 7, 7\) and \(1, 7, 7\)"
    ):
        nearest_copies(np.zeros((1, 7, 7)), np.zeros((1, 7, 7)))
    with pytest.raises(ValueError, match="y must have at least 2 images to compare with, got 1"):
        nearest_copies(pictures(1), pictures(1), skip_own=True)
    with pytest.raises(ValueError, match="same length, got 1 and 2"):
        copy_distances(pictures(1), pictures(2))
    with pytest.raises(ValueError, match="got only one kind"):
        share_closer(np.empty(0), np.ones(1), np.random.default_rng(0), num_resamples=2)


@pytest.mark.parametrize(("num", "k"), [(99, 1), (198, 1), (199, 2), (1000, 10)])
def test_the_threshold_is_the_kth_smallest(num, k):
    values = np.random.default_rng(0).permutation(num) + 1.0
    assert copy_threshold(values, rate=0.01) == k


def test_the_threshold_keeps_the_rate_also_with_ties():
    rng = np.random.default_rng(0)
    for draw in (rng.normal, lambda size: rng.integers(0, 4, size)):
        alarms = [
            (values[-1] < copy_threshold(values[:-1], rate=0.1))
            for values in (draw(size=20) for _ in range(4000))
        ]
        assert np.mean(alarms) <= 0.1 + 0.015
    assert copy_threshold(np.zeros(98), rate=0.01) is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30))
def test_the_share_is_mann_whitneys_u(seed, num, other):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 9, num), rng.integers(0, 9, other)
    share, low, high = share_closer(a, b, rng, num_resamples=20)
    assert share == pytest.approx(mannwhitneyu(b, a).statistic / (num * other))
    assert 0 <= low <= share <= high <= 1


def test_the_interval_covers_the_true_share():
    rng = np.random.default_rng(1)
    held = []
    for _ in range(200):
        _, low, high = share_closer(rng.normal(size=40), rng.normal(size=40), rng, num_resamples=100)
        held.append(low <= 0.5 <= high)
    assert np.mean(held) > 0.9
