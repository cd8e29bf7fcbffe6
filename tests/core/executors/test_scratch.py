"""Folders that vanish with their process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from understudy.core.executors.scratch import Scratch

MAKE_ONE = """
import time
from understudy.core.executors.scratch import Scratch
scratch = Scratch()
(scratch.path / "part").write_text("0")
print(scratch.path, flush=True)
time.sleep(60)
"""


def wait_until(is_so):
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def removers_of(path):
    """Processes that wait to remove a folder."""
    return [one for one in psutil.process_iter(["cmdline"]) if str(path) in (one.info["cmdline"] or ())]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="stays on Windows")
def test_a_folder_vanishes_when_its_process_is_killed(temporary):
    with subprocess.Popen([sys.executable, "-c", MAKE_ONE], stdout=subprocess.PIPE, text=True) as process:
        path = Path(process.stdout.readline().strip())
        assert (path / "part").exists()
        assert not psutil.Process(process.pid).children()
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not path.exists())
    assert not list(temporary.iterdir())


def test_a_folder_that_is_removed_leaves_no_process(temporary):
    scratch, other = Scratch(), Scratch()
    (scratch.path / "deep").mkdir()
    scratch.remove()
    assert list(temporary.iterdir()) == [other.path]
    wait_until(lambda: not removers_of(scratch.path))
    assert other.path.is_dir()
    other.remove()
    scratch.remove()  # a second time does no harm
