"""A run of a study as a job of a worker."""

from types import SimpleNamespace

import pytest

from understudy.commands import study_jobs
from understudy.commands.study_jobs import StudyRunJob
from understudy.core.errors import FullDiskError, InputError
from understudy.settings import build


@pytest.mark.parametrize(
    ("error", "is_told"), [(InputError("lower the rate"), True), (FullDiskError("full"), False)]
)
def test_an_error_of_the_input_fails_the_run_and_a_full_disk_the_worker(
    error, is_told, tmp_path, monkeypatch
):
    """Another machine may have room, so the job is tried again."""

    def run(*_, **__):
        raise error

    monkeypatch.setattr(study_jobs, "run", run)
    settings = build({"data": {"source": "digits"}})
    one = SimpleNamespace(name="shots-5", path=tmp_path, settings=settings, is_finished=False)
    job = StudyRunJob(one=one, device="cpu")
    if is_told:
        assert [*job.steps()] == [1] and job.is_done
        with pytest.raises(InputError, match="lower the rate"):
            job.check()
    else:
        with pytest.raises(FullDiskError):
            [*job.steps()]
        assert not job.is_done
