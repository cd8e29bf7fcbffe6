"""Executor ``slurm``: jobs in an array of SLURM jobs, through submitit.

Each task of the array does a share of the jobs, and leaves out what is done already: SLURM may stop it and
put it into the queue again at any time. The run folder must be on a file system that all nodes see.
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from understudy.core.errors import InputError, first_line
from understudy.core.executors.dispatch import ATTEMPTS
from understudy.core.executors.executor import EXECUTORS, Terms, check_names_known
from understudy.core.executors.job import Job, threads_for
from understudy.core.executors.packing import pack, unpack
from understudy.core.executors.progress_slots import SLOT, slot_in, total_of
from understudy.core.files import read_json, write_json
from understudy.core.threads import use_threads, wait_passively

_JOBS = "jobs"  # name of the file with the packed jobs
_LOOK = 5.0  # seconds between two looks at the array
_FAILED = "failed-"  # beginning of the names of files in which tasks tell why they failed
_cluster: str | None = None
"""Tests run the array in processes of this machine; None for SLURM."""


@EXECUTORS.register("slurm", summary="an array of SLURM jobs on a shared file system (extra `slurm`)")
def slurm(jobs: Sequence[Job], terms: Terms) -> Generator[int, None, None]:
    """Submit an array and wait for it; what failed is submitted again, three times at most."""
    submitit, folder = _submitit(terms), terms.root / "slurm"
    waiting = list(jobs)
    for attempt in range(ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / _JOBS).write_bytes(pack(waiting, terms.root))
        tasks = _submit(submitit, folder, waiting, terms)
        terms.say(f"slurm: {len(tasks)} jobs submitted; their output is in {folder}")
        try:
            yield from _progress(tasks, folder)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        failures = [read_json(path) for path in sorted(folder.glob(f"{_FAILED}*"))]
        waiting = [job for job in waiting if not job.is_done]
        if not waiting:
            shutil.rmtree(folder)
            return
        if attempt == ATTEMPTS - 1 or any(failure["is_final"] for failure in failures):
            raise InputError(_explanation(failures, waiting, folder))
        terms.say(f"slurm: {len(waiting)} of {len(jobs)} jobs are missing, tried again")


def _progress(tasks: Sequence[Any], folder: Path) -> Generator[int, None, None]:
    """Wait for the tasks; yields progress."""
    reported, is_done = 0, False
    while not is_done:
        is_done = all(task.done() for task in tasks)
        reached = max(reported, total_of(folder))
        yield reached - reported
        reported = reached
        if not is_done:
            time.sleep(_LOOK if _cluster is None else 0.1)


def _explanation(failures: Sequence[Mapping[str, Any]], missing: Sequence[Job], folder: Path) -> str:
    """Why jobs are missing; a task that SLURM itself ends, for time or memory, says nothing."""
    if failures:
        reason = f"{failures[0]['reason']} (for {failures[0]['job']}"
    else:
        reason = f"SLURM ended the jobs before {missing[0].name} was done (after three attempts"
    return f"{reason}; the output of the SLURM jobs is in {folder})"


def _submitit(terms: Terms) -> Any:
    check_names_known()
    if importlib.util.find_spec("submitit") is None:
        raise InputError("--executor slurm needs submitit: pip install 'understudy[slurm]'")
    if terms.compute.workers is None:
        raise InputError("--executor slurm needs --workers, the number of SLURM jobs side by side")
    if _cluster is None and shutil.which("sbatch") is None:
        raise InputError("--executor slurm must be started where sbatch is, such as on a login node")
    import submitit  # slow to import, and missing in most installations

    return submitit


def _submit(submitit: Any, folder: Path, jobs: Sequence[Job], terms: Terms) -> list[Any]:
    """Submit one task per worker; worker I does every job whose number leaves the rest I."""
    number = min(terms.compute.workers or 1, len(jobs))
    executor = submitit.AutoExecutor(folder=folder, cluster=_cluster)
    has_gpu = jobs[0].device.startswith("cuda")
    threads = terms.compute.threads or 1
    try:
        executor.update_parameters(
            name="understudy",
            cpus_per_task=threads,
            gpus_per_node=round(terms.compute.gpus_per_worker) if has_gpu else 0,
            **_further(terms.compute.slurm),
        )
        shares = [
            _Share(folder=folder, root=terms.root, worker=worker, of=number, threads=threads)
            for worker in range(number)
        ]
        submitted: list[Any] = executor.map_array(_run, shares)
    except (ValueError, TypeError, NameError, submitit.core.utils.FailedJobError) as error:
        raise InputError(
            f"SLURM does not take the jobs ({first_line(error)}): correct compute.slurm, such as "
            "partition=gpu,time=240"
        ) from error
    return submitted


def _further(texts: Sequence[str]) -> dict[str, Any]:
    """Parameters of submitit from ``partition=gpu`` and the like."""
    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise InputError(f"compute.slurm needs NAME=VALUE, such as partition=gpu, got {text!r}")
        found[f"slurm_{name}"] = int(value) if value.isdecimal() else value
    return found


@final
@dataclass(frozen=True, kw_only=True)
class _Share:
    """The part of the jobs that one task does.

    Attributes:
        folder: holds the packed jobs and the progress of each task.
        root: folder of the run.
        worker, of: number of the task, and of all tasks.
        threads: of the task.
    """

    folder: Path
    root: Path
    worker: int
    of: int
    threads: int


def _run(share: _Share) -> None:
    """Do a share of the jobs on a node."""
    wait_passively()
    use_threads(share.threads)
    path = share.folder / f"{SLOT}{share.worker}"
    progress = slot_in(path)
    for job in unpack((share.folder / _JOBS).read_bytes(), share.root)[share.worker :: share.of]:
        if job.is_done:  # by this task, before SLURM stopped it
            continue
        progress.begin()
        try:
            with threads_for(job):
                for amount in job.steps():
                    progress.add(amount)
        except Exception as error:
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            told = {"job": job.name, "reason": reason, "is_final": isinstance(error, InputError)}
            write_json(share.folder / f"{_FAILED}{share.worker}", told)
            raise
        progress.finish()
