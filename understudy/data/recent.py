"""What was found out about the latest images, so that it need not be found out again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class Recent(Generic[T]):
    """Remembers a value for each of the latest images, by the bytes that the image is stored as.

    When the values need more than the room, those that were used least recently are forgotten. The latest one
    is kept whatever its size.

    Args:
        room: for all values together, in the unit of ``size``.
        size: measures a value.

    Example:
        >>> lengths = Recent[int](room=2, size=lambda value: 1)
        >>> [lengths.get(data, lambda: len(data)) for data in (b"a", b"bc", b"a")]
        [1, 2, 1]
        >>> lengths.get(b"a", lambda: 1 / 0)
        1
    """

    def __init__(self, room: int, size: Callable[[T], int]) -> None:
        self._room = self._left = room
        self._size = size
        self._values: OrderedDict[bytes, T] = OrderedDict()
        self._lock = Lock()

    def shrink(self, room: int) -> None:
        """Have less room from now on."""
        with self._lock:
            self._left -= self._room - room
            self._room = room

    def get(self, data: bytes, find: Callable[[], T]) -> T:
        """The value of the image ``data``; ``find`` is called if it is not remembered."""
        key = hashlib.blake2b(data, digest_size=16).digest()
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = find()
        with self._lock:
            if key not in self._values:
                self._values[key] = value
                self._left -= self._size(value)
            while self._left < 0 and len(self._values) > 1:
                self._left += self._size(self._values.popitem(last=False)[1])
        return value
