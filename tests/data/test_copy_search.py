"""An index finds the copies that comparing all drawn images with all train images finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import zoom

from understudy.data import copy_search, row_index
from understudy.data.copy_search import CopySearch
from understudy.data.row_index import largest, uses_index
from understudy.functional.copies import nearest_copies
from understudy.functional.copy_candidates import Query, compare_all


def smooth(count, seed=0):
    """Random grey pictures of low frequencies, levels 0 to 1."""
    pictures = np.random.default_rng(seed).random((count, 8, 8), dtype=np.float32)
    return zoom(pictures, (1, 4, 4), order=1)


@pytest.fixture
def always(monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(row_index, "MOST_COMPARED", 0)
    monkeypatch.setattr(copy_search, "_FEWEST", 0)


@pytest.fixture
def everywhere(always, monkeypatch):
    monkeypatch.setattr(copy_search, "_SEARCHED", 10_000)


@pytest.mark.parametrize("skip_own", [False, True])
def test_with_all_groups_the_index_finds_the_nearest_images(skip_own, everywhere):
    x = smooth(80)
    y = x if skip_own else smooth(60, seed=1)
    expected = nearest_copies(x, y, skip_own=skip_own)
    found = nearest_copies(x, y, skip_own=skip_own, search=CopySearch())
    assert (found[0] == expected[0]).mean() >= 0.95  # of the last of 16 candidates, the shift may decide
    assert (found[1] <= expected[1] + 0.05).all()


def test_candidates_are_those_of_comparing_all(everywhere):
    x, y = smooth(20), smooth(60, seed=1)
    query = Query(x=x, y=y, clipped=(0, 0), own=None, count=5, reach=4)
    assert np.array_equal(np.sort(CopySearch()(query)), np.sort(compare_all(query)))


def test_moved_mirrored_paler_and_clipped_copies_are_found(always):
    real, rng = smooth(3000), np.random.default_rng(2)
    rows = rng.permutation(3000)[:100]
    moves = rng.integers(-4, 5, (100, 2))
    drawn = np.stack([np.roll(real[i], move, axis=(0, 1)) for i, move in zip(rows, moves, strict=True)])
    drawn[::2] = drawn[::2, :, ::-1]
    drawn[1::4] = drawn[1::4] * 0.6 + 0.2
    drawn[2::4] = np.clip(drawn[2::4] * 1.5 - 0.1, 0, 1)
    index, distances = nearest_copies(drawn, real, search=CopySearch())
    assert np.array_equal(index, rows)
    assert distances.max() < 0.1


def test_an_image_does_not_find_itself_and_one_other_is_enough(always):
    x = smooth(2)
    index, _ = nearest_copies(x, x, skip_own=True, search=CopySearch())
    assert index.tolist() == [1, 0]
    index, _ = nearest_copies(x, x[:1], search=CopySearch())
    assert index.tolist() == [0, 0]


def test_flat_images_resemble_nothing(always):
    flat = np.full((3, 32, 32), 0.5, dtype=np.float32)
    _, distances = nearest_copies(flat, smooth(50), search=CopySearch())
    np.testing.assert_allclose(distances, np.sqrt(2))
    _, distances = nearest_copies(smooth(50), flat, search=CopySearch())
    np.testing.assert_allclose(distances, np.sqrt(2))


def test_few_pairs_and_machines_without_faiss_compare_all(monkeypatch):
    monkeypatch.setattr(copy_search, "RowIndex", None)  # would fail
    x, y = smooth(20), smooth(30, seed=1)
    expected = nearest_copies(x, y)
    np.testing.assert_array_equal(nearest_copies(x, y, search=CopySearch()), expected)
    monkeypatch.setattr(row_index, "MOST_COMPARED", 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    np.testing.assert_array_equal(nearest_copies(x, y, search=CopySearch()), expected)


@pytest.mark.parametrize(
    ("drawn", "train", "used"), [(1_999, 250_000, False), (2_000, 250_000, True), (2_000, 200_000, False)]
)
def test_an_index_is_built_for_many_pairs_of_many_drawn_images(drawn, train, used, monkeypatch):
    pytest.importorskip("faiss")
    for way in ("compare_all", "through_index"):
        monkeypatch.setattr(copy_search, way, lambda query: np.zeros((len(query.x), query.count), np.int64))
    x, y = (np.empty((count, 0, 0), np.float32) for count in (drawn, train))
    search = CopySearch()
    search(Query(x=x, y=y, clipped=(0, 0), own=None, count=1, reach=4))
    assert search.used_index == used


def test_mirror_symmetric_images_find_as_many_others(everywhere):
    x, y = smooth(20), smooth(60, seed=1)
    y += y[:, :, ::-1].copy()  # both versions of an image are found together
    query = Query(x=x, y=y / 2, clipped=(0, 0), own=None, count=16, reach=4)
    found = np.sort(CopySearch()(query))
    assert (np.diff(found) > 0).all()
    assert (found == np.sort(compare_all(query))).mean() > 0.99


def test_the_number_of_pairs_decides():
    pytest.importorskip("faiss")
    assert not uses_index(20_000) and uses_index(20_001)
    assert not uses_index(1_000, 400_000) and uses_index(1_000, 400_001)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.booleans())
def test_largest_equals_its_definition(seed, count, skips):
    rng = np.random.default_rng(seed)
    values, numbers = rng.random((4, 9), dtype=np.float32), rng.integers(-1, 5, (4, 9))
    own = rng.integers(0, 5, 4) if skips else None
    most, found = largest(values, numbers, count, own=own, least=0.3)
    for row in range(4):
        of = {}
        for value, number in zip(values[row].tolist(), numbers[row].tolist(), strict=True):
            if value > np.float32(0.3) and number >= 0 and (own is None or number != own[row]):
                of[number] = max(value, of.get(number, 0))
        wanted = sorted(of.items(), key=lambda item: -item[1])[:count]
        places = range(len(wanted))
        assert [(found[row, place], most[row, place]) for place in places] == wanted
        assert (found[row, len(wanted) :] == -1).all()
