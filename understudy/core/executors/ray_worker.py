"""What runs in the actors of Ray: workers, and the board on which they note their progress."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from understudy.core.device_memory import release
from understudy.core.executors.alike import Demands
from understudy.core.executors.job import Job
from understudy.core.executors.packing import contents, put, unpack
from understudy.core.executors.progress_slots import Slot, work
from understudy.core.executors.scratch import Scratch
from understudy.core.host_memory import ImageMemory
from understudy.core.threads import use_threads, wait_passively


@final
@dataclass(frozen=True, kw_only=True)
class Task:
    """What all actors are asked to do.

    Attributes:
        key: no other list of jobs has the same.
        root: folder of the run, on the machine that asks.
        demands: what actors must have.
        is_shared: whether the actors see that folder.
        stored: reference to the packed jobs, and to the files that all of them read, in the object store.
        common: paths of these files.
        threads: of each actor.
        memory: of each actor, for decoded images.
        cwd: current folder of the process that asks; paths outside the run may be relative to it.
        board: actor of :class:`Board`.
    """

    key: str
    root: Path
    demands: Demands
    is_shared: bool
    stored: tuple[Any, Any]
    common: frozenset[Path]
    threads: int
    memory: ImageMemory
    cwd: Path
    board: Any


@final
class RayWorker:
    """Does one job at a time in an actor; the jobs are unpacked once.

    Args:
        slot: number of the worker.
    """

    def __init__(self, slot: int) -> None:
        wait_passively()
        self._slot = slot
        self._key = ""
        self._jobs: Sequence[Job] = ()
        self._scratch: Scratch | None = None
        self._has_described = False

    def describe(self, probe: Path | None, demands: Demands) -> dict[str, Any]:
        """What this worker has, and whether it sees a file of the run.

        Args:
            probe: a file that exists on the machine that asks; None before the run has a folder.
            demands: what it must have.
        """
        self._has_described = True
        return {**demands.found_here(), "sees": probe is not None and probe.exists()}

    def do(self, task: Task, index: int, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """Do a job.

        Args:
            task: the list of jobs.
            index: number of the job.
            files: what only this job reads, if the run folder is not shared.

        Returns:
            The files that it wrote, if the run folder is not shared.
        """
        import ray  # slow to import, and missing in most installations

        if task.key != self._key:
            self._open(task, *ray.get(list(task.stored)))
        use_threads(task.threads)
        task.memory.use()
        root = self._root(task)
        put(files, root)
        before = _times(root) if self._scratch else {}
        job, board, slot = self._jobs[index], task.board, self._slot
        progress = Slot(lambda *state: board.note.remote(slot, *state), ray.get(board.finished.remote(slot)))
        try:
            work(job, progress)
            _check_done(job)
        except BaseException:
            self._close()  # another try must find nothing of this one
            raise
        return {} if self._scratch is None else _taken(root, before, files)

    def rest(self) -> None:
        """Give back the memory and the disk that the jobs took, until others come."""
        self._close()
        release()

    def _open(self, task: Task, packed: Any, files: Mapping[str, bytes]) -> None:
        """Unpack the jobs of a list, and write the files that all of them read."""
        self._close()
        if not self._has_described:  # started again, perhaps on another node
            task.demands.check([task.demands.found_here()])
            self._has_described = True
        if task.is_shared and not task.root.is_dir():
            raise OSError(f"node {platform.node()} does not see {task.root}, as the others do")
        if task.cwd.is_dir():
            os.chdir(task.cwd)
        if not task.is_shared:
            self._scratch = Scratch()
            put(files, self._scratch.path)
        self._jobs, self._key = unpack(packed, self._root(task)), task.key

    def _root(self, task: Task) -> Path:
        """Folder of the run, or what stands for it here."""
        return self._scratch.path if self._scratch else task.root

    def _close(self) -> None:
        self._jobs, self._key = (), ""
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None


def _check_done(job: Job) -> None:
    if not job.is_done:
        raise OSError(f"{job.name} was done, but its files are missing")


def _taken(root: Path, before: Mapping[Path, int], files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files that a job wrote; they and those that only it read are removed."""
    written = [path for path, time in _times(root).items() if before.get(path) != time]
    found = contents(written, root)
    for path in [*(path for path in written if path not in before), *(root / name for name in files)]:
        path.unlink(missing_ok=True)
    return found


def _times(root: Path) -> dict[Path, int]:
    """When each file below a folder was written."""
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


@final
class Board:
    """Progress of all workers; an actor of its own, which survives theirs."""

    def __init__(self) -> None:
        self._slots: dict[int, tuple[int, int]] = {}

    def note(self, slot: int, finished: int, current: int) -> None:
        """Take the progress of a worker."""
        self._slots[slot] = finished, current

    def finished(self, slot: int) -> int:
        """Progress of the jobs that a worker has finished."""
        return self._slots.get(slot, (0, 0))[0]

    def total(self) -> int:
        """Progress of all workers together."""
        return sum(map(sum, self._slots.values()))
