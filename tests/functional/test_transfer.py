"""Copies to a device."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from understudy.functional.transfer import sent


class _NotCopied(TorchFunctionMode):
    """Keeps the arguments of copies, and does not copy: not every machine has these devices."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.to:
            self.seen = args[1:], kwargs
            return args[0]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("device", "non_blocking"), [("cuda", True), ("cuda:1", True), ("mps", False)])
def test_only_apples_devices_are_waited_for(device, non_blocking):
    with _NotCopied() as copies:
        sent(torch.ones(2), device)
    assert copies.seen == ((device,), {"non_blocking": non_blocking})


def test_a_tensor_on_its_device_is_not_copied():
    x = torch.ones(2)
    assert sent(x, "cpu") is x
