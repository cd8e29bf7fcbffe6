"""The further generators of a run (``draw.members``), each adapted with a seed of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from understudy.core.errors import InputError
from understudy.core.executors.do import do_jobs
from understudy.core.executors.executor import Terms
from understudy.core.executors.job import Job
from understudy.core.processes import Processes
from understudy.pipeline.generators import Generators, progress_of


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FurtherAdaptation(Job):
    """The adaptation of a further generator, whose last file is the report of its adapter.

    Attributes:
        generators: of the run.
        number: of the generator, at least 1.
        device: torch device.
    """

    generators: Generators
    number: int
    device: str

    @property
    def name(self) -> str:
        return f"the adapter of generator {self.number}"

    @property
    def threads(self) -> None:
        """A network that draws is large enough for all of them."""

    @property
    def reads(self) -> Sequence[Path]:
        return self.generators.files

    @property
    def is_done(self) -> bool:
        """Whether the adapter is complete."""
        return (self.generators.adapter_folder(self.number) / "report.json").exists()

    def steps(self) -> Iterator[int]:
        """Adapt; yields the number of steps."""
        yield from progress_of(self.generators.adapt_further(self.number))
        self.generators.free()


def adapt_further(generators: Generators, members: int, terms: Terms) -> None:
    """Adapt the generators but the main one that have no adapter yet.

    Args:
        generators: of the run.
        members: number of its generators, the main one included.
        terms: of the executor that adapts them.

    Raises:
        InputError: if several processes of ``accelerate launch`` share the work.
    """
    if generators.settings.adapt.method == "none":
        return
    jobs = [
        FurtherAdaptation(generators=generators, number=number, device=generators.device)
        for number in range(1, members)
    ]
    missing = [job for job in jobs if not job.is_done]
    if not missing:
        return
    if Processes().count > 1:
        raise InputError(
            "several generators must be adapted by one process: start without accelerate launch, or set "
            "draw.members=1"
        )
    total = generators.settings.adapt.num_steps * len(missing)
    with generators.observer.bar("adapt further generators", total=total, unit="steps") as advance:
        do_jobs(missing, terms, advance=advance)
