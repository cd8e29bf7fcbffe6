"""Free memory, where it is a question."""

from types import SimpleNamespace

import pytest
import torch

from understudy.core.device_memory import free_bytes


@pytest.mark.parametrize("device", ["cpu", "meta", "mps"])
def test_devices_without_a_memory_that_can_be_asked(device):
    assert free_bytes(device) is None


def test_memory_that_torch_keeps_is_free(monkeypatch):
    """The figures of a CUDA device, which not every machine has."""
    figures = {"get_memory_info": (5, 100), "memory_reserved": 30, "memory_allocated": 10}
    for name, value in figures.items():
        monkeypatch.setattr(torch.accelerator, name, lambda device, value=value: value)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: SimpleNamespace(type="cuda"))
    assert free_bytes("cuda:0") == 25
    assert free_bytes("cpu") is None
