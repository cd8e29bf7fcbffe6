"""One process at a time writes to a folder, on every system that Python runs on."""

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from understudy.core import lock as lock_module
from understudy.core.errors import InputError
from understudy.core.lock import FolderLock
from understudy.pipeline.folder import RunFolder
from understudy.settings import build

HOLD = """
import sys
from pathlib import Path
from understudy.core.lock import FolderLock

with FolderLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

FORK = """
import os, sys, time
from pathlib import Path
from understudy.core.lock import FolderLock

FolderLock(Path(sys.argv[1])).take()
if not os.fork():
    print(os.getpid(), flush=True)  # printed by the child, so that it has let go of the lock by then
    time.sleep(600)
input()
"""

WITHOUT_UNIX = """
import os, sys
from pathlib import Path

import torch  # the libraries know their system; only our own imports are tested

for name in ("fcntl", "resource", "msvcrt"):
    sys.modules[name] = None
for name in ("register_at_fork", "O_NOFOLLOW"):
    delattr(os, name)
from understudy.core.lock import FolderLock
from understudy.core.provenance import peak_memory_gb

with FolderLock(Path(sys.argv[1])) as lock:
    lock.take()
print(peak_memory_gb(), list(Path(sys.argv[1]).iterdir()))
"""


class FakeMsvcrt:
    """Locks bytes as Windows does: a second open file gets a permission error."""

    LK_NBLCK = 2

    def __init__(self):
        self.places = {}

    def locking(self, handle, mode, length):
        node = os.fstat(handle).st_ino
        assert os.lseek(handle, 0, os.SEEK_CUR) > 1000, "the name of the holder must stay readable"
        if node in self.places:
            raise PermissionError(errno.EACCES, "Permission denied")
        self.places[node] = length


@contextmanager
def held_elsewhere(folder):
    """Another process that holds a folder; it can be killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_is_one_process_s(tmp_path):
    with held_elsewhere(tmp_path) as process:
        who = (
            f"{tmp_path} is in use by process {process.pid} on {platform.node()}: wait until it has ended, "
            "or work in another folder"
        )
        with pytest.raises(InputError, match=who), FolderLock(tmp_path):
            pass
        process.kill()
        process.wait()
        assert (tmp_path / ".lock").exists(), "a killed process cannot tidy up"
        assert not RunFolder.check(tmp_path, build({"data": {"source": "digits"}}))
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
            [sys.executable, "-c", HOLD, str(tmp_path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
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
    with pytest.raises(
        InputError,
        match=r"cannot write the lock file .*\.lock \(Is a directory\): remove it",
    ):
        FolderLock(tmp_path).take()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # a folder that can be read alone
    with FolderLock(tmp_path):
        assert (tmp_path / ".lock").is_dir()


def test_a_worker_that_outlives_its_killed_parent_holds_nothing(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", FORK, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        child = int(process.stdout.readline())
        try:
            process.kill()
            process.wait()
            with FolderLock(tmp_path):
                assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} ")
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.slow
def test_without_fcntl_and_resource_the_package_imports_and_says_that_it_cannot_lock(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_UNIX, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "None []\n"
    assert (
        f"this system cannot lock files: make sure that no other process writes to {tmp_path}" in done.stderr
    )


def test_windows_locks_by_msvcrt(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "fcntl", None)
    monkeypatch.setattr(lock_module, "msvcrt", FakeMsvcrt())
    with FolderLock(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"process {os.getpid()} on {platform.node()}"
        monkeypatch.setattr(FolderLock, "_held", {})  # as another process would find it
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} on"):
            FolderLock(tmp_path).take()
        monkeypatch.undo()
        monkeypatch.setattr(lock_module, "fcntl", None)
    assert not list(tmp_path.iterdir())
