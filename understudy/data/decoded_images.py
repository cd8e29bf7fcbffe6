"""Decoded images of one size, read by number: in memory while there is room, otherwise in a file."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Self, final
from weakref import WeakKeyDictionary

import numpy as np

from understudy.core.host_memory import image_memory
from understudy.data.joined_rows import JoinedRows
from understudy.data.labelled_set import LabelledSet
from understudy.data.spool import Spool

_AT_ONCE = 256


@final
class DecodedImages:
    """N images, uint8 (N, 3, size, size).

    Args:
        parts: arrays in memory, uint8 (n, 3, size, size), and spools of the bytes of such images.
        size: width and height in pixels.
        rows: which of them; all if not given.
    """

    def __init__(
        self, parts: Sequence[np.ndarray | Spool], size: int, rows: JoinedRows | None = None
    ) -> None:
        self.size = size
        self._parts = tuple(parts)
        self._rows = JoinedRows([len(part) for part in self._parts]) if rows is None else rows

    @classmethod
    def joined(cls, sets: Sequence[Self]) -> Self:
        """The images of several sets of one size, one after the other."""
        parts = [part for one in sets for part in one._parts]
        return cls(parts, sets[0].size, JoinedRows.joined([one._rows for one in sets]))

    def select(self, numbers: np.ndarray) -> Self:
        """The images with these numbers, int64, in that order; they share memory and files."""
        return type(self)(self._parts, self.size, self._rows.select(numbers))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def num_bytes(self) -> int:
        """Memory that all of them would fill."""
        return 3 * self.size**2 * len(self)

    @property
    def in_memory(self) -> int:
        """Bytes of memory that the parts fill."""
        return sum(part.nbytes for part in self._parts if not isinstance(part, Spool))

    def __getitem__(self, numbers: np.ndarray | slice) -> np.ndarray:
        """Some images, uint8 (n, 3, size, size); a copy."""
        part_of, row_of = self._rows.places(numbers)
        found = np.empty((len(row_of), 3, self.size, self.size), dtype=np.uint8)
        for number in np.unique(part_of).tolist():
            chosen, part = np.flatnonzero(part_of == number), self._parts[number]
            of_part = row_of[chosen]
            if isinstance(part, Spool):
                for place, row in zip(chosen.tolist(), of_part.tolist(), strict=True):
                    found[place] = np.frombuffer(part[row], dtype=np.uint8).reshape(found.shape[1:])
            else:
                found[chosen] = part[of_part]
        return found


# Sets never change, so each is decoded only once per size while it is in use.
_LOCK = Lock()
_KEPT: WeakKeyDictionary[LabelledSet, dict[int, DecodedImages]] = WeakKeyDictionary()


def decoded(data: LabelledSet, size: int) -> DecodedImages:
    """All images of a set at one size, as :meth:`LabelledSet.pixels` decodes them; kept while the set lives.

    Args:
        data: N images.
        size: width and height in pixels.

    Returns:
        Images in memory if it has room for them beside those that are kept already, otherwise in a file for
        temporary data.
    """
    with _LOCK:  # two threads must not fill the same room
        kept = _KEPT.setdefault(data, {})
        if size not in kept:
            need = 3 * size**2 * len(data)
            kept[size] = DecodedImages([data.pixels(size) if need <= _room() else _in_file(data, size)], size)
        return kept[size]


def _room() -> int:
    memory = image_memory()
    if memory.gigabytes is None:  # what is kept is no longer free
        return memory.num_bytes
    return memory.num_bytes - sum(one.in_memory for sizes in _KEPT.values() for one in sizes.values())


def _in_file(data: LabelledSet, size: int) -> Spool:
    spool = Spool()
    for start in range(0, len(data), _AT_ONCE):
        for image in data.select(np.arange(start, min(start + _AT_ONCE, len(data)))).pixels(size):
            spool.append(image.tobytes())
    return spool
