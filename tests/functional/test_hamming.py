"""Pairs of codes are those of a comparison of every code with every other."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from understudy.functional import hamming
from understudy.functional.hamming import close_codes

CODES = st.integers(0, 2**64 - 1)


def by_definition(x: np.ndarray, y: np.ndarray, distance: int) -> list[tuple[int, int, int]]:
    bits = [[(int(one) ^ int(other)).bit_count() for other in y] for one in x]
    return [(i, j, own) for i, row in enumerate(bits) for j, own in enumerate(row) if own <= distance]


def found(x: np.ndarray, y: np.ndarray, distance: int) -> list[tuple[int, int, int]]:
    parts = [np.stack(part).astype(np.int64).T for part in close_codes(x, y, max_distance=distance)]
    return sorted(map(tuple, np.concatenate([np.empty((0, 3), dtype=np.int64), *parts]).tolist()))


def related(seed: int, num: int, most: int) -> np.ndarray:
    """A few random codes, repeated, each time with up to ``most`` bits turned over."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**64, size=max(1, num // 4), dtype=np.uint64)[
        rng.integers(0, max(1, num // 4), num)
    ]
    for row in range(num):
        for bit in rng.integers(0, 64, size=rng.integers(0, most + 1)):
            codes[row] ^= np.uint64(1) << np.uint64(bit)
    return codes


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(0, 60), st.integers(0, 8))
@example(seed=0, num_x=60, num_y=60, distance=2)
def test_pairs_are_those_of_all_comparisons(seed: int, num_x: int, num_y: int, distance: int) -> None:
    codes = related(seed, num_x + num_y, most=distance + 2)
    x, y = codes[:num_x], codes[num_x:]
    wanted = by_definition(x, y, distance)
    assert found(x, y, distance) == wanted


@pytest.mark.parametrize("worth", [0, 10**9])
@pytest.mark.parametrize("at_once", [1, 7, 10**6])
@pytest.mark.parametrize("distance", range(9))
def test_bands_blocks_and_their_sizes_do_not_change_the_pairs(
    monkeypatch: pytest.MonkeyPatch, worth: int, at_once: int, distance: int
) -> None:
    codes = related(distance, 50, most=distance + 2)
    monkeypatch.setattr(hamming, "_WORTH_OF_BANDS", worth)
    monkeypatch.setattr(hamming, "_PAIRS_AT_ONCE", at_once)
    assert found(codes[:25], codes[25:], distance) == by_definition(codes[:25], codes[25:], distance)


@settings(max_examples=20, deadline=None)
@given(st.lists(CODES, max_size=3), st.integers(1, 40), st.integers(0, 64))
def test_equal_codes_are_all_paired(codes: list[int], times: int, distance: int) -> None:
    x = np.repeat(np.array(codes, dtype=np.uint64), times)
    assert found(x, x, distance) == by_definition(x, x, distance)
