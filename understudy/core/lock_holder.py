"""Who works in a folder, told from its lock file alone."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

import psutil

from understudy.core.lock import LOCK_FILE


@final
@dataclass(frozen=True)
class Holder:
    """The process that a lock file names.

    Attributes:
        process: its number.
        machine: where it runs.
        since: when it took the lock, in seconds since 1970.
        is_alive: whether it still runs; None if that cannot be told, because it is on another machine.
    """

    process: int
    machine: str
    since: float
    is_alive: bool | None


def holder_of(folder: Path) -> Holder | None:
    """Who holds the lock of a folder, told from its lock file alone: nothing is locked or written.

    A process that was killed leaves its lock file behind.

    Returns:
        The holder; None if there is no lock file, or it names nobody.
    """
    path = folder / LOCK_FILE
    try:
        text, since = path.read_text(encoding="utf-8", errors="replace"), path.stat().st_mtime
    except OSError:
        return None
    if (found := re.match(r"process (\d{1,9}) on (.*)", text)) is None:
        return None
    process, machine = int(found[1]), found[2].strip()
    is_alive = _has_run_since(process, since) if machine == platform.node() else None
    return Holder(process, machine, since, is_alive)


def _has_run_since(process: int, moment: float) -> bool:
    """Whether a process runs that began before a moment: its number may have gone to a later one."""
    try:
        found = psutil.Process(process)
        return bool(found.status() != psutil.STATUS_ZOMBIE and found.create_time() <= moment + 1)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # of another user
        return True
