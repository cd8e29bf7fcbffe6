"""Executor ``ray``: jobs in the actors of a Ray cluster, or of a Ray on this machine alone.

No shared file system is needed: jobs, and the files that they read, travel through Ray's object store. What
they write comes back, and this process puts it into the run folder. If all actors see that folder, they use
it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, final
from uuid import uuid4

import numpy as np

from understudy.core.errors import InputError, first_line
from understudy.core.executors.alike import Demands
from understudy.core.executors.dispatch import ATTEMPTS, dispatch
from understudy.core.executors.executor import EXECUTORS, Terms
from understudy.core.executors.job import Job
from understudy.core.executors.packing import contents, pack, put
from understudy.core.executors.ray_cluster import Share, connect, share_of
from understudy.core.executors.ray_worker import Board, RayWorker, Task
from understudy.core.host_memory import ImageMemory

_DEATHS = 10
"""Actors that may die over one job before it stops the run; on spot machines that is no fault of the job."""
_PATIENCE = 60.0  # seconds to wait for actors before the user is told what is waited for


@EXECUTORS.register("ray", summary="actors of a Ray cluster, or of a Ray on this machine (extra `ray`)")
@final
class RayActors:
    """Actors, one per core or GPU."""

    def check(self, terms: Terms) -> None:
        """Start the actors, and check that they would do the same as this process."""
        ray = connect(terms)
        share = share_of(ray, terms.compute, terms.device)
        _asked(ray, _team(ray, share, share.workers), terms, Demands.of(terms))

    def clear(self, root: Path) -> None:
        """Nothing is left: Ray ends actors with the process that started them."""

    def do(self, jobs: Sequence[Job], terms: Terms) -> Generator[int, None, None]:
        with _actors(jobs, terms) as (actors, total):
            yield from dispatch(jobs, actors, total)


@contextmanager
def _actors(jobs: Sequence[Job], terms: Terms) -> Iterator[tuple[list[_Actor], Any]]:
    """Actors for the jobs, and a function that returns their progress; they end if the block fails."""
    ray = connect(terms)
    share = share_of(ray, terms.compute, terms.device)
    handles = _team(ray, share, min(share.workers, len(jobs)))
    board = _board(ray)
    try:
        task = _task(ray, handles, board, jobs, terms, share.threads)
        yield [_Actor(handle, task, jobs) for handle in handles], lambda: _total(ray, board)
        ray.get([handle.rest.remote() for handle in handles])
    except BaseException:
        _disband(ray)
        raise
    finally:
        ray.kill(board)


_teams: dict[Share, list[Any]] = {}
"""The actors of the last jobs; stages that follow each other share them, because they start slowly."""


def _team(ray: Any, share: Share, number: int) -> list[Any]:
    """The first ``number`` actors with a share of the cluster; those with another share end."""
    if share not in _teams:
        _disband(ray)
    kind = ray.remote(
        num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=-1, max_task_retries=_DEATHS - 1
    )(RayWorker)
    team = _teams.setdefault(share, [])
    team += [kind.remote(slot) for slot in range(len(team), number)]
    return team[:number]


def _disband(ray: Any) -> None:
    for team in _teams.values():
        for handle in team:
            ray.kill(handle)
    _teams.clear()


def _board(ray: Any) -> Any:
    """A board on the node of this process, which cannot vanish without it."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # as Ray itself

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    return ray.remote(**options)(Board).remote()


def _total(ray: Any, board: Any) -> int:
    return int(ray.get(board.total.remote()))


def _task(
    ray: Any, handles: Sequence[Any], board: Any, jobs: Sequence[Job], terms: Terms, threads: int
) -> Task:
    """Put what all actors need into the object store."""
    demands = Demands.of(terms)
    terms.root.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=terms.root, prefix=".seen-", suffix=".tmp") as probe:
        found = _asked(ray, handles, terms, demands, Path(probe.name))
    is_shared = all(one["sees"] for one in found)
    common = set(jobs[0].reads).intersection(*(job.reads for job in jobs))
    files = {} if is_shared else contents(common, terms.root)
    stored = (
        ray.put(np.frombuffer(pack(jobs, terms.root, is_shared=is_shared), dtype=np.uint8)),
        ray.put(files),
    )
    return Task(
        key=uuid4().hex,
        root=terms.root,
        demands=demands,
        is_shared=is_shared,
        stored=stored,
        common=frozenset(common),
        threads=threads,
        memory=ImageMemory(terms.memory, len(handles)),
        cwd=Path.cwd(),
        board=board,
    )


def _asked(
    ray: Any, handles: Sequence[Any], terms: Terms, demands: Demands, probe: Path | None = None
) -> list[dict[str, Any]]:
    """What actors say about themselves, once all have started; see :meth:`RayWorker.describe`.

    Raises:
        InputError: if one cannot start, or would make other images.
    """
    waiting = [handle.describe.remote(probe, demands) for handle in handles]
    ready, late = ray.wait(waiting, num_returns=len(waiting), timeout=_PATIENCE)
    if late:
        terms.say(
            f"ray: {len(ready)} of {len(waiting)} workers have started; waiting for CPUs and GPUs that are "
            "in use"
        )
    try:
        found: list[dict[str, Any]] = ray.get(waiting)
    except Exception as error:
        _disband(ray)
        raise InputError(
            f"a worker of Ray cannot start ({first_line(error)}): install this version of understudy on "
            "every node"
        ) from error
    demands.check(found)
    return found


@final
@dataclass(frozen=True)
class _Actor:
    """A worker of :func:`understudy.core.executors.dispatch.dispatch`.

    Attributes:
        handle: of the actor. Ray starts it again when it dies, on another node if need be.
        task: what all actors do.
        jobs: all jobs of the task.
    """

    handle: Any
    task: Task
    jobs: Sequence[Job]

    def start(self, index: int) -> Future[Mapping[str, bytes]]:
        further = set(self.jobs[index].reads) - self.task.common
        files = {} if self.task.is_shared else contents(further, self.task.root)
        return _plain(self.handle.do.remote(self.task, index, files).future())

    def finish(self, index: int, result: Mapping[str, bytes]) -> None:
        put(result, self.task.root)

    def recover(self, error: BaseException) -> int:
        """Count a failure, unless the actor died while the job was on its way; that one is sent again."""
        from ray import exceptions, get  # slow to import, and missing in most installations

        if isinstance(error, exceptions.ActorUnavailableError):
            get(self.handle.rest.remote())  # until it has been started again
            return 0
        # Ray has started an actor that died again, and has tried the job again, often enough.
        return ATTEMPTS if isinstance(error, exceptions.RayActorError) else 1


def _plain(future: Future[Any]) -> Future[Any]:
    """A future with the error of the job instead of Ray's, which would be told with a traceback."""
    plain: Future[Any] = Future()
    plain.set_running_or_notify_cancel()

    def take(done: Future[Any]) -> None:
        error = done.exception()
        if error is None:
            plain.set_result(done.result())
        elif isinstance(error, InputError):
            plain.set_exception(getattr(error, "cause", error))
        else:
            plain.set_exception(error)

    future.add_done_callback(take)
    return plain
