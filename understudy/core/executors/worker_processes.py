"""Executor ``processes``: jobs in processes of this machine, one per core or per GPU."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import psutil

from understudy.core.device_memory import release
from understudy.core.errors import InputError
from understudy.core.executors.dispatch import ATTEMPTS, dispatch
from understudy.core.executors.executor import EXECUTORS, Terms, check_names_known
from understudy.core.executors.job import Job
from understudy.core.executors.packing import pack, unpack
from understudy.core.executors.progress_slots import SLOT, slot_in, total_of, work
from understudy.core.host_memory import ImageMemory, free_host_bytes
from understudy.core.registry import Registry
from understudy.core.settings import ComputeSettings
from understudy.core.stop import ignore_stops
from understudy.core.threads import num_cores, num_threads, use_threads

_IDLE = 60  # seconds after which a process without work ends; stages that follow each other share processes
_FOLDER = ".workers-"  # beginning of the name of the folder with jobs and progress, in that of the run
_JOBS = "jobs"  # name of the file with the packed jobs
_received: dict[Path, Sequence[Job]] = {}
"""In a worker: the jobs that it was sent last, by the folder that they came in."""


@EXECUTORS.register("processes", summary="workers on this machine: one per core of a CPU, or one per GPU")
@final
class WorkerProcesses:
    """Worker processes."""

    def check(self, terms: Terms) -> None:
        """Check that there are as many cores or GPUs as workers."""
        num_workers(terms.compute, terms.device)

    def clear(self, root: Path) -> None:
        """Remove folders with packed jobs; workers end by themselves when their parent is killed."""
        for left in root.glob(f"{_FOLDER}*"):
            shutil.rmtree(left, ignore_errors=True)

    def do(self, jobs: Sequence[Job], terms: Terms) -> Generator[int, None, None]:
        yield from in_processes(jobs, terms, num_workers(terms.compute, terms.device))


def num_trainers(wanted: int | None, device: str) -> int:
    """Number of processes for trainings with one thread; 1 means that this process does them.

    Without a number, it is one per thread of torch, as far as memory allows. On other devices than the CPU,
    and if code outside the package has registered names, which a new process would not know, there is only
    this process.
    """
    if device != "cpu" or Registry.has_outsiders:
        return 1
    return wanted or max(1, min(num_threads(), _room()))


def num_workers(compute: ComputeSettings, device: str) -> int:
    """Number of worker processes: ``compute.workers``, or one per GPU, or as many as cores and memory allow.

    Raises:
        InputError: if there are fewer cores or GPUs, or another process could not do the work at all.
    """
    check_names_known()
    if device == "cuda":
        there = have = len(visible_gpus())
        kind = "GPUs"
        number = compute.workers or there
    elif device == "cpu":
        have, threads = num_cores(), compute.threads or 1
        there, kind = have // threads, f"times {threads} cores"
        number = compute.workers or max(1, min(there, _room()))
    else:
        raise InputError(
            f"workers share the GPUs of this machine, but the device is {device!r}: give --device cuda or "
            "cpu, or --executor local"
        )
    if not 0 < number <= there:
        raise InputError(
            f"{number} workers need {number} {kind}, but this process may use {have}: give fewer --workers"
        )
    return number


def _room() -> int:
    """Processes for which there is memory, if each needs as much as this one."""
    return int(free_host_bytes() // psutil.Process().memory_info().rss)


def visible_gpus() -> list[str]:
    """The names by which this process may give each GPU that it sees to another process."""
    import torch  # slow to import; commands that only list names do not need it

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]


def in_processes(jobs: Sequence[Job], terms: Terms, number: int) -> Generator[int, None, None]:
    """Do the jobs in ``number`` processes; the first progress, 0, tells that they have started."""
    gpus = visible_gpus() if terms.device == "cuda" else [""] * number
    terms.root.mkdir(parents=True, exist_ok=True)
    WorkerProcesses().clear(terms.root)
    with tempfile.TemporaryDirectory(dir=terms.root, prefix=_FOLDER, ignore_cleanup_errors=True) as folder:
        Path(folder, _JOBS).write_bytes(pack(jobs, terms.root))
        threads = terms.compute.threads or max(1, num_cores() // number)
        memory = ImageMemory(terms.memory, number)
        task = _Task(folder=Path(folder), root=terms.root, threads=threads, memory=memory)
        workers = [_WorkerProcess.get(slot, gpus[slot], task) for slot in range(min(number, len(jobs)))]
        try:
            yield from dispatch(jobs, workers, lambda: total_of(task.folder))
            for worker in workers:
                worker.rest()
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
        memory: of each worker, for decoded images.
    """

    folder: Path
    root: Path
    threads: int
    memory: ImageMemory


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
        try:
            return self._submit(_do, self.task, self._slot, index)
        except BrokenExecutor:  # it died while it waited
            self.stop()
            return self._submit(_do, self.task, self._slot, index)

    def _submit(self, function: Any, *arguments: Any) -> Future[None]:
        if self._pool is None:
            from loky import ProcessPoolExecutor  # slow to import; only workers need it

            env = {"CUDA_VISIBLE_DEVICES": self._gpu} if self._gpu else {}
            self._pool = ProcessPoolExecutor(
                1, timeout=_IDLE, initializer=begin_worker, initargs=(os.getpid(),), env=env
            )
        future: Future[None] = self._pool.submit(function, *arguments)
        return future

    def finish(self, index: int, result: None) -> None:
        """Nothing is left to do: the files are in the run folder."""

    def recover(self, error: BaseException) -> int:
        if isinstance(error, BrokenExecutor):
            self.stop()
        return 1

    def rest(self) -> None:
        """Let the process give back the memory that the jobs took, until others come."""
        try:
            self._submit(_rest)
        except BrokenExecutor:
            self.stop()

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self._pool is not None:
            self._pool.shutdown(kill_workers=True)
            self._pool = None


def begin_worker(parent: int) -> None:
    """Make a process a worker, which ends with the process that started it."""

    def watch() -> None:
        while os.getppid() == parent and psutil.pid_exists(parent):
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
    task.memory.use()
    try:
        work(_received[task.folder][index], slot_in(task.folder / f"{SLOT}{slot}"))
    except Exception as error:
        if _can_travel(error):
            raise
        raise RuntimeError(f"{type(error).__name__}: {error}") from None


def _can_travel(error: Exception) -> bool:
    """Whether another process can read an error; those of some libraries need arguments that pickle drops."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    except Exception:  # noqa: BLE001 - whatever their constructors raise
        return False
    return True


def _rest() -> None:
    """Give back the memory of a worker process."""
    _received.clear()
    release()
