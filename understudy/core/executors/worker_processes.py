"""Executor ``processes``: jobs in processes of this machine, one per core or per GPU."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import psutil

from understudy.core.errors import InputError
from understudy.core.executors.dispatch import ATTEMPTS, dispatch
from understudy.core.executors.executor import EXECUTORS, Terms, check_names_known
from understudy.core.executors.job import Job, threads_for
from understudy.core.executors.packing import pack, unpack
from understudy.core.executors.progress_slots import SLOT, slot_in, total_of
from understudy.core.registry import Registry
from understudy.core.stop import ignore_stops
from understudy.core.threads import num_cores, num_threads, use_threads

_IDLE = 60  # seconds after which a process without work ends; stages that follow each other share processes
_JOBS = "jobs"  # name of the file with the packed jobs
_received: dict[Path, Sequence[Job]] = {}
"""In a worker: the jobs that it was sent last, by the folder that they came in."""


@EXECUTORS.register("processes", summary="workers on this machine: one per core of a CPU, or one per GPU")
def processes(jobs: Sequence[Job], terms: Terms) -> Generator[int, None, None]:
    """Do all jobs in worker processes."""
    yield from in_processes(jobs, terms, number=num_workers(terms.compute.workers, jobs[0].device))


def num_trainers(wanted: int | None, device: str) -> int:
    """Number of processes for trainings with one thread; 1 means that this process does them.

    Without a number, it is one per thread of torch, as long as each finds as much free memory as this process
    uses. On other devices than the CPU, and if code outside the package has registered names, which a new
    process would not know, there is only this process.
    """
    if device != "cpu" or Registry.has_outsiders:
        return 1
    room = psutil.virtual_memory().available // psutil.Process().memory_info().rss
    return wanted or max(1, min(num_threads(), room))


def num_workers(wanted: int | None, device: str) -> int:
    """Number of worker processes: ``wanted``, or one per GPU, or one per core as far as memory allows.

    Raises:
        InputError: if there are fewer cores or GPUs, or another process could not do the work at all.
    """
    check_names_known()
    if device not in ("cpu", "cuda"):
        raise InputError(
            f"workers share the GPUs of this machine, but the device is {device!r}: give --device cuda or "
            "cpu, or --executor local"
        )
    there = len(visible_gpus()) if device == "cuda" else num_cores()
    number = wanted or (there if device == "cuda" else min(there, num_trainers(None, device)))
    if not 0 < number <= there:
        kind = "GPUs" if device == "cuda" else "cores"
        raise InputError(f"{number} workers need as many {kind}, but this process may use {there}")
    return number


def visible_gpus() -> list[str]:
    """The names by which this process may give each GPU that it sees to another process."""
    import torch  # slow to import; commands that only list names do not need it

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]


def in_processes(jobs: Sequence[Job], terms: Terms, *, number: int) -> Generator[int, None, None]:
    """Do the jobs in ``number`` processes; the first progress, 0, tells that they have started."""
    gpus = visible_gpus() if jobs[0].device == "cuda" else [""] * number
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
        Path(folder, _JOBS).write_bytes(pack(jobs, terms.root))
        threads = terms.compute.threads or max(1, num_cores() // number)
        task = _Task(folder=Path(folder), root=terms.root, threads=threads)
        workers = [_WorkerProcess.get(slot, gpus[slot], task) for slot in range(min(number, len(jobs)))]
        try:
            yield from dispatch(jobs, workers, lambda: total_of(task.folder))
        except BaseException as error:
            for worker in workers:
                worker.stop()
            if isinstance(error, BrokenExecutor):
                raise InputError(
                    f"a worker process was killed {ATTEMPTS} times ({error.__notes__[-1]}), probably because "
                    "memory ran out: give fewer --workers; what is finished is kept"
                ) from error
            raise


@final
@dataclass(frozen=True, kw_only=True)
class _Task:
    """What worker processes are asked to do.

    Attributes:
        folder: holds the packed jobs and the progress of each worker; no other list of jobs has the same.
        root: folder of the run.
        threads: of each worker.
    """

    folder: Path
    root: Path
    threads: int


@final
class _WorkerProcess:
    """A process, which starts with its first job and ends after a minute without one."""

    _started: ClassVar[dict[tuple[int, str], _WorkerProcess]] = {}

    def __init__(self, slot: int, gpu: str) -> None:
        self._slot = slot
        self._gpu = gpu
        self._pool: Any = None
        self.task: _Task

    @classmethod
    def get(cls, slot: int, gpu: str, task: _Task) -> _WorkerProcess:
        """The process with this number, which earlier stages may have started."""
        worker = cls._started.setdefault((slot, gpu), cls(slot, gpu))
        worker.task = task
        return worker

    def start(self, index: int) -> Future[None]:
        if self._pool is None:
            from loky import ProcessPoolExecutor  # slow to import; only workers need it

            env = {"CUDA_VISIBLE_DEVICES": self._gpu} if self._gpu else {}
            self._pool = ProcessPoolExecutor(
                1, timeout=_IDLE, initializer=_begin, initargs=(os.getpid(),), env=env
            )
        future: Future[None] = self._pool.submit(_do, self.task, self._slot, index)
        return future

    def finish(self, index: int, result: None) -> None:
        """Nothing is left to do: the files are in the run folder."""

    def recover(self, error: BaseException) -> int:
        if isinstance(error, BrokenExecutor):
            self.stop()
        return 1

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self._pool is not None:
            self._pool.shutdown(kill_workers=True)
            self._pool = None


def _begin(parent: int) -> None:
    """Make a process a worker, which ends with the process that started it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)  # the parent was killed, and the run may be resumed at any moment

    ignore_stops()
    threading.Thread(target=watch, daemon=True).start()


def _do(task: _Task, slot: int, index: int) -> None:
    """Do a job in a worker process."""
    if task.folder not in _received:
        _received.clear()
        _received[task.folder] = unpack((task.folder / _JOBS).read_bytes(), task.root)
    use_threads(task.threads)
    job, progress = _received[task.folder][index], slot_in(task.folder / f"{SLOT}{slot}")
    progress.begin()
    with threads_for(job):
        for amount in job.steps():
            progress.add(amount)
    progress.finish()
