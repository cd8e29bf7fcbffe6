"""Jobs that processes of their own can import."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from understudy.core.errors import InputError


@dataclass
class Note:
    """Writes the number of its process, in three steps."""

    path: Path
    seconds: float = 0.0
    device: str = "cpu"

    @property
    def is_done(self):
        return self.path.exists()

    def steps(self):
        for _ in range(3):
            time.sleep(self.seconds / 3)
            yield 1
        self.path.write_text(str(os.getpid()))


@dataclass
class Failing(Note):
    """Finds that a setting is wrong."""

    def steps(self):
        yield 1
        raise InputError("lower compare.learning_rate")


@dataclass
class Killed(Note):
    """Is killed, as by a system that has no memory left."""

    def steps(self):
        yield 1
        os.kill(os.getpid(), signal.SIGKILL)
