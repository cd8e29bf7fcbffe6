"""The processes that ``accelerate launch`` started, or the one that there is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, cast, final

import torch
from accelerate import PartialState
from accelerate.utils import gather, reduce
from torch import Tensor

_PATIENCE = timedelta(days=7)  # the others wait while the first reads and captions the data


@final
class Processes:
    """What one process has to know of the others.

    Every process holds the same batch and computes a slice of it, so one or several end with the same gradients.
    """

    def __init__(self) -> None:
        self._state: Any = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._state.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this one reads data and writes files."""
        return bool(self._state.is_main_process)

    @property
    def device(self) -> str:
        """Torch device of this process, where there are several."""
        return str(self._state.device)

    def wait(self) -> None:
        """Until all processes have come here."""
        self._state.wait_for_everyone()

    def own(self, batch_size: int) -> Tensor:
        """Which images of a batch this process computes, int64; slices are equal, so the batch must be a multiple of the count."""
        share = batch_size // self.count
        return torch.arange(share) + share * int(self._state.process_index)

    def gather(self, own: Tensor) -> Tensor:
        """The slices of all processes, in order; without gradients."""
        return own if self.count == 1 else cast("Tensor", gather(own.contiguous()))

    def sum(self, value: Tensor) -> Tensor:
        """Over all processes."""
        return value if self.count == 1 else cast("Tensor", reduce(value, reduction="sum"))

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give every process the gradient of the whole batch; a parameter without one has none in any process."""
        if self.count > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.copy_(reduce(parameter.grad, reduction="sum"))
