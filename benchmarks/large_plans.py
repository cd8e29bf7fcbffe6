"""Memory of plans and of the sets that are drawn from them: part ``plan`` of :mod:`benchmarks.growth`."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil

from benchmarks.claims import Claim
from understudy.core.executors.executor import Terms
from understudy.core.progress import Silent
from understudy.core.settings import ComputeSettings
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings
from understudy.generators.generator import Generator, PlanRow
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.sampling import draw
from understudy.sampling.draw import Drawer
from understudy.sampling.plan import Planner, num_rows, write_parts
from understudy.sampling.settings import DrawSettings
from understudy.sampling.supply import Supply

_PART, _MOST_MB = 1000, 500


def planned(count: str, folder: str) -> dict[str, Any]:
    """Check and write a plan; memory in MB before it, and at the peak beyond that."""
    planner = _planner()
    before, start = _peak_mb(), time.monotonic()
    ends = np.full(planner.train.num_classes, int(count) // planner.train.num_classes)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        planner.check(np.zeros_like(ends), ends)
        paths = write_parts(planner.rows(np.zeros_like(ends), ends), Path(place), part_size=_PART)
        read = sum(map(num_rows, paths))
    return {
        "read": read,
        "seconds": time.monotonic() - start,
        "before_mb": before,
        "beyond_mb": _peak_mb() - before,
    }


def drawn(count: str, folder: str) -> dict[str, Any]:
    """Draw a plan with a network that takes no time; memory in MB that the set holds, and at the peak.

    Images are black and have 8 pixels, so that the columns of the plan are nearly all that is held.
    """
    planner, process = _planner(), psutil.Process()
    ends = np.full(planner.train.num_classes, int(count) // planner.train.num_classes)
    with tempfile.TemporaryDirectory(dir=folder) as name, mock.patch.object(draw, "draw_rows", _black):
        place = Path(name).absolute()
        drawer = Drawer(networks=_Network(planner.generator), number=0, train=planner.train, batch_size=_PART)
        terms = Terms(root=place, compute=ComputeSettings(executor="local"), device="cpu")
        supply = Supply(
            place, lambda: planner, drawer, part_size=_PART, device="cpu", terms=terms, observer=Silent()
        )
        before, start = process.memory_info().rss / 1e6, time.monotonic()
        images = supply.first(ends)
        held = process.memory_info().rss / 1e6 - before
    return {
        "read": len(images),
        "seconds": time.monotonic() - start,
        "before_mb": before,
        "held_mb": held,
        "beyond_mb": _peak_mb() - before,
    }


def _planner() -> Planner:
    train = load_splits(DataSettings(source="digits"), seed=0).train
    return Planner(
        train=train,
        generator=load_generator(GeneratorSettings(name="mini"), device="cpu"),
        settings=DrawSettings(),
        prompt_names=train.class_names,
        seed=0,
    )


def _peak_mb() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _black(generator: Generator, rows: Sequence[PlanRow], size: int, **options: Any) -> np.ndarray:
    return np.zeros((len(rows), 3, 8, 8), dtype=np.uint8)


class _Network:
    """:class:`understudy.sampling.draw.Networks` of one generator."""

    files: Sequence[Path] = ()
    visual = None

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def get(self, number: int) -> Generator:
        return self._generator

    def free(self) -> None:
        """It stays, because the planner has it too."""


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """The peak, as the issue asks, what of it the plan needs, and what a drawn set holds for each row."""
    made, target = list[Claim](), f"at most {_MOST_MB}"
    for row in rows:
        before, beyond = row["before_mb"], row["beyond_mb"]
        if row["way"] == "planned":
            what, peak = f"plan of {row['rows']:,} rows", before + beyond
            why = f"libraries, generator and train images take {before:.0f} MB before it"
            made += [
                Claim.single(
                    f"{what}: peak memory in MB", peak, target=target, met=peak <= _MOST_MB, why=why
                ),
                Claim.single(
                    f"{what}: memory in MB beyond that before it",
                    beyond,
                    target=target,
                    met=beyond <= _MOST_MB,
                ),
            ]
        else:
            what = f"set drawn from a plan of {row['rows']:,} rows: kB of memory for a row"
            made += [
                Claim.single(f"{what}, {when}", 1000 * row[name] / row["rows"], target="reported", met=True)
                for when, name in (("once it is drawn", "held_mb"), ("at the peak", "beyond_mb"))
            ]
    return made
