"""Versions, machine, command and commit, for records."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

resource: Any = None
with suppress(ImportError):  # Windows has no such module
    import resource

_PACKAGES = (
    "understudy",
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "peft",
    "timm",
    "numpy",
    "pyarrow",
    "scikit-learn",
)


def environment(device: str) -> dict[str, Any]:
    """Versions, machine and commit, for ``results.json``."""
    import torch  # slow to import; commands that only list names do not need it

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


def forget_peak_memory() -> None:
    """Make :func:`peak_memory_gb` start again from the present memory; only Linux can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_gb() -> float | None:
    """Peak resident memory of this process so far, in GB, rounded to 10 MB.

    On Linux it is that since the last :func:`forget_peak_memory`. None on Windows, which does not report it
    this way.
    """
    if resource is None:
        return None
    peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return round(peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9, 2)  # bytes on macOS, else KiB


def _command() -> str:
    """The command line, with the name of the program or module instead of its path."""
    program, module = Path(sys.argv[0]).name, getattr(sys.modules["__main__"], "__spec__", None)
    start = ["python", program] if module is None else ["python", "-m", module.name.removesuffix(".__main__")]
    return shlex.join([*(["understudy"] if program in ("understudy", "cli.py") else start), *sys.argv[1:]])


def _commit() -> str:
    """Commit of the source tree, with ``+dirty`` for local changes; empty for an installed package."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        subprocess.run(
            [*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True
        )
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.stdout.strip() + ("+dirty" if dirty.stdout else "")
