"""Memory of this machine: how much is free, and how much of it decoded images may fill."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import psutil

_FREE_SHARE = 0.5
_GROUP = Path("/sys/fs/cgroup")


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
    """Bytes that this process can still allocate, by the machine and by the limit of its container."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((_GROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return free if limit == "max" else max(0, min(free, int(limit) - int(used)))
    except (OSError, ValueError):  # no container, or an older kernel
        return free
