"""Jobs as bytes for other processes, which may see the folder of the run at another path, or not at all."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Mapping, Sequence
from operator import methodcaller
from pathlib import Path
from typing import Any

from understudy.core.executors.job import Job
from understudy.core.files import write_atomically


class _Pickler(pickle.Pickler):
    """Writes paths below a folder relative to it, and objects that refer to files with their content."""

    def __init__(self, file: io.BytesIO, root: Path, *, is_shared: bool) -> None:
        super().__init__(file, protocol=5)
        self._root = root.absolute()
        self._is_shared = is_shared

    def reducer_override(self, obj: Any) -> Any:
        embedded = None if self._is_shared or isinstance(obj, type) else getattr(obj, "embedded", None)
        return NotImplemented if embedded is None else embedded()

    def persistent_id(self, obj: Any) -> str | None:
        if isinstance(obj, Path) and (path := obj.absolute()).is_relative_to(self._root):
            return path.relative_to(self._root).as_posix()
        return None


class _Unpickler(pickle.Unpickler):
    """Puts such paths below another folder."""

    def __init__(self, file: io.BytesIO, root: Path) -> None:
        super().__init__(file)
        self._root = root.absolute()

    def persistent_load(self, pid: Any) -> Path:
        return self._root.joinpath(pid)


def pack(jobs: Sequence[Job], root: Path, *, is_shared: bool = True) -> bytes:
    """All jobs together, so that the images they share stay shared.

    Args:
        jobs: what to pack.
        root: folder of the run; paths below it become relative.
        is_shared: whether the workers see the folder; otherwise images are packed with their bytes.
    """
    file = io.BytesIO()
    _Pickler(file, root, is_shared=is_shared).dump(list(jobs))
    return file.getvalue()


def unpack(packed: bytes | memoryview, root: Path) -> list[Job]:
    """What :func:`pack` packed, for a process that has the folder of the run at ``root``."""
    jobs: list[Job] = _Unpickler(io.BytesIO(packed), root).load()
    return jobs


def contents(paths: Iterable[Path], root: Path) -> dict[str, bytes]:
    """The content of files, and of all files below folders, by their path relative to ``root``.

    Files come in the order in which they were written.
    """
    files = [
        file
        for path in paths
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file() and not any(part.endswith(".tmp") for part in file.relative_to(root).parts)
    ]
    files.sort(key=lambda file: file.stat().st_mtime_ns)
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}


def put(files: Mapping[str, bytes], root: Path) -> None:
    """Write such files below ``root``, in their order: the last one says that a job is done."""
    for name, content in files.items():
        write_atomically(root / name, methodcaller("write_bytes", content))
