"""Executors `local` and `auto`."""

import os

import psutil
import pytest
import torch
from tiny_jobs import Failing, Killed, Note, terms

from understudy.core.errors import InputError
from understudy.core.executors.do import check_one_process, do_jobs
from understudy.core.executors.worker_processes import num_trainers
from understudy.core.processes import Processes
from understudy.core.registry import Registry
from understudy.core.settings import ComputeSettings


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def notes(folder, count=4, **options):
    return [Note(folder / f"{number}.txt", **options) for number in range(count)]


def process_ids(jobs):
    return [int(job.path.read_text()) for job in jobs]


def test_only_what_is_missing_is_done(tmp_path):
    jobs, moved = notes(tmp_path), []
    jobs[1].path.write_text("0")
    do_jobs(jobs, terms(tmp_path, workers=1), advance=moved.append)
    assert moved == [1] * 9
    assert process_ids(jobs) == [os.getpid(), 0, os.getpid(), os.getpid()]
    do_jobs(jobs, terms(tmp_path, workers=1), advance=moved.append)
    assert len(moved) == 9


def test_short_work_starts_no_process(tmp_path):
    jobs = notes(tmp_path)
    do_jobs(jobs, terms(tmp_path, workers=2))
    assert process_ids(jobs) == [os.getpid()] * 4


@pytest.mark.parametrize(("device", "expected"), [("cpu", 1), ("cuda", 3)])
def test_a_job_on_the_cpu_has_one_thread(device, expected, tmp_path, threads):
    torch.set_num_threads(3)
    seen = []
    do_jobs(
        notes(tmp_path, device=device),
        terms(tmp_path, workers=1),
        advance=lambda amount: seen.append(torch.get_num_threads()),
    )
    assert set(seen) == {expected}
    assert torch.get_num_threads() == 3


def test_an_error_keeps_what_is_done(tmp_path):
    jobs = [*notes(tmp_path), Failing(tmp_path / "failing"), Note(tmp_path / "after")]
    with pytest.raises(InputError, match="lower compare.learning_rate"):
        do_jobs(jobs, terms(tmp_path, workers=1))
    assert [job.is_done for job in jobs] == [True] * 4 + [False] * 2


def test_names_from_outside_stay_in_this_process(tmp_path, at_once):
    assert num_trainers(2, "cpu") == 2
    Registry("colour").register("red", summary="of a test")("#f00")
    assert num_trainers(2, "cpu") == 1
    jobs = notes(tmp_path)
    do_jobs(jobs, terms(tmp_path, workers=2))
    assert process_ids(jobs) == [os.getpid()] * 4


def test_names_of_the_package_are_known_everywhere(at_once):
    space = {"__name__": "understudy.data.sources.new", "Registry": Registry}
    exec("Registry('colour').register('red', summary='')(1)", space)  # noqa: S102 - as a file of the package
    assert not Registry.has_outsiders


def test_number_of_workers(at_once, threads):
    assert num_trainers(7, "cpu") == 7
    assert num_trainers(7, "cuda") == num_trainers(7, "mps") == 1
    torch.set_num_threads(1)
    assert num_trainers(None, "cpu") == 1
    torch.set_num_threads(1000)
    room = psutil.virtual_memory().total // psutil.Process().memory_info().rss
    assert 1 <= num_trainers(None, "cpu") <= room


@pytest.mark.slow
def test_other_processes_do_the_same(tmp_path, at_once):
    jobs, moved = notes(tmp_path, 6, seconds=0.3), []
    do_jobs(jobs, terms(tmp_path, workers=2), advance=moved.append)
    first, *others = process_ids(jobs)
    assert first == os.getpid()
    assert os.getpid() not in others
    assert moved[:3] == [1, 1, 1]
    assert sum(moved) == 18


@pytest.mark.slow
def test_an_error_elsewhere_is_the_same_error(tmp_path, at_once):
    jobs = [*notes(tmp_path, 3), Failing(tmp_path / "failing")]
    with pytest.raises(InputError, match="^lower compare.learning_rate\n"):
        do_jobs(jobs, terms(tmp_path, workers=2))
    assert jobs[0].is_done


@pytest.mark.slow
def test_a_killed_process(tmp_path, at_once):
    jobs = [*notes(tmp_path, 2), Killed(tmp_path / "killed")]
    with pytest.raises(InputError, match="killed 3 times .*for note killed.*give fewer --workers"):
        do_jobs(jobs, terms(tmp_path, workers=2))
    assert jobs[0].is_done
    do_jobs(jobs[:2], terms(tmp_path, workers=2))
    assert jobs[1].is_done


@pytest.mark.slow
def test_a_stop_ends_the_other_processes(tmp_path, at_once):
    jobs = [*notes(tmp_path, 2), *(Note(tmp_path / f"long{number}", seconds=30) for number in range(2))]

    def stop(amount):
        if amount == 3:  # the first job that another process has finished
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do_jobs(jobs, terms(tmp_path, workers=2), advance=stop)
    assert [job.is_done for job in jobs] == [True, True, False, False]
    for child in psutil.Process().children(recursive=True):
        assert "popen_loky" not in " ".join(child.cmdline())


def test_accelerate_launch_and_another_executor_exclude_each_other(monkeypatch):
    monkeypatch.setattr(Processes, "count", 2)
    check_one_process(ComputeSettings())
    check_one_process(ComputeSettings(executor="local"))
    for name in ("processes", "ray", "slurm"):
        with pytest.raises(InputError, match=f"and --executor {name} all other work"):
            check_one_process(ComputeSettings(executor=name))
