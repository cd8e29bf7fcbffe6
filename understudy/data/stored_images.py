"""Encoded images of a set, which are read one at a time from wherever they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, Self, final

import numpy as np

from understudy.data.spool import Spool


class Store(Protocol):
    """Where encoded images are: in memory, in a spool or in files."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all its images."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> bytes: ...


@final
class StoredImages:
    """N encoded images: rows of one store or several.

    A selection holds the numbers of its rows and shares the stores. Neighbouring rows are read fastest.

    Args:
        stores: where the images are.
        rows: which of them, in order, numbered through all stores, int64 (N,); all if not given.
    """

    def __init__(self, stores: Sequence[Store], rows: np.ndarray | None = None) -> None:
        self._stores = tuple(stores)
        self._starts = np.cumsum([0, *map(len, self._stores)])
        self._rows = np.arange(self._starts[-1]) if rows is None else np.asarray(rows, dtype=np.int64)

    @classmethod
    def of(cls, images: Iterable[bytes]) -> Self:
        """Images from their bytes; one is in memory at a time if there are many."""
        spool = Spool()
        for data in images:
            spool.append(data)
        return cls([spool])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The images of several sets, one after the other."""
        starts = np.cumsum([0, *(part._starts[-1] for part in parts)])
        return cls(
            [store for part in parts for store in part._stores],
            np.concatenate([start + part._rows for part, start in zip(parts, starts, strict=False)]),
        )

    def select(self, indices: np.ndarray) -> Self:
        """The images at ``indices``, int64, in that order."""
        return type(self)(self._stores, self._rows[indices])

    @property
    def num_bytes(self) -> int:
        """Bytes of all images, as if all images of a store were equally large."""
        chosen = np.bincount(self._store_of(self._rows), minlength=len(self._stores))
        mean = [store.num_bytes / max(1, len(store)) for store in self._stores]
        return round(float(chosen @ np.array(mean)))

    def _store_of(self, rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._starts, rows, side="right") - 1

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> bytes:
        row = self._rows[index]
        number = int(self._store_of(row))
        return self._stores[number][int(row - self._starts[number])]

    def __iter__(self) -> Iterator[bytes]:
        return (self[index] for index in range(len(self)))

    def embedded(self) -> tuple[Any, ...]:
        """How to pickle the images with their bytes, for a machine that does not see their files."""
        return type(self).of, (list(self),)

    def __reduce__(self) -> tuple[Any, ...]:
        """Images in files as names of files; others with their bytes."""
        if any(isinstance(store, Spool) for store in self._stores):
            return self.embedded()
        return type(self), (self._stores, self._rows)
