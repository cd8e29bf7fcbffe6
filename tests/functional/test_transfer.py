"""Copies to a device."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from understudy.functional.transfer import sent


class _NotCopied(TorchFunctionMode):
    """Keeps the arguments of copies, and does not copy: not every machine has these devices."""

    def __init__(self):
        super().__init__()
        self.called = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.called.append(getattr(func, "__name__", ""))
        if func is torch.Tensor.pin_memory:
            return args[0]
        if func is torch.Tensor.to:
            self.seen = args[1:], kwargs
            return args[0]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("device", "non_blocking"), [("cuda", True), ("cuda:1", True), ("mps", False)])
def test_only_apples_devices_are_waited_for(device, non_blocking):
    with _NotCopied() as copies:
        sent(torch.ones(2), device)
    assert copies.seen == ((device,), {"non_blocking": non_blocking})


@pytest.mark.parametrize(
    ("device", "pins"), [("cuda", True), ("mps", False), ("meta", False), ("cpu", False)]
)
def test_only_cuda_devices_copy_from_pinned_memory(device, pins):
    x = torch.ones(2)
    with _NotCopied() as copies:
        sent(x, device, pinned=True)
    assert ("pin_memory" in copies.called) is pins
    with _NotCopied() as copies:
        sent(x, device)
    assert "pin_memory" not in copies.called


def test_a_tensor_on_its_device_is_not_copied():
    x = torch.ones(2)
    assert sent(x, "cpu") is x
    assert sent(x, "cpu", pinned=True) is x
