"""One job at a time for each worker, and another try for jobs that fail."""

from concurrent.futures import Future

import pytest
from tiny_jobs import Note

from understudy.core.errors import FullDiskError, InputError
from understudy.core.executors.dispatch import ATTEMPTS, dispatch


class Worker:
    """Ends each job at once, with the next of the errors that are planned for it."""

    def __init__(self, errors=(), *, counts=1):
        self.errors = {index: list(planned) for index, planned in dict(errors).items()}
        self.counts = counts
        self.started, self.finished = [], []

    def start(self, index):
        self.started.append(index)
        future = Future()
        planned = self.errors.get(index)
        if planned:
            future.set_exception(planned.pop(0))
        else:
            future.set_result(f"result {index}")
        return future

    def finish(self, index, result):
        self.finished.append((index, result))

    def recover(self, error):
        return self.counts


@pytest.fixture
def jobs(tmp_path):
    return [Note(tmp_path / str(number)) for number in range(5)]


def test_every_job_is_done_once(jobs):
    workers = [Worker(), Worker()]
    list(dispatch(jobs, workers, lambda: 0))
    finished = sorted(index for worker in workers for index, _ in worker.finished)
    assert finished == [0, 1, 2, 3, 4]
    assert all(worker.finished for worker in workers)
    assert all(result == f"result {index}" for worker in workers for index, result in worker.finished)


@pytest.mark.parametrize("failures", range(ATTEMPTS))
@pytest.mark.parametrize("error", [OSError("full"), FullDiskError("make room, or set TMPDIR")])
def test_a_job_that_fails_less_than_three_times_is_tried_again(error, jobs, failures):
    worker = Worker({2: [error] * failures})
    list(dispatch(jobs, [worker], lambda: 0))
    assert worker.started.count(2) == 1 + failures
    assert len(worker.finished) == 5


@pytest.mark.parametrize("kind", [OSError, FullDiskError])
def test_a_job_that_fails_three_times_stops_the_run_with_its_reason(kind, jobs):
    worker = Worker({2: [kind("no space left")] * ATTEMPTS})
    with pytest.raises(kind, match="no space left") as caught:
        list(dispatch(jobs, [worker], lambda: 0))
    assert caught.value.__notes__ == ["in a worker, for note 2"]
    assert [index for index, _ in worker.finished] == [0, 1]


@pytest.mark.parametrize(
    "worker", [Worker({0: [InputError("wrong")]}), Worker({0: [OSError("gone")]}, counts=ATTEMPTS)]
)
def test_what_cannot_end_otherwise_is_not_tried_again(jobs, worker):
    with pytest.raises((InputError, OSError)):
        list(dispatch(jobs, [worker], lambda: 0))
    assert worker.started == [0]


def test_a_job_is_not_to_blame_for_a_worker_that_dies_before_it_begins(jobs):
    worker = Worker({2: [OSError("gone")] * 9}, counts=0)
    list(dispatch(jobs, [worker], lambda: 0))
    assert len(worker.finished) == 5


def test_progress_never_goes_back(jobs):
    """A job that is tried again takes back what it had reported."""
    totals = iter([0, 5, 3, 4, 7, 9, 9, 9])
    moved = list(dispatch(jobs, [Worker()], lambda: next(totals)))
    assert moved[0] == 0
    assert min(moved) >= 0
    assert sum(moved) == 9
