"""Executor ``slurm``: jobs in an array of SLURM jobs, through submitit.

Each task of the array does a share of the jobs, and leaves out what is done already: SLURM may stop it and
put it into the queue again at any time. The run folder must be on a file system that all nodes see::

    DIR/slurm/N/      the packed jobs of submission N, the output of its tasks, and why jobs failed
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from understudy.core.errors import InputError, first_line
from understudy.core.executors.alike import Demands
from understudy.core.executors.dispatch import ATTEMPTS, is_final
from understudy.core.executors.executor import EXECUTORS, Terms, check_names_known
from understudy.core.executors.job import Job
from understudy.core.executors.packing import pack, unpack
from understudy.core.executors.progress_slots import SLOT, slot_in, total_of, work
from understudy.core.files import read_json, write_json, write_text
from understudy.core.host_memory import ImageMemory
from understudy.core.listing import listed
from understudy.core.threads import use_threads, wait_passively

_FOLDER = "slurm"  # name of the folder of all submissions, in that of the run
_JOBS = "jobs"  # name of the file with the packed jobs
_IDS = "array"  # name of the file with the numbers of the SLURM jobs
_FAILED = "failed-"  # beginning of the names of files in which tasks tell why jobs failed
_BEGAN = "began-"  # beginning of the names of files in which tasks note their node at their start
_WITHOUT_BEGIN = 2  # arrays of which no task begins stop the run; one can have a bad node
_HAS_ENDED = ("Invalid job id", "already completing or completed")  # what scancel says of such jobs
_LOOK = 5.0  # seconds between two looks at the array
_cluster: str | None = None
"""Tests run the array in processes of this machine; None for SLURM."""


@EXECUTORS.register("slurm", summary="an array of SLURM jobs on a shared file system (extra `slurm`)")
@final
class Slurm:
    """An array of SLURM jobs."""

    def check(self, terms: Terms) -> None:
        """Check the settings, and that SLURM is here."""
        check_names_known()
        if importlib.util.find_spec("submitit") is None:
            raise InputError("--executor slurm needs submitit: pip install 'understudy[slurm]'")
        if terms.compute.workers is None:
            raise InputError("--executor slurm needs --workers, the number of SLURM jobs side by side")
        if "slurm_time" not in _further(terms.compute.slurm):
            raise InputError(
                "--executor slurm needs the time limit of a SLURM job in minutes, as in --set "
                '"compute.slurm=[time=240,partition=gpu]"'
            )
        if terms.compute.gpus_per_worker != int(terms.compute.gpus_per_worker):
            raise InputError(
                f"SLURM gives whole GPUs, got --gpus-per-worker {terms.compute.gpus_per_worker:g}: give 1"
            )
        if _cluster is None and shutil.which("sbatch") is None:
            raise InputError("--executor slurm must be started where sbatch is, such as on a login node")

    def clear(self, root: Path) -> None:
        """End arrays, because two tasks must not write one file."""
        folder = root / _FOLDER
        numbers = [
            number
            for ids in sorted(folder.glob(f"*/{_IDS}"))
            for number in ids.read_text(encoding="utf-8").split()
        ]
        if numbers and _cluster is None:
            if shutil.which("scancel") is None:
                raise InputError(
                    f"SLURM jobs that an earlier command started may still write to {root} "
                    f"({listed(numbers)}), and scancel is not on this machine: go on where it is, or end "
                    f"them there and remove {folder}"
                )
            _end(numbers, folder)
        shutil.rmtree(folder, ignore_errors=True)

    def do(self, jobs: Sequence[Job], terms: Terms) -> Generator[int, None, None]:
        """Submit an array and wait for it; what is missing is submitted again, while something gets done."""
        self.clear(terms.root)
        waiting, attempts, without_begin, number = list(jobs), 0, 0, 0
        while waiting:
            number += 1
            folder = terms.root / _FOLDER / str(number)
            tasks = _submit(folder, waiting, terms)
            terms.say(f"slurm: {len(tasks)} jobs submitted; their output is in {folder}")
            try:
                yield from _progress(tasks, folder)
            except BaseException:
                _cancel(tasks, folder)
                raise
            (folder / _IDS).unlink(missing_ok=True)  # nothing of it is left to be ended
            missing = [job for job in waiting if not job.is_done]
            has_begun = len(missing) < len(waiting) or bool(list(folder.glob(f"{_BEGAN}*")))
            without_begin = 0 if has_begun else without_begin + 1
            if without_begin == _WITHOUT_BEGIN:
                raise InputError(
                    f"no task of the SLURM jobs began: the nodes may not see {folder}, or lack this version "
                    "of understudy; see the output of the tasks there"
                )
            attempts = attempts + 1 if len(missing) == len(waiting) else 1
            failures = _failures(folder)
            if missing and (attempts == ATTEMPTS or any(each["is_final"] for each in failures)):
                raise InputError(_explanation(failures, missing, folder))
            waiting = missing
        shutil.rmtree(terms.root / _FOLDER, ignore_errors=True)


def _end(numbers: Sequence[str], folder: Path) -> None:
    """End jobs of an earlier command; those that have ended already are no error."""
    done = subprocess.run(["scancel", *numbers], check=False, capture_output=True, text=True)
    said = done.stderr.splitlines()
    errors = [line for line in said if line.strip() and not any(told in line for told in _HAS_ENDED)]
    if done.returncode and not said:
        errors = [f"scancel ended with status {done.returncode}"]
    if errors:
        raise InputError(
            f"SLURM could not end jobs of an earlier command ({listed(numbers)}), which may still write to "
            f"{folder.parent}: {errors[0]}. Try again, or end them and remove {folder}"
        )


def _cancel(tasks: Sequence[Any], folder: Path) -> None:
    """End all tasks; the list of their numbers stays if one of them could not be ended."""
    are_ended = True
    for task in tasks:
        try:
            task.cancel()
        except Exception:  # noqa: BLE001 - the error that ends the run is told, and the others are ended too
            are_ended = False
    if are_ended:
        (folder / _IDS).unlink(missing_ok=True)


def _submit(folder: Path, jobs: Sequence[Job], terms: Terms) -> list[Any]:
    """Submit one task per worker; worker I does every job whose number leaves the rest I."""
    import submitit  # slow to import, and missing in most installations

    folder.mkdir(parents=True)
    (folder / _JOBS).write_bytes(pack(jobs, terms.root))
    number, threads = min(terms.compute.workers or 1, len(jobs)), terms.compute.threads or 1
    first = _Share(
        folder=folder,
        root=terms.root,
        worker=0,
        of=number,
        threads=threads,
        memory=ImageMemory(terms.memory),
        demands=Demands.of(terms),
    )
    shares = [replace(first, worker=worker) for worker in range(number)]
    gpus = int(terms.compute.gpus_per_worker) if terms.device.startswith("cuda") else 0
    executor = submitit.AutoExecutor(folder=folder, cluster=_cluster)
    try:
        executor.update_parameters(
            name="understudy", cpus_per_task=threads, gpus_per_node=gpus, **_further(terms.compute.slurm)
        )
        tasks: list[Any] = executor.map_array(_run, shares)
    except (ValueError, TypeError, NameError, submitit.core.utils.FailedJobError) as error:
        raise InputError(
            f"SLURM does not take the jobs ({first_line(error)}): correct compute.slurm, such as "
            "[time=240,partition=gpu]"
        ) from error
    write_text(folder / _IDS, "\n".join(str(task.job_id) for task in tasks))
    return tasks


def _further(texts: Sequence[str]) -> dict[str, Any]:
    """Parameters of submitit from ``partition=gpu`` and the like."""
    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise InputError(f"compute.slurm needs NAME=VALUE, such as partition=gpu, got {text!r}")
        found[f"slurm_{name}"] = int(value) if value.isdecimal() else value
    return found


def _progress(tasks: Sequence[Any], folder: Path) -> Generator[int, None, None]:
    """Wait for the tasks; yields progress.

    Raises:
        InputError: that of a job, at once.
    """
    reported, is_done = 0, False
    while not is_done:
        is_done = all(task.done() for task in tasks)
        reached = max(reported, total_of(folder))
        yield reached - reported
        reported = reached
        failures = _failures(folder)
        if any(each["is_final"] for each in failures):
            raise InputError(_explanation(failures, (), folder))
        if not is_done:
            time.sleep(_LOOK if _cluster is None else 0.1)


def _failures(folder: Path) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted(folder.glob(f"{_FAILED}*"))]


def _explanation(failures: Sequence[Mapping[str, Any]], missing: Sequence[Job], folder: Path) -> str:
    """Why jobs are missing; a task that SLURM itself ends, for time or memory, says nothing."""
    if failures:
        told = min(failures, key=lambda failure: not failure["is_final"])
        return f"{told['reason']} (for {told['job']}; the output of the SLURM jobs is in {folder})"
    return (
        f"SLURM has ended {ATTEMPTS} arrays before {missing[0].name} was done: see their output in {folder}; "
        "time or memory may be too short"
    )


@final
@dataclass(frozen=True, kw_only=True)
class _Share:
    """The part of the jobs that one task does.

    Attributes:
        folder: holds the packed jobs and the progress of each task.
        root: folder of the run.
        worker, of: number of the task, and of all tasks.
        threads: of the task.
        memory: of the task, for decoded images.
        demands: what its node must have.
    """

    folder: Path
    root: Path
    worker: int
    of: int
    threads: int
    memory: ImageMemory
    demands: Demands


def _run(share: _Share) -> None:
    """Do a share of the jobs on a node; a job that fails does not keep the others from being done."""
    wait_passively()
    use_threads(share.threads)
    share.memory.use()
    write_text(share.folder / f"{_BEGAN}{share.worker}", platform.node())
    try:
        share.demands.check([share.demands.found_here()])
    except InputError as error:
        _tell(share.folder, f"task-{share.worker}", f"task {share.worker}", error)
        return
    progress = slot_in(share.folder / f"{SLOT}{share.worker}")
    jobs = unpack((share.folder / _JOBS).read_bytes(), share.root)
    for index in range(share.worker, len(jobs), share.of):
        if jobs[index].is_done:  # by this task, before SLURM stopped it
            continue
        try:
            work(jobs[index], progress)
        except Exception as error:  # noqa: BLE001 - told by the process that waits
            _tell(share.folder, str(index), jobs[index].name, error)


def _tell(folder: Path, name: str, job: str, error: Exception) -> None:
    """Tell why a job failed."""
    reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    told = {"job": job, "reason": reason, "is_final": is_final(error)}
    write_json(folder / f"{_FAILED}{name}", told)
