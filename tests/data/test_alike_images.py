"""An index finds the pairs of images that comparing all with all finds."""

import numpy as np
import pytest

from understudy.data import alike_images, row_index
from understudy.data.alike_images import alike_pairs
from understudy.data.row_index import uses_index
from understudy.functional.orientations import ORIENTATIONS, low_frequencies, most_alike, oriented, turned


def smooth(count, seed=0):
    """Random grey pictures of low frequencies."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 256, (count, 8, 8)), np.ones((4, 4))).astype(np.uint8)


def versions_of(pictures, *, symmetric):
    if symmetric:
        rows = low_frequencies(pictures)
        return rows, [turned(rows, g) for g in ORIENTATIONS]
    centre = low_frequencies(pictures, part=0.85)
    return low_frequencies(pictures), [turned(centre, g) for g in (0, 1)]


@pytest.fixture
def always(monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(row_index, "MOST_COMPARED", 0)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_with_all_groups_the_index_finds_the_same_pairs(symmetric, count, always, monkeypatch):
    """Comparing all, two places of an image may go to one partner, once with each of both cropped."""
    monkeypatch.setattr(alike_images, "_SEARCHED", 10_000)
    x, versions = versions_of(smooth(300), symmetric=symmetric)
    options = {"count": count, "least": 0.6, "symmetric": symmetric}
    expected = most_alike(x, versions, **options)
    assert len(expected) > 100
    found = alike_pairs(x, versions, **options)
    if symmetric or count == 1:
        assert np.array_equal(found, expected)
    else:
        assert set(map(tuple, expected.tolist())) < set(map(tuple, found.tolist()))


def test_copies_in_any_orientation_are_among_the_pairs(always):
    pictures, rng = smooth(2000), np.random.default_rng(1)
    turns = rng.integers(0, 8, 100)
    copies = np.concatenate([oriented(pictures[[i]], int(g)) for i, g in enumerate(turns)])
    x, versions = versions_of(np.concatenate([pictures, copies]), symmetric=True)
    found = {tuple(pair) for pair in alike_pairs(x, versions, count=2, least=0.75, symmetric=True).tolist()}
    assert {(i, 2000 + i) for i in range(100)} <= found


def test_most_pairs_of_a_larger_set_are_found(always):
    x, versions = versions_of(smooth(4000), symmetric=True)
    options = {"count": 2, "least": 0.75, "symmetric": True}
    expected = {tuple(pair) for pair in most_alike(x, versions, **options).tolist()}
    found = {tuple(pair) for pair in alike_pairs(x, versions, **options).tolist()}
    assert len(expected & found) > 0.97 * len(expected)


def test_flat_images_have_no_pairs_and_no_image_is_its_own_partner(always):
    pictures = np.concatenate([np.full((5, 32, 32), 7, np.uint8), smooth(50), smooth(50)])
    x, versions = versions_of(pictures, symmetric=True)
    pairs = alike_pairs(x, versions, count=2, least=0.75, symmetric=True)
    assert (pairs[:, 0] < pairs[:, 1]).all() and pairs.min() >= 5
    assert {(5 + i, 55 + i) for i in range(50)} <= {tuple(pair) for pair in pairs.tolist()}


def test_small_sets_and_machines_without_faiss_compare_all(monkeypatch):
    monkeypatch.setattr(alike_images, "RowIndex", None)  # would fail
    x, versions = versions_of(smooth(60), symmetric=True)
    options = {"count": 2, "least": 0.6, "symmetric": True}
    assert np.array_equal(alike_pairs(x, versions, **options), most_alike(x, versions, **options))
    monkeypatch.setattr(row_index, "MOST_COMPARED", 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not uses_index(60)
    assert np.array_equal(alike_pairs(x, versions, **options), most_alike(x, versions, **options))
