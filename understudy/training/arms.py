"""Arms: ways to use real and synthetic images, each a short list of phases on one step budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from understudy.errors import InputError
from understudy.registry import Registry

PhaseData = Literal["real", "synthetic", "mixed"]


@final
@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training on one kind of data, with a learning-rate schedule of its own.

    Attributes:
        data: ``mixed`` is real and synthetic images in one set, each image once.
        share: of the optimisation steps, in (0, 1].
        reset_head: begin with a fresh classification layer.
    """

    data: PhaseData
    share: float = 1.0
    reset_head: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], got {self.share}")


@final
@dataclass(frozen=True, kw_only=True)
class Arm:
    """A named way to use the data. Arms share everything else: backbone, steps, recipe and seeds.

    Attributes:
        name: how users call it.
        phases: in order; shares sum to 1.
        summary: one line for ``understudy list``.
    """

    name: str
    phases: tuple[Phase, ...]
    summary: str

    def __post_init__(self) -> None:
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1) > 1e-9:
            raise ValueError(f"shares of the phases of {self.name!r} must sum to 1, got {total}")

    @property
    def uses_synthetic(self) -> bool:
        """Whether any phase sees synthetic images."""
        return any(phase.data != "real" for phase in self.phases)

    def phase_steps(self, steps: int) -> tuple[int, ...]:
        """Steps of each phase; they sum to ``steps``.

        Raises:
            InputError: if a phase would get none.

        Example:
            >>> ARMS["bridged"].phase_steps(301)
            (150, 151)
        """
        ends = [round(steps * sum(phase.share for phase in self.phases[: index + 1])) for index in range(len(self.phases))]
        counts = tuple(end - start for start, end in zip([0, *ends], ends, strict=False))
        if min(counts) < 1:
            raise InputError(
                f"compare.steps must give each phase of the arm {self.name!r} a step, got {steps} for {self.describe()}: use more"
            )
        return counts

    def describe(self) -> str:
        """The phases on one line.

        Example:
            >>> ARMS["bridged"].describe()
            '50% synthetic, then 50% real'
        """
        return ", then ".join(f"{phase.share:.0%} {phase.data}{' with a fresh head' if phase.reset_head else ''}" for phase in self.phases)


ARMS: Registry[Arm] = Registry("arm")


def _add(arm: Arm) -> None:
    ARMS.register(arm.name, summary=arm.summary)(arm)


_add(Arm(name="real", phases=(Phase(data="real"),), summary="real images alone: what the other arms are measured against"))
_add(Arm(name="synthetic", phases=(Phase(data="synthetic"),), summary="synthetic images alone"))
_add(Arm(name="mixed", phases=(Phase(data="mixed"),), summary="real and synthetic images in one set"))
_add(
    Arm(
        name="bridged",
        phases=(Phase(data="synthetic", share=0.5), Phase(data="real", share=0.5)),
        summary="first synthetic, then real images, half of the steps each",
    )
)
