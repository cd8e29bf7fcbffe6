"""Low frequencies of turned images, and the most similar images, against direct computation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.functional import orientations
from understudy.functional.orientations import (
    ORIENTATIONS,
    low_frequencies,
    most_alike,
    oriented,
    turned,
    window,
)


def images(seed, num, size=16):
    return np.random.default_rng(seed).integers(0, 256, (num, size, size), dtype=np.uint8)


@pytest.mark.parametrize("g", ORIENTATIONS)
def test_frequencies_of_turned_images_follow_from_those_of_the_images(g):
    x = images(0, 5)
    np.testing.assert_allclose(turned(low_frequencies(x), g), low_frequencies(oriented(x, g)), atol=1e-5)


def test_orientations_are_those_of_a_square():
    x = images(1, 1)
    shown = {oriented(x, g).tobytes() for g in ORIENTATIONS}
    quarter = [np.rot90(x, k, axes=(1, 2)) for k in range(4)]
    assert shown == {np.ascontiguousarray(y[:, :, ::step]).tobytes() for y in quarter for step in (1, -1)}


def test_levels_and_corners_do_not_matter():
    x = images(2, 3).astype(np.float32)
    filled = x.copy()
    filled[:, 0, 0] = filled[:, -1, -1] = 255
    assert window(16)[0, 0] == 0
    np.testing.assert_allclose(low_frequencies(0.5 * x + 20), low_frequencies(x), atol=1e-5)
    np.testing.assert_allclose(low_frequencies(filled), low_frequencies(x), atol=1e-5)
    assert not low_frequencies(np.full((1, 16, 16), 7)).any(), "flat"


def test_the_centre_is_enlarged():
    x = np.kron(images(3, 2, 4), np.ones((1, 8, 8), dtype=np.uint8))
    smooth = (x.astype(float) + np.roll(x, 1, 1) + np.roll(x, 1, 2)) / 3
    near = np.einsum("nf,nf->n", low_frequencies(smooth, part=1 - 1e-9), low_frequencies(smooth))
    np.testing.assert_allclose(near, 1, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 4), st.booleans())
def test_the_most_similar_images_are_those_of_all_comparisons(seed, num, count, symmetric):
    rows = np.random.default_rng(seed).normal(size=(num, 29)).astype(np.float32)
    versions = [turned(rows, g) for g in (ORIENTATIONS if symmetric else (0, 1))]
    if not symmetric:
        versions = [rows[:, ::-1] * version for version in versions]
    products = np.max([rows @ version.T for version in versions], axis=0)
    np.fill_diagonal(products, -np.inf)
    both = products if symmetric else np.maximum(products, products.T)
    wanted = {
        (min(i, j), max(i, j))
        for i in range(num)
        for j in np.argsort(-both[i])[:1].tolist()
        if both[i, j] > 0
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orientations, "_BLOCK", (7, 11))
        found = most_alike(rows, versions, count=count, least=0, symmetric=symmetric)
    assert wanted <= set(map(tuple, found.tolist())), "the best partner of each image"
    assert (found[:, 0] < found[:, 1]).all() and len(found) <= num * count
    assert (both[found[:, 0], found[:, 1]] > 0).all()
