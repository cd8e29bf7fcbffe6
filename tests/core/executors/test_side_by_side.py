"""How much work executors do at the same time, by their settings."""

import pytest

from understudy.core.executors import side_by_side as module
from understudy.core.executors.side_by_side import side_by_side
from understudy.core.settings import ComputeSettings


@pytest.mark.parametrize(
    ("executor", "workers", "device", "expected"),
    [
        ("local", None, "cpu", (1, 1)),
        ("auto", 3, "cpu", (1, 3)),
        ("auto", None, "cuda", (1, 1)),
        ("processes", 3, "cpu", (1, 3)),
        ("processes", 8, "cuda", (8, 8)),
        ("ray", 16, "cuda", (16, 16)),
        ("ray", None, "cuda", (1, 1)),
        ("slurm", 4, "cuda", (4, 4)),
    ],
)
def test_work_at_the_same_time(executor, workers, device, expected, monkeypatch, at_once):
    monkeypatch.setattr(module, "num_workers", lambda compute, device: compute.workers)
    assert side_by_side(ComputeSettings(executor=executor, workers=workers), device) == expected
