import errno
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from understudy.core.errors import InputError
from understudy.core.files import write_arrays, write_atomically, write_text
from understudy.core.lock import FolderLock
from understudy.core.provenance import environment
from understudy.pipeline.folder import RunFolder
from understudy.settings import build

SETTINGS = build({"data": {"source": "digits"}})


def test_a_new_folder_is_made_and_found(tmp_path):
    RunFolder.open(tmp_path / "run", SETTINGS)
    assert RunFolder.find(tmp_path / "run").settings == SETTINGS


def test_checking_writes_nothing(tmp_path):
    assert not RunFolder.check(tmp_path / "run", SETTINGS)
    assert not (tmp_path / "run").exists()


def test_other_settings_are_named_and_refused(tmp_path):
    RunFolder.open(tmp_path, SETTINGS)
    with pytest.raises(InputError, match=r"draw.times: 1.0 in the folder, 4.0 now"):
        RunFolder.open(tmp_path, build({"data": {"source": "digits"}, "draw": {"times": 4}}))
    assert RunFolder.find(tmp_path).settings == SETTINGS


def test_resume_never_and_always(tmp_path):
    with pytest.raises(InputError, match="holds no run to go on with"):
        RunFolder.open(tmp_path / "run", SETTINGS, resume="always")
    RunFolder.open(tmp_path / "run", SETTINGS)
    RunFolder.open(tmp_path / "run", SETTINGS, resume="always")
    with pytest.raises(InputError, match="already holds a run"):
        RunFolder.open(tmp_path / "run", SETTINGS, resume="never")


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match="is not an empty folder and holds no run"):
        RunFolder.open(tmp_path, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_finding_nothing_says_how_to_start(tmp_path):
    with pytest.raises(InputError, match="start one with 'understudy run DATA"):
        RunFolder.find(tmp_path)


def test_a_stage_is_recorded_only_when_it_ends_well(tmp_path):
    folder = RunFolder.open(tmp_path, SETTINGS)
    with pytest.raises(RuntimeError), folder.stage("draw") as record:
        record["images"] = 3
        raise RuntimeError
    assert folder.record("draw") is None
    with folder.stage("draw") as record:
        record["images"] = 4
    assert folder.record("draw")["images"] == 4
    assert folder.record("draw")["seconds"] >= 0


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"


def test_the_environment_is_json():
    json.dumps(environment("cpu"))


HOLD = """
import sys
from pathlib import Path
from understudy.runs import FolderLock

with FolderLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

FORK = """
import os, sys, time
from pathlib import Path
from understudy.runs import FolderLock

FolderLock(Path(sys.argv[1])).take()
child = os.fork()
if not child:
    time.sleep(600)
print(child, flush=True)
input()
"""


@contextmanager
def held_elsewhere(folder):
    """Another process that holds a folder; it can be killed."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_is_one_process_s(tmp_path):
    with held_elsewhere(tmp_path) as process:
        who = f"{tmp_path} is in use by process {process.pid} on {platform.node()}: wait until it has ended, or work in another folder"
        with pytest.raises(InputError, match=who), FolderLock(tmp_path):
            pass
        process.kill()
        process.wait()
        assert (tmp_path / ".lock").exists(), "a killed process cannot tidy up"
        assert not RunFolder.check(tmp_path, SETTINGS)
        with FolderLock(tmp_path):
            assert (tmp_path / ".lock").read_text() == f"process {os.getpid()} on {platform.node()}"
    assert not list(tmp_path.iterdir())


def test_a_lock_is_kept_until_the_last_block_ends(tmp_path):
    other = tmp_path / ".." / tmp_path.name
    with FolderLock(tmp_path):
        with FolderLock(other) as lock:
            lock.take()
        assert (tmp_path / ".lock").exists()
        done = subprocess.run(
            [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert f"in use by process {os.getpid()}" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_locked_when_it_is_made(tmp_path):
    with FolderLock(tmp_path / "run") as lock:
        assert not (tmp_path / "run").exists()
        lock.take()
        assert (tmp_path / "run" / ".lock").exists()
    assert not list((tmp_path / "run").iterdir())


def test_where_nothing_can_be_locked_work_goes_on(tmp_path, monkeypatch):
    def unknown(handle, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unknown)
    with FolderLock(tmp_path), FolderLock(tmp_path):
        assert not list(tmp_path.iterdir())


def test_a_lock_that_was_just_removed_is_not_taken_for_one(tmp_path, monkeypatch):
    flock, removed = fcntl.flock, []

    def as_the_holder_ends(handle, how):
        if not removed:
            removed.append((tmp_path / ".lock").unlink())
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", as_the_holder_ends)
    with FolderLock(tmp_path):
        assert removed == [None]
        assert (tmp_path / ".lock").exists()


def test_what_cannot_be_opened_is_no_lock(tmp_path, monkeypatch):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(InputError, match=r"\.lock, which keeps other processes out, cannot be written \(Is a directory\): remove it"):
        FolderLock(tmp_path).take()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # a folder that can be read alone
    with FolderLock(tmp_path):
        assert (tmp_path / ".lock").is_dir()


def test_a_worker_that_outlives_its_killed_parent_holds_nothing(tmp_path):
    with subprocess.Popen([sys.executable, "-c", FORK, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        try:
            process.kill()
            process.wait()
            with FolderLock(tmp_path):
                assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} ")
        finally:
            os.kill(child, signal.SIGKILL)


def test_arrays_come_back_whatever_their_names(tmp_path):
    arrays = {"file": np.arange(3), "allow_pickle": np.array([True]), "mixed@refresh": np.array(1.5), "text": np.array("{}")}
    write_arrays(tmp_path / "some.npz", arrays)
    with np.load(tmp_path / "some.npz") as loaded:
        assert {name: loaded[name].tolist() for name in loaded} == {name: values.tolist() for name, values in arrays.items()}
    assert [path.name for path in tmp_path.iterdir()] == ["some.npz"]
