"""What generators without a network have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from understudy.core.errors import InputError
from understudy.generators.generator import PlanRow

if TYPE_CHECKING:
    from torch import Tensor


class AbstractReadyMade:
    """A generator without a network: prompts have no effect, and no image starts from a real one.

    Attributes:
        described: what its images are, in the plural, with the name of the generator.
    """

    described: ClassVar[str]

    def check_prompts(self, prompts: Sequence[str], *, keep_last: bool) -> None:
        """Accept every prompt: prompts have no effect."""

    def learn_classes(self, words: Sequence[str], *, seed: int) -> None:
        """Do nothing: the class alone decides what is in an image."""

    def strength_at(self, snr: float, *, sampler: str, steps: int) -> float:
        """Return 1, since no image starts from a real one; sampler and steps have no effect.

        Raises:
            InputError: for any ratio other than 1, the value that stands for pure noise.
        """
        if snr != 1:
            raise self._cannot_start()
        return 1.0

    def _check_rows(self, rows: Sequence[PlanRow], tokens: Tensor | None) -> None:
        """Check that no row starts from a real image or is guided by one."""
        if tokens is not None:
            raise InputError(
                f"visual guidance needs encoders, which {self.described} do not have: leave it out"
            )
        if any(row.strength < 1 for row in rows):
            raise self._cannot_start()

    def _cannot_start(self) -> InputError:
        return InputError(
            f"{self.described} cannot start from real images: leave draw.strength and draw.start_snr out"
        )
