"""Encoded images of a set, which are read one at a time from wherever they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, Self, final

import numpy as np

from understudy.data.joined_rows import JoinedRows
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
        rows: which of them; all if not given.
    """

    def __init__(self, stores: Sequence[Store], rows: JoinedRows | None = None) -> None:
        self._stores = tuple(stores)
        self._rows = JoinedRows([len(store) for store in self._stores]) if rows is None else rows

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
        stores = [store for part in parts for store in part._stores]
        return cls(stores, JoinedRows.joined([part._rows for part in parts]))

    def select(self, indices: np.ndarray) -> Self:
        """The images at ``indices``, int64, in that order."""
        return type(self)(self._stores, self._rows.select(indices))

    @property
    def num_bytes(self) -> int:
        """Bytes of all images, as if all images of a store were equally large."""
        chosen = np.bincount(self._rows.places(slice(None))[0], minlength=len(self._stores))
        mean = [store.num_bytes / max(1, len(store)) for store in self._stores]
        return round(float(chosen @ np.array(mean)))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> bytes:
        (store,), (number,) = self._rows.places(np.array([index]))
        data: bytes = self._stores[store][int(number)]
        return data

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
