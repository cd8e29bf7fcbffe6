"""How much a device computes at once: half as much each time its memory runs out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar, final

from understudy.core.errors import InputError

T = TypeVar("T")


@final
class MicroBatch:
    """The number of images, or of other things, that a device computes at once.

    Args:
        size: number to begin with, at least 1.
        work: what is computed, for messages.
        unit: what is counted, in the singular.
        effect: what a smaller number changes, for the warning.

    Attributes:
        size: the number now. It is halved whenever memory runs out, and stays so.
    """

    def __init__(
        self, size: int, *, work: str, unit: str = "image", effect: str = "results change by rounding only"
    ) -> None:
        self.size = size
        self._work, self._unit, self._effect = work, unit, effect

    def fit(self, compute: Callable[[int], T]) -> T:
        """Compute as much at once as fits into memory; a smaller number is announced by a warning.

        Args:
            compute: called with the size, again from the start with half the size each time memory runs out.

        Raises:
            InputError: if there is no memory for a single one.
        """
        while True:
            try:
                return compute(self.size)
            except RuntimeError as error:
                self._halve(error)
            # Only after the handler, because the error holds the tensors of the attempt.
            _release()

    def _halve(self, error: RuntimeError) -> None:
        from accelerate.utils.memory import should_reduce_batch_size  # slow to import, and seldom needed

        if not should_reduce_batch_size(error):
            raise error
        if self.size == 1:
            raise InputError(
                f"{self._work} needs more memory than the device has, even with one {self._unit} at once: "
                f"use smaller images, a smaller network or another device ({str(error).splitlines()[0]})"
            ) from error
        before, self.size = self.size, (self.size + 1) // 2
        warnings.warn(
            f"{self._work} ran out of memory with {before} {self._unit}s at once and goes on with "
            f"{self.size}; {self._effect}",
            stacklevel=2,
        )


def _release() -> None:
    """Give memory that is no longer used back to the device."""
    from accelerate.utils.memory import clear_device_cache  # slow to import, and seldom needed

    clear_device_cache(garbage_collection=True)
