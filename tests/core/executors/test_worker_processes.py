"""Executor `processes`."""

import os
from contextlib import nullcontext

import pytest
from tiny_jobs import Copy, Failing, Flaky, Killed, NoRoom, Note, Visible, terms

from understudy.core.errors import InputError
from understudy.core.executors import worker_processes
from understudy.core.executors.do import check_executor, clear, do_jobs
from understudy.core.executors.worker_processes import num_workers, visible_gpus
from understudy.core.registry import Registry
from understudy.core.settings import ComputeSettings


@pytest.fixture(autouse=True)
def insiders(monkeypatch):
    """Although other tests have registered names."""
    monkeypatch.setattr(Registry, "has_outsiders", False)


@pytest.mark.parametrize(
    ("wanted", "device", "gpus", "message"),
    [
        (9, "cpu", 0, "9 workers need 9 times 1 cores, but this process may use 2"),
        (3, "cuda", 2, "3 workers need 3 GPUs, but this process may use 2"),
        (None, "cuda", 0, "0 workers need 0 GPUs, but this process may use 0"),
        (2, "mps", 0, "the device is 'mps': give --device cuda or cpu, or --executor local"),
        (2, "cuda:1", 2, "the device is 'cuda:1': give --device cuda"),
    ],
)
def test_more_workers_than_cores_or_gpus(wanted, device, gpus, message, monkeypatch):
    monkeypatch.setattr(worker_processes, "num_cores", lambda: 2)
    monkeypatch.setattr(worker_processes, "visible_gpus", lambda: [str(gpu) for gpu in range(gpus)])
    with pytest.raises(InputError, match=message):
        num_workers(ComputeSettings(executor="processes", workers=wanted), device)


def test_as_many_workers_as_there_are_cores_or_gpus(monkeypatch):
    monkeypatch.setattr(worker_processes, "num_cores", lambda: 2)
    monkeypatch.setattr(worker_processes, "visible_gpus", lambda: ["4", "6", "7"])
    monkeypatch.setattr(worker_processes, "_room", lambda: 9)
    assert num_workers(ComputeSettings(), "cpu") == 2
    assert num_workers(ComputeSettings(threads=2), "cpu") == 1
    assert num_workers(ComputeSettings(), "cuda") == 3
    assert num_workers(ComputeSettings(workers=2), "cuda") == 2


def test_gpus_keep_their_names(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-8932f937")
    assert visible_gpus() == ["4", "GPU-8932f937"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert visible_gpus() == ["0", "1"]


def test_names_from_outside_are_unknown_there(tmp_path, monkeypatch):
    monkeypatch.setattr(Registry, "has_outsiders", True)
    for executor in ("processes", "ray", "slurm"):
        with pytest.raises(InputError, match="your code has registered names.*--executor local"):
            check_executor(terms(tmp_path, executor))


def test_what_a_killed_process_has_left_is_removed(tmp_path):
    """Whichever executor goes on; nothing else is touched."""
    left, kept = tmp_path / ".workers-1x2y", tmp_path / "adapter"
    for folder in (left, kept):
        folder.mkdir()
        (folder / "jobs").write_bytes(b"packed")
    clear(tmp_path)
    clear(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.slow
def test_all_jobs_are_done_elsewhere(tmp_path):
    jobs, moved = [Note(tmp_path / str(number), seconds=0.2) for number in range(6)], []
    do_jobs(jobs, terms(tmp_path, "processes", workers=2), advance=moved.append)
    assert {int(job.path.read_text()) for job in jobs}.isdisjoint({os.getpid()})
    assert sum(moved) == 18


@pytest.mark.slow
def test_a_worker_may_use_its_share_of_the_threads(tmp_path):
    source = tmp_path / "source"
    source.write_text("read")
    job = Copy(tmp_path / "copy", source=source)
    do_jobs([job], terms(tmp_path, "processes", workers=1, threads=2))
    assert job.path.read_text() == "read 2"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Flaky, Killed])
def test_a_failure_costs_its_job_alone(kind, tmp_path):
    """Twice a full disk, or twice a kill; the third time works."""
    jobs = [kind(tmp_path / "bad", times=2), *(Note(tmp_path / str(number)) for number in range(4))]
    do_jobs(jobs, terms(tmp_path, "processes", workers=2))
    assert all(job.is_done for job in jobs)
    assert len(list(tmp_path.glob("bad-failed-*"))) == 2


@pytest.mark.slow
def test_each_worker_sees_its_gpu_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_processes, "visible_gpus", lambda: ["4", "GPU-8932f937"])
    jobs = [Visible(tmp_path / str(number)) for number in range(2)]
    do_jobs(jobs, terms(tmp_path, "processes", device="cuda", threads=1))
    assert sorted(job.path.read_text() for job in jobs) == ["4", "GPU-8932f937"]


@pytest.mark.slow
@pytest.mark.parametrize("times", [2, 3])
def test_a_full_disk_costs_its_job(times, tmp_path):
    """It stops the run after three times, with its sentence."""
    jobs = [NoRoom(tmp_path / "bad", times=times), Note(tmp_path / "good")]
    with pytest.raises(InputError, match="^no space is left in /tmp") if times == 3 else nullcontext():
        do_jobs(jobs, terms(tmp_path, "processes", workers=1))
    assert jobs[0].is_done == (times == 2)


@pytest.mark.slow
def test_an_error_comes_home_whole_and_names_the_job(tmp_path):
    with pytest.raises(InputError, match="^lower compare.learning_rate\n") as caught:
        do_jobs([Failing(tmp_path / "failing")], terms(tmp_path, "processes", workers=1))
    assert caught.value.__notes__ == ["in a worker, for note failing"]


@pytest.mark.slow
def test_a_job_that_is_killed_three_times_stops_the_run(tmp_path):
    jobs = [Note(tmp_path / "kept"), Killed(tmp_path / "killed")]
    with pytest.raises(InputError, match="worker process was killed 3 times.*note killed.*fewer --workers"):
        do_jobs(jobs, terms(tmp_path, "processes", workers=1))
    assert [job.is_done for job in jobs] == [True, False]
