"""One process per folder."""

from __future__ import annotations

import fcntl
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self, final

from understudy.core.errors import InputError

_LOCK = ".lock"


@final
class FolderLock:
    """Keeps a folder to this process for the length of a block: no other one writes there meanwhile.

    The lock is the operating system's, on the file ``.lock``, so it ends with the process however that ends. It is taken on entering where
    there is a folder, otherwise by :meth:`take`. A process may lock a folder again that it holds. Readers need no lock.

    Args:
        path: the folder.

    Raises:
        InputError: on entering and from :meth:`take`, if another process holds it.
    """

    _held: ClassVar[dict[Path, tuple[int, int]]] = {}
    """Open file, and how many blocks hold it, by folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken: Path | None = None

    def __enter__(self) -> Self:
        if self._path.is_dir():
            self.take()
        return self

    def take(self) -> None:
        """Make the folder if it is missing, and lock it unless this block has."""
        if self._taken is not None:
            return
        self._path.mkdir(parents=True, exist_ok=True)
        path = self._path.resolve()
        handle, blocks = self._held.get(path) or (_locked(self._path), 0)
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
            with suppress(OSError):  # the folder may be gone
                (self._taken / _LOCK).unlink()  # while it is locked, so that it is nobody else's
            os.close(handle)
        self._taken = None

    @classmethod
    def forget(cls) -> None:
        """In a forked process: let go of what its parent holds, which keeps its locks and ends them."""
        for handle, _ in cls._held.values():
            os.close(handle)
        cls._held.clear()


os.register_at_fork(after_in_child=FolderLock.forget)


def _locked(folder: Path) -> int | None:
    """An open file that keeps ``folder`` to this process; None where files cannot be locked, or nothing can be written anyway."""
    path = folder / _LOCK
    while (handle := _opened(path)) is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 300).decode(errors="replace") or "another process"
            os.close(handle)
            raise InputError(f"{folder} is in use by {holder}: wait until it has ended, or work in another folder") from None
        except OSError:  # the file system knows no locks
            os.close(handle)
            path.unlink(missing_ok=True)
            return None
        if _is_at(path, handle):
            with suppress(OSError):  # on a full disk nobody learns who it is; the lock holds
                os.ftruncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())
            return handle
        os.close(handle)  # the file of a holder that has just ended
    return None


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if os.access(path.parent, os.W_OK):
            raise InputError(f"{path}, which keeps other processes out, cannot be written ({error.strerror}): remove it") from None
        return None


def _is_at(path: Path, handle: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False
