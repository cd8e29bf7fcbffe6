"""SIGTERM stops as Ctrl-C does."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from understudy.core.stop import TerminatedError, stopped_by_sigterm


@pytest.fixture(autouse=True)
def _plain_handler():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_raises_once_and_only_in_the_block():
    with stopped_by_sigterm():
        pass
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(TerminatedError), stopped_by_sigterm():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # while the first one is being heeded


def test_a_second_signal_ends_a_process_whose_cleaning_up_hangs():
    code = """
import time
from understudy.core import stop
stop._GRACE = 0.1

def wait():
    for _ in range(600):
        time.sleep(0.1)  # a signal just before a call would be heeded after it only

with stop.stopped_by_sigterm():
    try:
        print("running", flush=True)
        wait()
    finally:
        print("cleaning up", flush=True)
        wait()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        for expected in ("running", "cleaning up"):
            assert process.stdout.readline().strip() == expected
            time.sleep(0.2 if expected == "cleaning up" else 0)
            process.terminate()
        assert process.wait(timeout=30) == -signal.SIGTERM


def test_a_process_that_ignores_sigterm_goes_on_ignoring_it():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with stopped_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_other_threads_set_no_handler():
    found = []

    def look():
        with stopped_by_sigterm():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]
