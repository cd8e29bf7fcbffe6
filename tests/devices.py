"""Observers of what a computation would do on a GPU.

The device ``meta`` computes shapes without values, so fetching a value from it is an error.
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Fetched(TorchDispatchMode):
    """Counts numbers that the host fetches from a tensor, for which it would wait on a GPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class Copied(TorchFunctionMode):
    """Records copies from the host to another device, and whether the host waits for them."""

    def __init__(self):
        super().__init__()
        self.waits, self.bytes = [], []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.tensor and result.device.type != "cpu":
            self.waits.append(True)
        if func is torch.Tensor.to and args[0].device.type == "cpu" != result.device.type:
            self.waits.append(not (kwargs or {}).get("non_blocking"))
            self.bytes.append(args[0].nbytes)
        return result


class Wide(TorchDispatchMode):
    """Records operations with results in float64 on the device meta: Apple's GPUs have none."""

    def __init__(self):
        super().__init__()
        self.found, self.count = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        on_device = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor) and x.is_meta]
        self.count += len(on_device)
        self.found += [func for x in on_device if x.dtype == torch.float64]
        return result
