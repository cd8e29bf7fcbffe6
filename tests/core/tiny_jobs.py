"""Jobs that processes of their own can import."""

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from understudy.core.errors import FullDiskError, InputError
from understudy.core.executors import ray_actors
from understudy.core.executors.executor import Terms
from understudy.core.executors.job import Job
from understudy.core.settings import ComputeSettings


def terms(root, executor="auto", *, device="cpu", **compute):
    """The terms of an executor."""
    return Terms(root=root, compute=ComputeSettings(executor=executor, **compute), device=device)


def run_folder_is_unseen(monkeypatch):
    """Let actors of Ray say that they do not see the run folder."""
    asked = ray_actors._asked
    monkeypatch.setattr(ray_actors, "_asked", lambda *more: [one | {"sees": False} for one in asked(*more)])


@dataclass
class Note(Job):
    """Writes the number of its process, in three steps."""

    path: Path
    seconds: float = 0.0
    device: str = "cpu"

    @property
    def name(self):
        return f"note {self.path.name}"

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
class Flaky(Note):
    """Fails the first times, as on a full disk, and leaves a mark of each time beside its file."""

    times: int = 1

    def fail(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    def steps(self):
        yield 1
        marks = list(self.path.parent.glob(f"{self.path.name}-failed-*"))
        if len(marks) < self.times:
            (self.path.parent / f"{self.path.name}-failed-{len(marks)}").touch()
            self.fail()
        self.path.write_text(str(os.getpid()))


@dataclass
class Killed(Flaky):
    """Is killed, as by a system that has no memory left."""

    times: int = 99

    def fail(self):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class NoRoom(Flaky):
    """Finds no room for its images the first times."""

    def fail(self):
        raise FullDiskError("no space is left in /tmp")


@dataclass
class Visible(Note):
    """Writes the GPU that its process sees."""

    def steps(self):
        yield 1
        self.path.write_text(os.environ["CUDA_VISIBLE_DEVICES"])


@dataclass
class Copy(Note):
    """Writes what it reads, and the number of threads that it may use."""

    source: Path = Path()

    @property
    def threads(self):
        return None

    @property
    def reads(self):
        return (self.source,)

    def steps(self):
        yield 1
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(f"{self.source.read_text()} {torch.get_num_threads()}")


@dataclass
class TwoFiles(Note):
    """Fails once between its two files."""

    marks: Path = Path()

    def steps(self):
        yield 1
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.with_name("first").write_text("1")
        if not any(self.marks.iterdir()):
            (self.marks / "failed").touch()
            raise OSError(errno.ENOSPC, "No space left on device")
        self.path.write_text("2")
