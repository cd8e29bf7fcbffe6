"""Free memory respects the memory that a SLURM task has asked for."""

import psutil
import pytest

from understudy.core.host_memory import ImageMemory, free_host_bytes

NAMES = [
    f"SLURM_{name}"
    for name in (
        "MEM_PER_NODE",
        "MEM_PER_CPU",
        "CPUS_ON_NODE",
        "MEM_PER_GPU",
        "GPUS_ON_NODE",
        "STEP_TASKS_PER_NODE",
    )
]


@pytest.fixture(autouse=True)
def no_task(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "asked",
    [
        {"SLURM_MEM_PER_NODE": "2048"},
        {"SLURM_MEM_PER_CPU": "512", "SLURM_CPUS_ON_NODE": "4"},
        {"SLURM_MEM_PER_GPU": "1024", "SLURM_GPUS_ON_NODE": "2"},
        {"SLURM_MEM_PER_NODE": "8192", "SLURM_STEP_TASKS_PER_NODE": "4(x3),1"},
    ],
)
def test_a_task_has_the_memory_that_it_asked_for(asked, monkeypatch):
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    in_use = psutil.Process().memory_info().rss
    assert free_host_bytes() == pytest.approx(2 * 2**30 - in_use, abs=2**24)
    assert ImageMemory().num_bytes == pytest.approx(2**30 - in_use / 2, abs=2**24)


def test_a_task_that_uses_more_than_it_asked_for_has_none_left(monkeypatch):
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1")
    assert free_host_bytes() == 0


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"SLURM_MEM_PER_NODE": "0"},  # all of the node
        {"SLURM_MEM_PER_CPU": "512"},
        {"SLURM_MEM_PER_NODE": "much"},
        {"SLURM_MEM_PER_NODE": "64G"},  # what a user has asked srun for
        {"SLURM_MEM_PER_CPU": "0", "SLURM_CPUS_ON_NODE": "4"},
    ],
)
def test_without_a_limit_the_machine_decides(asked, monkeypatch):
    free = free_host_bytes()
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    assert free_host_bytes() == pytest.approx(free, rel=0.2)
