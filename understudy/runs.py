"""The run folder: settings, finished stages, atomic writes, what happened where.

::

    DIR/settings.yaml          every setting, resolved
    DIR/stages/NAME.json       written last, when a stage is complete: seconds, and what it reports
    DIR/data/ adapter/ ...     what the stages write
    DIR/.lock                  while a process works in the folder: which

A stage without its record is not finished: it runs again and takes up what it finds. Nothing here deletes what a stage wrote.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, final

import numpy as np
import torch
import yaml

from understudy.errors import InputError
from understudy.settings import Settings, differing_keys, from_yaml, to_yaml

Resume = Literal["if-possible", "always", "never"]
_FULL_BYTES = 1_000_000
_SECTIONS = ("data", "adaptation", "curation", "arms", "verdict", "cost", "environment")  # that results.json has in any case
_LISTED = 5  # runs of a study that a message names
_LOCK = ".lock"
_ADDED = ("fidelity.", "scale.", "gap.", "shift.", "membership.", "data.licence", "generator.licence")
"""Settings of stages that only add to a finished run, and what only its cards say: they may change later, what is drawn is kept."""
_PACKAGES = ("understudy", "torch", "torchvision", "diffusers", "transformers", "peft", "timm", "numpy", "pyarrow", "scikit-learn")


@final
@dataclass(frozen=True)
class RunFolder:
    """A folder that holds one run with one set of settings.

    Attributes:
        path: the folder.
        settings: what the run was started with.
    """

    path: Path
    settings: Settings

    @classmethod
    def open(cls, path: Path, settings: Settings, *, resume: Resume = "if-possible") -> RunFolder:
        """Start a run in a new folder, or go on with one that has the same settings.

        Args:
            path: the folder; made if missing.
            settings: of this call.
            resume: ``if-possible``; ``always`` refuses to start anew; ``never`` refuses to go on.

        Raises:
            InputError: as :meth:`check`.
        """
        path.mkdir(parents=True, exist_ok=True)
        if not cls.check(path, settings, resume=resume) or cls.find(path).settings != settings:
            write_text(path / "settings.yaml", to_yaml(settings))
        return cls(path, settings)

    @staticmethod
    def check(path: Path, settings: Settings, *, resume: Resume = "if-possible") -> bool:
        """Whether ``path`` holds this run already; writes nothing.

        Raises:
            InputError: if the folder holds a run with other settings (the differing keys are named), holds
                something else, or does not fit ``resume``.
        """
        if (path / "settings.yaml").exists():
            if resume == "never":
                raise InputError(f"{path} already holds a run, and --resume never was given: choose another --out")
            stored = _stored_settings(path)
            different = {key: values for key, values in differing_keys(stored, settings).items() if not key.startswith(_ADDED)}
            if different:
                lines = "\n".join(f"  {key}: {old!r} in the folder, {new!r} now" for key, (old, new) in different.items())
                raise InputError(f"{path} holds a run with other settings:\n{lines}\nchoose another --out, or the same settings")
            return True
        if resume == "always":
            raise InputError(f"{path} holds no run to go on with, and --resume always was given")
        # A kill while the settings were written leaves their temporary file and that of the lock.
        ours = (_temporary(path / "settings.yaml"), path / _LOCK)
        if path.exists() and (not path.is_dir() or any(entry not in ours for entry in path.iterdir())):
            raise InputError(f"{path} is not an empty folder and holds no run: choose another --out")
        return False

    @classmethod
    def find(cls, path: Path) -> RunFolder:
        """The run that is in ``path``.

        Raises:
            InputError: if there is none; for the folder of a study, with the runs that lie in it.
        """
        if not (path / "settings.yaml").exists():
            if (path / "study.yaml").exists():
                runs = [str(found.parent) for found in sorted(path.glob("runs/*/settings.yaml"))]
                more = f" and {len(runs) - _LISTED} more" if len(runs) > _LISTED else ""
                raise InputError(f"{path} holds a study, not a run: give one of its runs, {', '.join(runs[:_LISTED])}{more}")
            raise InputError(f"{path} holds no run (no settings.yaml): start one with 'understudy run DATA --out {path}'")
        return cls(path, _stored_settings(path))

    def record(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage reported, or None if it is not finished.

        Raises:
            InputError: for a damaged record.
        """
        path = self.path / "stages" / f"{stage}.json"
        mend = f"remove it, then do the stage again with 'understudy run {self.path}'"
        return _read_json(path, mend=mend) if path.exists() else None

    @contextmanager
    def stage(self, name: str, *, started: float | None = None) -> Iterator[dict[str, Any]]:
        """Run a stage: its report is filled in the block and written when the block ends well.

        The clock starts with the block, or at the moment ``started`` of ``time.monotonic``.

        Time of earlier, interrupted attempts is not counted. Memory is the largest that this process has held so far.
        """
        report: dict[str, Any] = {}
        start = time.monotonic() if started is None else started
        yield report
        report |= {"seconds": round(time.monotonic() - start, 2), "peak_memory_gb": round(_peak_memory_gb(), 2)}
        write_json(self.path / "stages" / f"{name}.json", report)


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


def finished_results(folder: RunFolder) -> dict[str, Any]:
    """Content of ``results.json``.

    Raises:
        InputError: if the run is not finished, or the file is damaged.
    """
    path = folder.path / "results.json"
    if not path.exists():
        raise InputError(f"{folder.path} is not finished: go on with 'understudy run {folder.path}'")
    return _read_json(path, mend=f"write it anew with 'understudy report {folder.path}'", keys=_SECTIONS)


def _stored_settings(path: Path) -> Settings:
    """Of the run in ``path``."""
    file = path / "settings.yaml"
    try:
        return from_yaml(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file} must be YAML text, and is not ({str(error).splitlines()[0]}): put back what it was") from None


def _read_json(path: Path, *, mend: str, keys: Collection[str] = ()) -> dict[str, Any]:
    """An object with these keys; of what is damaged it is said how to ``mend`` it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # neither JSON nor UTF-8
        content = None
    if not isinstance(content, dict) or not set(keys) <= set(content):
        raise InputError(f"{path} is damaged: {mend}")
    return content


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What :func:`write_arrays` wrote.

    Raises:
        InputError: for a file that is not there or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (FileNotFoundError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        state = "damaged" if path.exists() else "not there"
        raise InputError(
            f"{path} is {state}: remove it, and in stages/ the record of the stage that makes it, then do that stage again with "
            "'understudy run' and the folder of the run"
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON that appears whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an ``.npz`` file, compressed, that appears whole or not at all. Arrays may have any name; ``np.savez`` keeps some to itself."""

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, values in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asanyarray(values), allow_pickle=False)

    write_atomically(path, write)


def refuse_to_replace(path: Path, *, mark: bytes) -> None:
    """Refuse to write over a file that is not one of those that are written here.

    Args:
        path: the file to write.
        mark: what those begin with, somewhere in their first 4,096 bytes.

    Raises:
        InputError: if another file is there.
    """
    if path.is_file():
        with path.open("rb") as file:
            if mark not in file.read(4096):
                raise InputError(f"{path} exists, and understudy did not write it in this place: choose another name, or remove it")


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it into place; if that fails, nothing is left of it.

    Raises:
        OSError: as ``write`` raises it; also for whatever else it raises when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        write(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except Exception as error:
        is_full = shutil.disk_usage(path.parent).free < _FULL_BYTES
        temporary.unlink(missing_ok=True)
        if is_full and not isinstance(error, OSError):  # torch says only that some position is unexpected
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _peak_memory_gb() -> float:
    """Largest resident memory of this process so far; macOS counts bytes, Linux kibibytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def environment(device: str) -> dict[str, Any]:
    """Versions, machine and commit, for ``results.json``."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "versions": versions,
        "commit": _commit(),
        "command": _command(),
    }


def _command() -> str:
    """What was typed, with the program by its name instead of its path."""
    program = Path(sys.argv[0]).name
    return shlex.join([*(["understudy"] if program in ("understudy", "cli.py") else ["python", program]), *sys.argv[1:]])


def _commit() -> str:
    """Commit of the source tree that runs, ``+dirty`` with local changes, empty for an installed package."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True)
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.stdout.strip() + ("+dirty" if dirty.stdout else "")
