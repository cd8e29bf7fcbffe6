"""Threads of a run: how they wait for each other, and how many there are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")
R = TypeVar("R")

_SPINS = "5000"
"""Looks at a flag before a waiting thread sleeps: a few microseconds, which is enough for most waits."""


def wait_passively() -> None:
    """Let threads sleep while they wait for each other; call this before torch is imported.

    By default they spin, which takes the cores from every other process and, on a busy machine, from each
    other: steps of a training then take up to ten times as long. Threads that sleep at once lose as much on
    an idle machine, where each wait is short, so they spin for a moment first;
    ``docs/decisions/0030-waiting-threads.md`` has the measurements. A user's ``OMP_WAIT_POLICY`` is kept, and
    nothing changes if torch is loaded already, because it reads the variables only once.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)  # read by the OpenMP library of torch on Linux


def use_threads(number: int | None) -> int:
    """Set the number of torch's threads, and return it.

    Args:
        number: number of threads. With None, torch keeps its default (``OMP_NUM_THREADS``, or one for each
            core that this process may run on). There are never more than such cores, nor more than the CPU
            quota of a container pays for: a run may continue on a smaller machine. How busy the machine is
            makes no difference, since the number of threads changes results by rounding.
    """
    import torch  # slow to import; commands that only list names do not need it

    threads: int = min(number or torch.get_num_threads(), num_cores())
    torch.set_num_threads(threads)
    return threads


def num_cores() -> int:
    """Cores that this process may use, by its affinity and the CPU quota of its container."""
    from loky import cpu_count  # slow to import; commands that only list names do not need it

    return int(cpu_count())


def num_threads() -> int:
    """Number of torch's threads."""
    import torch  # slow to import; commands that only list names do not need it

    return int(torch.get_num_threads())


def in_threads(work: Callable[[T], R], parts: Iterable[T]) -> list[R]:
    """The results of the parts, in order, with as many threads as torch has; for numpy, which waits little.

    Results do not depend on the number of threads.
    """
    number = num_threads()
    if number == 1:
        return [work(part) for part in parts]
    # Threads that start threads would wait for each other.
    with threadpool_limits(1), ThreadPoolExecutor(number) as pool:
        return list(pool.map(work, parts))


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """Let torch use one thread in the block, if ``device`` is the CPU.

    All trainings do: their networks are small, several of them run side by side, and the number of threads
    would change the rounding of their results.
    """
    import torch  # slow to import; commands that only list names do not need it

    before = torch.get_num_threads()
    torch.set_num_threads(1 if device == "cpu" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
