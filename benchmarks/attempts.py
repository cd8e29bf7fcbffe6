"""Marks of every attempt at a job, in a folder that outlives the worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final
from unittest import mock
from uuid import uuid4

from understudy.core.executors.do import do_jobs
from understudy.core.executors.executor import Terms
from understudy.core.executors.job import Job
from understudy.sampling import supply


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MarkedJob(Job):
    """A job that leaves a mark whenever a worker begins it.

    Attributes:
        job: what is done.
        marks: folder of the marks, which every worker sees.
        device: of the job.
    """

    job: Job
    marks: Path
    device: str

    @property
    def name(self) -> str:
        return self.job.name

    @property
    def is_done(self) -> bool:
        return self.job.is_done

    @property
    def threads(self) -> int | None:
        return self.job.threads

    @property
    def reads(self) -> Sequence[Path]:
        return self.job.reads

    def steps(self) -> Iterator[int]:
        """Leave the mark, then do the job."""
        (self.marks / f"{self.name.replace('/', '-')}.{uuid4().hex}").touch()
        yield from self.job.steps()


@contextmanager
def marked(marks: Path) -> Iterator[None]:
    """Every attempt at a part of a plan leaves a mark, whichever process draws it."""
    marks.mkdir(parents=True)

    def do(jobs: Sequence[Job], terms: Terms, **options: Any) -> None:
        do_jobs([MarkedJob(job=job, marks=marks, device=job.device) for job in jobs], terms, **options)

    with mock.patch.object(supply, "do_jobs", do):
        yield


def attempts(marks: Path) -> Counter[str]:
    """The number of attempts at each job."""
    return Counter(path.stem for path in marks.iterdir())
