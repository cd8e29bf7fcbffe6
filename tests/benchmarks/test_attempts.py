"""Attempts at a job are counted by marks, whichever process makes them."""

from tiny_jobs import Note, terms

from benchmarks.attempts import attempts, marked
from understudy.core.executors.do import do_jobs
from understudy.sampling import supply


def test_every_attempt_leaves_a_mark(tmp_path):
    jobs, marks = [Note(tmp_path / name) for name in ("a.parquet", "b.parquet")], tmp_path / "marks"
    with marked(marks):
        supply.do_jobs(jobs, terms(tmp_path, "local"))
        jobs[1].path.unlink()
        supply.do_jobs(jobs, terms(tmp_path, "local"))
    assert supply.do_jobs is do_jobs
    assert attempts(marks) == {"note a.parquet": 1, "note b.parquet": 2}
    assert all(job.is_done for job in jobs)
