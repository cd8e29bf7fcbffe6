"""The run folder: settings, finished stages, atomic writes, what happened where.

::

    DIR/settings.yaml          every setting, resolved
    DIR/stages/NAME.json       written last, when a stage is complete: seconds, and what it reports
    DIR/data/ adapter/ ...     what the stages write

A stage without its record is not finished: it runs again and takes up what it finds. Nothing here deletes.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch

from understudy.errors import InputError
from understudy.settings import Settings, differing_keys, from_yaml, to_yaml

Resume = Literal["if-possible", "always", "never"]
_FULL_BYTES = 1_000_000
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
            stored = from_yaml((path / "settings.yaml").read_text(encoding="utf-8"))
            different = {key: values for key, values in differing_keys(stored, settings).items() if not key.startswith(_ADDED)}
            if different:
                lines = "\n".join(f"  {key}: {old!r} in the folder, {new!r} now" for key, (old, new) in different.items())
                raise InputError(f"{path} holds a run with other settings:\n{lines}\nchoose another --out, or the same settings")
            return True
        if resume == "always":
            raise InputError(f"{path} holds no run to go on with, and --resume always was given")
        # A kill while the settings were written leaves their temporary file.
        if path.exists() and (not path.is_dir() or any(entry != _temporary(path / "settings.yaml") for entry in path.iterdir())):
            raise InputError(f"{path} is not an empty folder and holds no run: choose another --out")
        return False

    @classmethod
    def find(cls, path: Path) -> RunFolder:
        """The run that is in ``path``.

        Raises:
            InputError: if there is none.
        """
        if not (path / "settings.yaml").exists():
            raise InputError(f"{path} holds no run (no settings.yaml): start one with 'understudy run DATA --out {path}'")
        return cls(path, from_yaml((path / "settings.yaml").read_text(encoding="utf-8")))

    def record(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage reported, or None if it is not finished."""
        path = self.path / "stages" / f"{stage}.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

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


def finished_results(folder: RunFolder) -> dict[str, Any]:
    """Content of ``results.json``.

    Raises:
        InputError: if the run is not finished.
    """
    path = folder.path / "results.json"
    if not path.exists():
        raise InputError(f"{folder.path} is not finished: go on with 'understudy run {folder.path}'")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON that appears whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_arrays(path: Path, **values: Any) -> None:
    """Write an ``.npz`` file that appears whole or not at all."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as handle:  # given a name, numpy would append .npz to it
            np.savez(handle, **values)

    write_atomically(path, write)


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
