"""SIGTERM stops as Ctrl-C does."""

import os
import signal
import threading

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
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


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
