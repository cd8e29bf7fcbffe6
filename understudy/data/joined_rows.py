"""Rows of several parts that are numbered through, and selections of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, final

import numpy as np


@final
class JoinedRows:
    """N rows of parts that lie one after the other.

    Args:
        lengths: rows of each part.
        numbers: which of them, in order, numbered through all parts, int64 (N,); all if not given.
    """

    def __init__(self, lengths: Sequence[int], numbers: np.ndarray | None = None) -> None:
        self._lengths = tuple(lengths)
        self._starts = np.cumsum([0, *self._lengths])
        self._numbers = np.arange(self._starts[-1]) if numbers is None else np.asarray(numbers, np.int64)

    @classmethod
    def joined(cls, rows: Sequence[Self]) -> Self:
        """The rows of several sets, whose parts lie one after the other."""
        starts = np.cumsum([0, *(one._starts[-1] for one in rows)])
        numbers = [start + one._numbers for start, one in zip(starts, rows, strict=False)]
        return cls([length for one in rows for length in one._lengths], np.concatenate(numbers))

    def select(self, indices: np.ndarray) -> Self:
        """The rows at ``indices``, int64, in that order."""
        return type(self)(self._lengths, self._numbers[indices])

    def places(self, indices: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """The part of each of these rows, and its number in that part, int64 each."""
        numbers = self._numbers[indices]
        parts = np.searchsorted(self._starts, numbers, side="right") - 1
        return parts, numbers - self._starts[parts]

    def __len__(self) -> int:
        return len(self._numbers)
