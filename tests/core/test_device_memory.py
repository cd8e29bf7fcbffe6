"""Free and used memory, where it is a question."""

from types import SimpleNamespace

import pytest
import torch

from understudy.core.device_memory import forget_peak, free_bytes, peak_gb


@pytest.mark.parametrize("device", ["cpu", "meta", "mps"])
def test_devices_without_a_memory_that_can_be_asked(device):
    assert free_bytes(device) is None
    forget_peak(device)
    assert peak_gb(device) is None


def test_memory_that_torch_keeps_is_free(monkeypatch):
    """The figures of a CUDA device, which not every machine has."""
    figures = {"get_memory_info": (5, 100), "memory_reserved": 30, "memory_allocated": 10}
    for name, value in figures.items():
        monkeypatch.setattr(torch.accelerator, name, lambda device, value=value: value)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: SimpleNamespace(type="cuda"))
    assert free_bytes("cuda:0") == 25
    assert free_bytes("cpu") is None


def test_the_peak_of_a_device(monkeypatch):
    forgotten = []
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: SimpleNamespace(type="cuda"))
    monkeypatch.setattr(torch.accelerator, "reset_peak_memory_stats", forgotten.append)
    monkeypatch.setattr(torch.accelerator, "max_memory_allocated", lambda device: 2_345_678_901)
    forget_peak("cuda:0")
    assert (forgotten, peak_gb("cuda:0")) == (["cuda:0"], 2.35)
