"""Executor `ray`, with a Ray of its own on this machine."""

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tiny_jobs import Copy, Failing, Flaky, Killed, Note, TwoFiles, run_folder_is_unseen, terms

from understudy.core.errors import InputError
from understudy.core.executors import ray_actors, ray_cluster
from understudy.core.executors.alike import Demands
from understudy.core.executors.dispatch import ATTEMPTS
from understudy.core.executors.do import check_executor, do_jobs
from understudy.core.executors.packing import pack
from understudy.core.executors.ray_cluster import connect, share_of
from understudy.core.executors.ray_worker import RayWorker, Task
from understudy.core.host_memory import ImageMemory
from understudy.core.registry import Registry
from understudy.core.settings import ComputeSettings


@pytest.fixture(autouse=True)
def insiders(monkeypatch):
    """Although other tests have registered names."""
    monkeypatch.setattr(Registry, "has_outsiders", False)


@pytest.fixture(scope="module")
def cluster():
    """Ray, which finds the jobs of the tests; it is started with the first jobs."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield
        ray.shutdown()
        ray_actors._teams.clear()


class Cluster:
    """As much of Ray as says how large its nodes are."""

    def __init__(self, *nodes):
        self.nodes = lambda: [{"Alive": True, "Resources": node} for node in nodes]


GPUS = {"CPU": 64.0, "GPU": 8.0}


@pytest.mark.parametrize(
    ("nodes", "compute", "device", "expected"),
    [
        ([{"CPU": 8.0}], {}, "cpu", (8, 1, 0, 1)),
        ([{"CPU": 8.0}], {"workers": 2}, "cpu", (2, 4, 0, 4)),
        ([{"CPU": 8.0}], {"threads": 2}, "cpu", (4, 2, 0, 2)),
        ([{"CPU": 3.0}, {"CPU": 3.0}], {"threads": 2}, "cpu", (2, 2, 0, 2)),
        ([GPUS], {}, "cuda", (8, 1, 1.0, 8)),
        ([GPUS, GPUS, {"CPU": 4.0}], {}, "cuda", (16, 1, 1.0, 8)),
        ([GPUS], {"gpus_per_worker": 0.5}, "cuda", (16, 1, 0.5, 4)),
    ],
)
def test_workers_divide_the_cluster(nodes, compute, device, expected):
    share = share_of(Cluster(*nodes), ComputeSettings(executor="ray", **compute), device)
    assert (share.workers, share.cpus, share.gpus, share.threads) == expected


@pytest.mark.parametrize(
    ("nodes", "compute", "device", "message"),
    [
        ([{"CPU": 2.0}], {"workers": 3}, "cpu", "each of 3 workers needs 1 CPUs .* but Ray has 2 CPUs on 1"),
        ([{"CPU": 2.0}], {"workers": 2, "threads": 2}, "cpu", "each of 2 workers needs 2 CPUs"),
        ([{"CPU": 3.0}, {"CPU": 3.0}], {"workers": 3, "threads": 2}, "cpu", "Ray has 6 CPUs on 2 nodes"),
        ([{"CPU": 2.0}], {}, "cuda", "each of 1 workers needs 1 GPUs and a CPU .* has 0 GPUs and 2 CPUs"),
        ([{"CPU": 2.0, "GPU": 2.0}], {"workers": 3}, "cuda", "each of 3 workers needs 1 GPUs"),
        ([{"CPU": 1.0, "GPU": 2.0}], {"workers": 2}, "cuda", "has 2 GPUs and 1 CPUs"),
        ([GPUS], {"gpus_per_worker": 1.5}, "cuda", "a whole number above 1, got 1.5"),
        ([{"CPU": 2.0}], {}, "mps", "the device is 'mps': give --device cuda or cpu"),
    ],
)
def test_a_cluster_that_is_too_small(nodes, compute, device, message):
    with pytest.raises(InputError, match=message):
        share_of(Cluster(*nodes), ComputeSettings(executor="ray", **compute), device)


def test_a_worker_says_what_it_is(tmp_path):
    demands = Demands.of(terms(tmp_path))
    found = [RayWorker(0).describe(path, demands) for path in (tmp_path, tmp_path / "missing", None)]
    assert [one["sees"] for one in found] == [True, False, False]
    demands.check(found)


def test_a_worker_that_is_started_again_elsewhere_is_compared_before_its_first_job(tmp_path):
    """Nobody has asked it what it has."""
    alike, other = Demands.of(terms(tmp_path)), Demands(versions={"torch": "1.0"}, device="cpu", needs=())
    jobs = [Note(tmp_path / "note")]
    for demands in (alike, other):
        task = Task(
            key="1",
            root=tmp_path,
            demands=demands,
            is_shared=True,
            stored=(None, None),
            common=frozenset(),
            threads=1,
            memory=ImageMemory(),
            cwd=tmp_path / "missing",
            board=None,
        )
        asked, again = RayWorker(0), RayWorker(0)
        asked.describe(None, alike)
        asked._open(task, pack(jobs, tmp_path), {})
        if demands is alike:
            again._open(task, pack(jobs, tmp_path), {})
        else:
            with pytest.raises(InputError, match="has torch .*, but the run was started with 1.0"):
                again._open(task, pack(jobs, tmp_path), {})


def test_without_ray(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'understudy\[ray\]'"):
        check_executor(terms(tmp_path, "ray"))


def test_a_cluster_that_does_not_answer(tmp_path):
    with pytest.raises(InputError, match="nothing answers at the address of Ray, 127.0.0.1:1 "):
        check_executor(terms(tmp_path, "ray", ray_address="127.0.0.1:1"))


@pytest.fixture
def made_up(monkeypatch):
    """As much of the module ``ray`` as a connection needs."""

    def init(address, **_):
        if address == "10.9.9.9:1":
            raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0")

    module = SimpleNamespace(
        __version__="2.60.0",
        init=init,
        is_initialized=lambda: False,
        cluster_resources=lambda: {"CPU": 16.0, "GPU": 4.0, "memory": 1e9},
    )
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(ray_cluster, "_check_answers", lambda address: None)
    monkeypatch.setitem(sys.modules, "ray", module)


def test_a_cluster_of_another_version(made_up, tmp_path):
    with pytest.raises(
        InputError, match=r"cannot use Ray at 10.9.9.9:1 \(Version mismatch.* runs Ray 2.60.0"
    ):
        connect(terms(tmp_path, "ray", ray_address="10.9.9.9:1"))


@pytest.mark.parametrize(
    ("compute", "variable", "which"),
    [
        ({}, None, "started on this machine"),
        ({"ray_address": "10.0.0.1:6379"}, None, "the cluster at 10.0.0.1:6379"),
        ({}, "10.0.0.2:6379", "the cluster at 10.0.0.2:6379"),
    ],
)
def test_a_run_says_which_ray_it_uses(compute, variable, which, made_up, tmp_path, monkeypatch):
    if variable:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    lines = []
    connect(replace(terms(tmp_path, "ray", **compute), say=lines.append))
    assert lines == [f"ray: {which}, 16 CPUs and 4 GPUs"]


@pytest.mark.slow
def test_actors_are_asked_before_there_is_a_folder(cluster, tmp_path):
    check_executor(terms(tmp_path / "run", "ray", workers=1))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("is_shared", [True, False])
def test_actors_do_all_jobs(is_shared, cluster, tmp_path, monkeypatch):
    """Without the run folder, what jobs read travels there, and what they write comes back."""
    if not is_shared:
        run_folder_is_unseen(monkeypatch)
    source, moved = tmp_path / "source", []
    source.write_text("read")
    jobs = [Copy(tmp_path / "deep" / str(number), source=source) for number in range(5)]
    do_jobs(jobs, terms(tmp_path, "ray", workers=2, threads=1), advance=moved.append)
    assert [job.path.read_text() for job in jobs] == ["read 1"] * 5
    assert sum(moved) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "source"]


@pytest.mark.slow
def test_another_try_elsewhere_starts_anew(cluster, tmp_path, monkeypatch):
    """Also if the first has left a file before it failed."""
    run_folder_is_unseen(monkeypatch)
    marks = tmp_path / "marks"
    marks.mkdir()
    job = TwoFiles(tmp_path / "run" / "second", marks=marks)
    do_jobs([job], terms(tmp_path / "run", "ray", workers=1))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["first", "second"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Flaky, Killed])
def test_a_failure_costs_its_job_alone(kind, cluster, tmp_path):
    jobs = [kind(tmp_path / "bad", times=2), *(Note(tmp_path / str(number)) for number in range(4))]
    do_jobs(jobs, terms(tmp_path, "ray", workers=2))
    assert all(job.is_done for job in jobs)
    assert len(list(tmp_path.glob("bad-failed-*"))) == 2


@pytest.mark.slow
def test_three_failures_stop_the_run_with_their_reason(cluster, tmp_path):
    with pytest.raises(OSError, match="No space left on device"):
        do_jobs([Flaky(tmp_path / "bad", times=3)], terms(tmp_path, "ray", workers=1))
    with pytest.raises(InputError, match="^lower compare.learning_rate\n"):
        do_jobs([Failing(tmp_path / "failing")], terms(tmp_path, "ray", workers=1))


@pytest.mark.slow
def test_an_actor_that_is_killed_is_replaced(cluster, tmp_path):
    jobs = [Note(tmp_path / str(number), seconds=1) for number in range(8)]

    def kill():
        while not (done := [job for job in jobs if job.is_done]):
            time.sleep(0.1)
        os.kill(int(done[0].path.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    do_jobs(jobs, terms(tmp_path, "ray", workers=2))
    killer.join()
    assert all(job.is_done for job in jobs)
    assert len({job.path.read_text() for job in jobs}) == 3


def test_what_counts_as_a_failure_of_a_job():
    exceptions = pytest.importorskip("ray.exceptions")
    actor = ray_actors._Actor(handle=None, task=None, jobs=())
    assert actor.recover(OSError("no space")) == 1
    assert actor.recover(exceptions.ActorDiedError()) == ATTEMPTS
