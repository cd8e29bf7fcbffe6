"""A folder lock: only one process at a time writes to a run folder."""

from __future__ import annotations

import errno
import os
import platform
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self, final

from understudy.core.errors import InputError

fcntl: Any = None
msvcrt: Any = None
with suppress(ImportError):  # Linux and macOS
    import fcntl
if fcntl is None:
    with suppress(ImportError):  # Windows
        import msvcrt

LOCK_FILE = ".lock"
"""Name of the lock file in a locked folder."""
_WINDOWS_BYTE = 2**30  # Windows makes a locked byte unreadable, so lock one far after the name of the holder


@final
class FolderLock:
    """Context manager that keeps other processes from writing to a folder.

    The operating system holds the lock on the file ``.lock`` and releases it when the process ends, even if
    it is killed. Entering the block locks the folder if it exists; :meth:`take` creates a missing folder and
    locks it. The same process may lock a folder several times. Readers need no lock.

    If the file system does not support locks (some network file systems), the block runs without one. If
    Python cannot lock files on this operating system at all, a warning says so.

    Args:
        path: the folder.

    Raises:
        InputError: on entering or from :meth:`take`, if another process holds the lock.
    """

    _held: ClassVar[dict[Path, tuple[int, int]]] = {}
    """For each locked folder: the open lock file, and the number of blocks that hold it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken: Path | None = None

    def __enter__(self) -> Self:
        if self._path.is_dir():
            self.take()
        return self

    def take(self) -> None:
        """Create the folder if it is missing, and lock it unless this block already holds the lock."""
        if self._taken is not None:
            return
        self._path.mkdir(parents=True, exist_ok=True)
        path = self._path.resolve()
        handle, blocks = self._held.get(path) or (_lock(self._path), 0)
        if handle is not None:
            self._held[path] = handle, blocks + 1
            self._taken = path

    def __exit__(self, *_: object) -> None:
        if self._taken is None:
            return
        handle, blocks = self._held.pop(self._taken)
        if blocks > 1:
            self._held[self._taken] = handle, blocks - 1
        else:
            _release(self._taken / LOCK_FILE, handle)
        self._taken = None

    @classmethod
    def forget(cls) -> None:
        """Close the lock files inherited by a forked process; the parent keeps its locks."""
        for handle, _ in cls._held.values():
            os.close(handle)
        cls._held.clear()


if hasattr(os, "register_at_fork"):  # Windows cannot fork
    os.register_at_fork(after_in_child=FolderLock.forget)


def _lock(folder: Path) -> int | None:
    """Lock a folder; returns the open lock file, or None if there are no locks or the folder is read-only."""
    if fcntl is None and msvcrt is None:
        warnings.warn(
            f"this system cannot lock files: make sure that no other process writes to {folder}", stacklevel=4
        )
        return None
    path = folder / LOCK_FILE
    while (handle := _open(path)) is not None:
        try:
            is_locked = _try_lock(handle)
        except OSError:  # the file system does not support locks
            os.close(handle)
            path.unlink(missing_ok=True)
            return None
        if not is_locked:
            holder = os.read(handle, 300).decode(errors="replace") or "another process"
            os.close(handle)
            raise InputError(
                f"{folder} is in use by {holder}: wait until it has ended, or work in another folder"
            )
        if _is_at(path, handle):
            with suppress(OSError):  # on a full disk the file cannot name the holder, but the lock holds
                os.ftruncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())
            return handle
        os.close(handle)  # a holder that has just ended deleted this file: open the new one
    return None


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        if os.access(path.parent, os.W_OK):
            raise InputError(
                f"cannot write the lock file {path} ({error.strerror}): remove it and try again"
            ) from None
        return None


def _try_lock(handle: int) -> bool:
    """Whether this process got the lock; OSError if the file system does not support locks."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            os.lseek(handle, _WINDOWS_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(handle, 0, os.SEEK_SET)
    except OSError as error:
        if isinstance(error, BlockingIOError) or (
            fcntl is None and error.errno in (errno.EACCES, errno.EDEADLK)
        ):
            return False
        raise
    return True


def _release(path: Path, handle: int) -> None:
    if fcntl is None:  # Windows cannot delete an open file, so a file that another process has locked stays
        os.close(handle)
    with suppress(OSError):  # the folder may be gone
        path.unlink()
    if fcntl is not None:  # only now, so that no other process can lock the file before it is deleted
        os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False
