"""The bytes of many images, one after the other: in memory while they are few, then in a file."""

from __future__ import annotations

import errno
import os
import tempfile
import weakref
from array import array
from threading import Lock
from typing import IO, final

from understudy.core.errors import FullDiskError

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
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._ends = array("q", [0])
        self._lock = Lock()

    def append(self, data: bytes) -> None:
        """Add the bytes of an image.

        Raises:
            FullDiskError: if the disk is full.
        """
        with self._lock:
            if self._file is None and self._ends[-1] + len(data) > _ROOM:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open while it is used
                weakref.finalize(self, self._file.close)
                self._write(self._memory, 0)
                self._memory = bytearray()
            if self._file is None:
                self._memory += data
            else:
                self._write(data, self._ends[-1])
            self._ends.append(self._ends[-1] + len(data))

    def _write(self, data: bytes | bytearray, start: int) -> None:
        assert self._file is not None
        self._file.seek(start)
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            folder = tempfile.gettempdir()
            raise FullDiskError(
                f"no space is left in {folder}, where images lie that do not fit into memory: make room, or "
                "set the environment variable TMPDIR to a folder on a larger disk"
            ) from None

    @property
    def num_bytes(self) -> int:
        """Bytes of all images."""
        return self._ends[-1]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> bytes:
        start, end = self._ends[number], self._ends[number + 1]
        if self._file is None:
            return bytes(self._memory[start:end])
        if hasattr(os, "pread"):  # no shared place in the file, also in processes that were forked
            return os.pread(self._file.fileno(), end - start, start)
        with self._lock:
            self._file.seek(start)
            return self._file.read(end - start)
