"""The bytes of many images, one after the other: in memory while they are few, then in a file."""

from __future__ import annotations

import tempfile
import weakref
from array import array
from threading import Lock
from typing import final

_ROOM = 2**26  # bytes kept in memory


@final
class Spool:
    """Bytes that are appended once and read in any order, with at most 64 MiB of them in memory.

    The file has no name, so that nothing is left when the process ends, however it ends. It lies in the
    folder for temporary files, which the environment variable ``TMPDIR`` names.

    Example:
        >>> spool = Spool()
        >>> for data in (b"one", b"two"):
        ...     spool.append(data)
        >>> len(spool), spool[1]
        (2, b'two')
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_ROOM)  # noqa: SIM115 - open while it is used
        weakref.finalize(self, self._file.close)
        self._ends = array("q", [0])
        self._lock = Lock()

    def append(self, data: bytes | memoryview) -> None:
        """Add the bytes of an image.

        Raises:
            OSError: if the disk is full.
        """
        with self._lock:
            self._file.seek(self._ends[-1])
            self._file.write(data)
            self._ends.append(self._ends[-1] + len(data))

    @property
    def num_bytes(self) -> int:
        """Bytes of all images."""
        return self._ends[-1]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> bytes:
        start, end = self._ends[number], self._ends[number + 1]
        with self._lock:
            self._file.seek(start)
            return self._file.read(end - start)
