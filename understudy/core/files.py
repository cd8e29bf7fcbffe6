"""Files that appear whole or not at all: text, JSON, arrays."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors

from understudy.core.errors import InputError

T = TypeVar("T")

_FULL_BYTES = 1_000_000

CONTINUE = "then continue the run with 'understudy run' and the run folder"
REMOVE = f"remove it, {CONTINUE}"
"""What to do about a damaged file that a run writes again, for messages."""


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON that appears whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a compressed ``.npz`` file that appears whole or not at all.

    Unlike ``np.savez``, it allows any array name.
    """

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, values in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asanyarray(values), allow_pickle=False)

    write_atomically(path, write)


def again(path: Path) -> str:
    """How to make a file of a run again that is damaged or missing, for messages."""
    removed = "it and the record of its stage" if path.exists() else "the record of its stage"
    return f"to make it again, remove {removed} (in stages/), {CONTINUE}"


@contextmanager
def readable(path: Path, *, mend: str | None = None) -> Iterator[None]:
    """Read a file in the block; if that fails because of its content, the file is reported as damaged.

    Libraries raise errors of any kind for damaged files. The block should do nothing but read ``path`` into
    the memory of the host.

    Args:
        path: the file, which exists.
        mend: what the user should do; by default :func:`again`.

    Raises:
        InputError: if the file is damaged.
        OSError: if the system cannot read the file.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(f"{path} is damaged: {mend or again(path)}") from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read a file written by :func:`write_arrays`.

    Raises:
        InputError: if the file is missing or damaged.
    """
    if not path.exists():
        raise InputError(f"{path} is missing: {again(path)}")
    # np.load closes only files that it could open as an archive.
    with readable(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def read_json(path: Path, *, mend: str | None = None, keys: Collection[str] = ()) -> dict[str, Any]:
    """Read a JSON object that must have these keys.

    Raises:
        InputError: if the file is damaged; the message ends with ``mend``, as for :func:`readable`.
    """
    content = _read_json(path, dict, mend)
    if not set(keys) <= set(content):
        raise InputError(f"{path} is damaged: {mend or again(path)}")
    return content


def read_list(path: Path, *, mend: str | None = None) -> list[Any]:
    """Read a JSON list.

    Raises:
        InputError: as :func:`read_json`.
    """
    return _read_json(path, list, mend)


def _read_json(path: Path, kind: type[T], mend: str | None) -> T:
    with readable(path, mend=mend):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, kind):
            return content
        raise TypeError(f"expected a {kind.__name__}, got a {type(content).__name__}")


def check_tensors(path: Path, *, mend: str | None = None) -> None:
    """Check that a safetensors file is complete, without reading its tensors.

    Raises:
        InputError: as for :func:`readable`.
    """
    with readable(path, mend=mend), safetensors.safe_open(path, framework="numpy"):
        pass


def check_replaceable(path: Path, *, mark: bytes, suffix: str) -> None:
    """Check, before the work for it begins, that a file can be written and replaces only an earlier version.

    Args:
        path: file to write.
        mark: bytes that an earlier version has among its first 4,096 bytes.
        suffix: usual ending of the file, for the message, such as ``.png``.

    Raises:
        InputError: if a file without the mark exists, the path is a folder, or its folder cannot be written
            to.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file in it, such as new{suffix}")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        state = "cannot be written to" if parent.is_dir() else "is not a folder"
        raise InputError(f"{parent}, where {path} should be written, {state}: choose another place")
    if path.is_file():
        with path.open("rb") as file:
            if mark not in file.read(4096):
                raise InputError(
                    f"{path} exists and is not an earlier version of the file to write there: choose another "
                    "name, or remove it"
                )


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it into place.

    If this fails, the temporary file is removed.

    Raises:
        OSError: raised by ``write``; if the disk is full, other errors are turned into one as well.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        write(temporary)
        with temporary.open("rb+") as handle:  # Windows flushes only what may be written
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except Exception as error:
        is_full = shutil.disk_usage(path.parent).free < _FULL_BYTES
        temporary.unlink(missing_ok=True)
        if is_full and not isinstance(error, OSError):  # torch reports only an unexpected file position
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def content_of(path: Path) -> dict[str, Any]:
    """Number, total size and SHA-256 of the files at a path, to tell later whether they have changed.

    Args:
        path: a file, or a folder with all files below it, those in linked folders included.

    Returns:
        ``files``, ``bytes`` and ``sha256`` (over names and contents).
    """
    digest, files, size = hashlib.sha256(), 0, 0
    for file in [path] if path.is_file() else _files_below(path):
        with file.open("rb") as content:
            of_file = hashlib.file_digest(content, "sha256").digest()
        digest.update(os.fsencode("" if file == path else file.relative_to(path)) + b"\0" + of_file)
        files, size = files + 1, size + file.stat().st_size
    return {"files": files, "bytes": size, "sha256": digest.hexdigest()}


def _files_below(folder: Path) -> list[Path]:
    found, seen = [], {os.path.realpath(folder)}
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if os.path.realpath(Path(root, name)) not in seen]
        seen.update(os.path.realpath(Path(root, name)) for name in folders)
        found += [path for name in names if (path := Path(root, name)).is_file()]
    return sorted(found)


def temporary_path(path: Path) -> Path:
    """The path that a file is written to before it is renamed into place."""
    return path.with_name(f".{path.name}.tmp")
