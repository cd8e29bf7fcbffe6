"""Folders for temporary files that vanish with the process that made them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import final

_REMOVE_AT_END_OF_INPUT = """
import os, shutil, sys
if os.fork() == 0:
    sys.stdin.buffer.read()
    shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


@final
class Scratch:
    """A folder that is removed when this process ends, however it ends.

    A process of its own waits for that at a pipe, whose other end this process holds (and those that it forks
    without another program, so that the folder waits for these too). It is no child of
    this one, so that nothing which ends children ends it too. Windows has no such processes: there, the
    folder of a process that was killed stays.

    Attributes:
        path: the folder.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="understudy-"))
        self._process: subprocess.Popen[bytes] | None = None
        if hasattr(os, "fork"):
            self._process = subprocess.Popen(
                [sys.executable, "-c", _REMOVE_AT_END_OF_INPUT, str(self.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._process.wait()  # it ends at once, and leaves its child to the system

    def remove(self) -> None:
        """Remove the folder now."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
