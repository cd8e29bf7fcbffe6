"""Memory of this machine: how much is free, and how much of it decoded images may fill."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

import psutil

_FREE_SHARE = 0.5
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


@final
@dataclass(frozen=True)
class ImageMemory:
    """How much memory decoded images may fill in a process.

    Attributes:
        gigabytes: on this machine; None for half of what is free when it is asked for.
        processes: how many of them share it.
    """

    gigabytes: float | None = None
    processes: int = 1

    @property
    def num_bytes(self) -> int:
        """The share of one process."""
        everything = _FREE_SHARE * free_host_bytes() if self.gigabytes is None else 1e9 * self.gigabytes
        return int(everything / self.processes)

    def use(self) -> None:
        """Make this what :func:`image_memory` returns in this process."""
        global _in_use
        _in_use = self


_in_use = ImageMemory()


def image_memory() -> ImageMemory:
    """How much memory decoded images may fill in this process."""
    return _in_use


def free_host_bytes() -> int:
    """Bytes that this process can still allocate: by the machine, its container and its SLURM task."""
    limits = [_left_of_slurm_task(), *(_left_in(group) for group in _groups())]
    return max(
        0, min([int(psutil.virtual_memory().available), *(left for left in limits if left is not None)])
    )


def _left_of_slurm_task() -> int | None:
    """Bytes of the memory that a SLURM task has asked for, less those in use; None where it has no limit.

    Tasks of one step that run on the same node share its memory in equal parts.
    """
    megabytes = _number("SLURM_MEM_PER_NODE")
    for each, count in (("CPU", "CPUS"), ("GPU", "GPUS")):
        megabytes = megabytes or _number(f"SLURM_MEM_PER_{each}") * _number(f"SLURM_{count}_ON_NODE")
    if not megabytes:
        return None
    task = megabytes * 2**20 // max(1, _number("SLURM_STEP_TASKS_PER_NODE"))
    return task - int(psutil.Process().memory_info().rss)


def _number(name: str) -> int:
    """The largest number of an environment variable such as ``2(x3),1``; 0 for one of another form."""
    parts = [re.fullmatch(r"(\d+)(\(x\d+\))?", part) for part in os.environ.get(name, "").split(",")]
    return max((int(part[1]) for part in parts if part), default=0) if all(parts) else 0


def _groups() -> list[Path]:
    """The control group of this process and those above it; empty without groups of the second version."""
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    return [_GROUPS, *(_GROUPS / part for part in (Path(own), *Path(own).parents))]


def _left_in(group: Path) -> int | None:
    """Bytes that the limit of a group leaves; what it keeps of files that nobody uses counts as free."""
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit == "max":
            return None
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int(limit) - int((group / "memory.current").read_text()) + int(kept.get("inactive_file", 0))
    except (OSError, ValueError):  # no limit, or an older kernel
        return None
