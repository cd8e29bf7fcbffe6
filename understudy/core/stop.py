"""SIGTERM, which batch systems, containers and ``timeout`` send, stops a command as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_GRACE = 2.0  # seconds; `timeout` sends the signal twice in a row


class TerminatedError(KeyboardInterrupt):
    """SIGTERM; libraries end what they have started, as they do for Ctrl-C."""

    exit_code = 128 + signal.SIGTERM


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """In the block, SIGTERM raises :class:`TerminatedError`, unless the process ignores the signal.

    Without this, the process would end at once and leave its worker processes behind. A second SIGTERM, two
    seconds or more after the first, ends a process whose cleaning up hangs.
    """
    is_main = threading.current_thread() is threading.main_thread()  # only this thread may set a handler
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _stop:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ignore_stops() -> None:
    """Leave Ctrl-C and SIGTERM to the process that started this one, which then ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _stop(number: int, frame: object) -> NoReturn:
    first = time.monotonic()

    def again(number: int, frame: object) -> None:
        if time.monotonic() - first >= _GRACE:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, again)
    raise TerminatedError
