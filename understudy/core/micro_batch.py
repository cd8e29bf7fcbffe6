"""How much a device computes at once: half as much each time its memory runs out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar, final

from understudy.core.device_memory import release
from understudy.core.errors import InputError, first_line

T = TypeVar("T")
_OUT_OF_MEMORY = ("error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Messages of CUDA and cuBLAS that accelerate does not count as errors of memory."""


@final
class MicroBatch:
    """The number of images, or of other things, that a device computes at once.

    Args:
        size: number to begin with, at least ``smallest``.
        work: what is computed, for messages.
        unit: what is counted, in the singular.
        effect: what a smaller number changes, for the warning.
        smallest: number that the work needs at once, at least 1.

    Attributes:
        size: the number now. It is halved whenever memory runs out, and stays so.
        smallest: number that the work needs at once.
    """

    def __init__(
        self,
        size: int,
        *,
        work: str,
        unit: str = "image",
        effect: str = "results change by rounding only",
        smallest: int = 1,
    ) -> None:
        self.size, self.smallest = size, smallest
        self._work, self._unit, self._effect = work, unit, effect

    def fit(self, compute: Callable[[int], T], *, undo: Callable[[], object] | None = None) -> T:
        """Compute as much at once as fits into memory; a smaller number is announced by a warning.

        Args:
            compute: called with the size, again from the start with half the size each time memory runs out.
            undo: called before each further attempt, to restore what the failed attempt has changed.

        Raises:
            InputError: if there is no memory for ``smallest`` at once.
        """
        while True:
            try:
                return compute(self.size)
            except RuntimeError as error:
                self._halve(error)
            # Only after the handler, because the error holds the tensors of the attempt.
            release()
            if undo is not None:
                undo()

    def _halve(self, error: RuntimeError) -> None:
        if not is_out_of_memory(error):
            raise error
        if self.size <= self.smallest:
            least = f"one {self._unit}" if self.smallest == 1 else f"{self.smallest} {self._unit}s"
            raise InputError(
                f"{self._work} needs more memory than the device has, even with {least} at once: "
                f"use smaller images, a smaller network or another device ({first_line(error)})"
            ) from error
        before, self.size = self.size, max(self.smallest, (self.size + 1) // 2)
        warnings.warn(
            f"{self._work} ran out of memory with {before} {self._unit}s at once and goes on with "
            f"{self.size}; {self._effect}",
            stacklevel=2,
        )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that a device or the host has no more memory."""
    from accelerate.utils.memory import should_reduce_batch_size  # slow to import, and seldom needed

    return should_reduce_batch_size(error) or any(text in str(error) for text in _OUT_OF_MEMORY)
