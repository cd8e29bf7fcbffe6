"""Executor `slurm`, with the executors of submitit that need no SLURM."""

import gc
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_jobs import Copy, Failing, Flaky, NoRoom, Note, terms

from understudy.core.errors import InputError
from understudy.core.executors import slurm
from understudy.core.executors.alike import Demands
from understudy.core.executors.do import check_executor, clear, do_jobs
from understudy.core.files import read_json
from understudy.core.host_memory import ImageMemory
from understudy.core.registry import Registry

# The executors of submitit that need no SLURM leave files and pipes open.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def insiders(monkeypatch):
    """Although other tests have registered names."""
    monkeypatch.setattr(Registry, "has_outsiders", False)
    yield
    gc.collect()


@pytest.fixture
def cluster(monkeypatch):
    """Processes of this machine, which find the jobs of the tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setattr(slurm, "_cluster", "local")


@pytest.fixture
def this_process(monkeypatch):
    monkeypatch.setattr(slurm, "_cluster", "debug")
    monkeypatch.setattr(slurm, "use_threads", lambda number: None)


@pytest.mark.parametrize("kind", ["this_process", pytest.param("cluster", marks=pytest.mark.slow)])
def test_an_array_does_all_jobs(kind, request, tmp_path):
    request.getfixturevalue(kind)
    source, moved = tmp_path / "source", []
    source.write_text("read")
    jobs = [Copy(tmp_path / "run" / str(number), source=source) for number in range(5)]
    do_jobs(jobs, terms(tmp_path / "run", "slurm", workers=2), advance=moved.append)
    assert all(job.path.read_text().startswith("read ") for job in jobs)
    assert sum(moved) == 5
    assert not (tmp_path / "run" / "slurm").exists()


@pytest.mark.slow
def test_what_fails_is_submitted_again(cluster, tmp_path):
    jobs = [Flaky(tmp_path / "bad", times=2), Note(tmp_path / "good")]
    do_jobs(jobs, terms(tmp_path, "slurm", workers=2))
    assert all(job.is_done for job in jobs)


@pytest.mark.slow
def test_three_failures_stop_the_run_with_their_reason(cluster, tmp_path):
    jobs = [Note(tmp_path / "good"), Flaky(tmp_path / "bad", times=3)]
    with pytest.raises(InputError, match="OSError: .*No space left on device .for note bad; .*slurm/3"):
        do_jobs(jobs, terms(tmp_path, "slurm", workers=2))
    assert [job.is_done for job in jobs] == [True, False]
    assert not list(tmp_path.glob("slurm/*/array"))  # all of them have ended


@pytest.mark.slow
def test_an_error_of_the_input_is_not_tried_again(cluster, tmp_path):
    with pytest.raises(InputError, match=r"^lower compare.learning_rate \(for note failing; "):
        do_jobs([Failing(tmp_path / "failing")], terms(tmp_path, "slurm", workers=1))


def share_in(folder, **demands):
    """A task that does all jobs, whose node must have what this process has but for some changes."""
    wanted = replace(Demands.of(terms(folder)), **demands)
    memory = ImageMemory()
    return slurm._Share(folder=folder, root=folder, worker=0, of=1, threads=1, memory=memory, demands=wanted)


@pytest.mark.parametrize(
    ("demands", "message"),
    [
        ({"versions": {"timm": "0.1"}}, "has timm .*, but the run was started with 0.1"),
        ({"device": "cuda"}, "has no GPU that torch can use"),
        ({"needs": (Path("/missing/pipeline"),)}, "has no /missing/pipeline, which it would load"),
    ],
)
def test_a_node_that_is_not_alike_ends_the_run(demands, message, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "use_threads", lambda number: None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    job = Note(tmp_path / "note")
    (tmp_path / "jobs").write_bytes(slurm.pack([job], tmp_path))
    slurm._run(share_in(tmp_path, **demands))
    assert not job.is_done
    with pytest.raises(InputError, match=f"^the worker on node .* {message}.*for task 0; the output"):
        list(slurm._progress([], tmp_path))


@pytest.mark.parametrize(
    ("begins", "expected", "message"),
    [
        (False, 2, "no task of the SLURM jobs began: the nodes may not see .*slurm/2, or lack this version"),
        (True, 3, "SLURM has ended 3 arrays before note note was done"),
    ],
)
def test_arrays_that_end_without_a_word(begins, expected, message, tmp_path, monkeypatch):
    """If no task of two began, a third array would do no better."""
    submitted = []

    def submit(folder, jobs, terms):
        folder.mkdir(parents=True)
        submitted.append(folder)
        if begins:
            (folder / "began-0").write_text("n7")
        return [SimpleNamespace(done=lambda: True)]

    monkeypatch.setattr(slurm, "_submit", submit)
    with pytest.raises(InputError, match=message):
        do_jobs([Note(tmp_path / "note")], terms(tmp_path, "slurm", workers=1))
    assert len(submitted) == expected


def test_a_full_disk_of_a_node_is_not_the_end(tmp_path, monkeypatch):
    """It is told in words for users."""
    monkeypatch.setattr(slurm, "use_threads", lambda number: None)
    (tmp_path / "jobs").write_bytes(slurm.pack([NoRoom(tmp_path / "bad", times=1)], tmp_path))
    slurm._run(share_in(tmp_path))
    told = read_json(tmp_path / "failed-0")
    assert told == {"job": "note bad", "reason": "no space is left in /tmp", "is_final": False}


def test_a_task_that_slurm_puts_back_into_the_queue_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "use_threads", lambda number: None)
    jobs = [Note(tmp_path / str(number)) for number in range(3)]
    jobs[0].path.write_text("by the task before it was stopped")
    (tmp_path / "jobs").write_bytes(slurm.pack(jobs, tmp_path))
    slurm._run(share_in(tmp_path))
    assert all(job.is_done for job in jobs)
    assert jobs[0].path.read_text() == "by the task before it was stopped"


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        ({}, "needs --workers"),
        ({"workers": 1}, "needs the time limit of a SLURM job in minutes"),
        ({"workers": 1, "slurm": ("partition",)}, "compute.slurm needs NAME=VALUE, .*got 'partition'"),
        ({"workers": 1, "slurm": ("time=9",), "gpus_per_worker": 0.5}, "SLURM gives whole GPUs, got .*0.5"),
    ],
)
def test_wrong_settings(compute, message, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "_cluster", "debug")
    with pytest.raises(InputError, match=message):
        check_executor(terms(tmp_path, "slurm", **compute))


def test_a_parameter_that_slurm_does_not_know(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "_cluster", "debug")
    wrong = terms(tmp_path, "slurm", workers=1, slurm=("time=9", "nonsense=3"))
    with pytest.raises(InputError, match="SLURM does not take the jobs .*correct compute.slurm"):
        do_jobs([Note(tmp_path / "note")], wrong)


def test_a_machine_without_slurm(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="must be started where sbatch is"):
        check_executor(terms(tmp_path, "slurm", workers=1, slurm=("time=9",)))


def test_without_submitit(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'understudy\[slurm\]'"):
        check_executor(terms(tmp_path, "slurm", workers=1))


@pytest.fixture
def left(tmp_path):
    """The folder of an array of a process that was killed."""
    folder = tmp_path / "slurm"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "array").write_text("17_0\n17_1")
    return folder


def scancel_that_says(text, monkeypatch, folder):
    """Put a command scancel on the path that prints an error; returns the file with what it was asked."""
    (folder / "bin").mkdir()
    (folder / "said").write_text(text)
    command = folder / "bin" / "scancel"
    command.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\ncat {folder}/said >&2\nexit 1\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
    return folder / "asked"


def test_arrays_of_a_process_that_was_killed_are_ended(left, tmp_path, monkeypatch):
    """Whichever executor goes on."""
    calls = scancel_that_says(
        "scancel: error: Kill job error on job id 17_0: Invalid job id specified\n"
        "scancel: error: Kill job error on job id 17_1: Job/step already completing or completed\n",
        monkeypatch,
        tmp_path,
    )
    clear(tmp_path)
    assert calls.read_text() == "17_0 17_1\n"
    assert not left.exists()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("scancel: error: Unable to contact slurm controller\n", "slurm controller"),
        ("scancel: fatal: Could not establish a configuration source\n", "configuration source"),
        ("", "scancel ended with status 1"),
    ],
)
def test_arrays_that_slurm_does_not_end(said, told, left, tmp_path, monkeypatch):
    """They may still write to the run, so nothing is removed."""
    scancel_that_says(said, monkeypatch, tmp_path)
    with pytest.raises(InputError, match=f"17_0, 17_1.*{told}.* remove {left}"):
        clear(tmp_path)
    assert left.exists()


def test_arrays_that_cannot_be_ended_from_here(left, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=f"17_0.*17_1.*scancel is not on this machine.* remove {left}"):
        clear(tmp_path)
    assert left.exists()
    (left / "1" / "array").unlink()  # as when the process has seen the end of the array
    clear(tmp_path)
    assert not left.exists()
