"""The processes that ``accelerate launch`` started, or the single one without it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast, final

if TYPE_CHECKING:
    from torch import Tensor, nn

_PATIENCE = timedelta(days=7)  # the other processes wait while the first reads and captions the data


@final
class Processes:
    """What each process needs to know about the others.

    All processes hold the same batch and each computes a slice of it, so that gradients do not depend on the
    number of processes.
    """

    def __init__(self) -> None:
        import torch  # slow to import, as is accelerate; commands that only list names need neither
        from accelerate import PartialState

        self._state: Any = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)

    @property
    def count(self) -> int:
        """Number of processes."""
        return int(self._state.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process reads data and writes files."""
        return bool(self._state.is_main_process)

    @property
    def device(self) -> str:
        """Torch device of this process when there are several."""
        return str(self._state.device)

    def wait(self) -> None:
        """Wait until every process has reached this point."""
        self._state.wait_for_everyone()

    def slice_of(self, batch_size: int) -> Tensor:
        """Indices, int64, of the images of a batch that this process computes.

        All slices have the same size, so the batch size must be a multiple of the number of processes.
        """
        import torch  # slow to import; commands that only list names do not need it

        share = batch_size // self.count
        return torch.arange(share) + share * int(self._state.process_index)

    def gather(self, part: Tensor) -> Tensor:
        """The parts of all processes in order, without gradients."""
        from accelerate.utils import gather  # slow to import, and not needed by a single process

        return part if self.count == 1 else cast("Tensor", gather(part.contiguous()))

    def sum(self, value: Tensor) -> Tensor:
        """Sum over all processes."""
        from accelerate.utils import reduce  # slow to import, and not needed by a single process

        return value if self.count == 1 else cast("Tensor", reduce(value, reduction="sum"))

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the gradient of the whole batch.

        A parameter without a gradient in one process has none in any.
        """
        if self.count > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.copy_(self.sum(parameter.grad))
