"""What is measured besides accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from understudy.core.config import NAME_PATTERN, Section

CORRUPTIONS = ("noise", "blur", "contrast", "pixelate", "jpeg", "brightness", "rotation")
"""Names of the built-in changes of test images."""


class ScaleSettings(Section):
    """Whether larger synthetic sets are drawn and compared, after the arms.

    Attributes:
        times: sizes of these sets, in multiples of the train split, per class.
        arms: arms trained on each of them.
        real_shares: shares of the train split that ``real`` is trained on, for the number of real images that a set is worth.
        stop_below: try sizes in ascending order, and no larger one once it is not clear that the last step gained at least this much
            validation accuracy per doubling, in percentage points; all sizes if not set.
    """

    times: tuple[Annotated[float, Field(gt=0, le=10_000)], ...] = ()
    arms: tuple[str, ...] = ("synthetic",)
    real_shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.125, 0.25, 0.5)
    stop_below: float | None = Field(default=None, ge=0, lt=100)

    @model_validator(mode="after")
    def _can_stop(self) -> Self:
        if self.stop_below is not None and 0 < len(set(self.times)) < 3:
            raise ValueError(
                f"stop_below {self.stop_below:g} has no effect on fewer than three sizes, since the first two are always tried, got "
                f"{', '.join(f'{value:g}' for value in self.times)}: leave it out, or give more in scale.times"
            )
        return self


class GapSettings(Section):
    """Whether the gap between synthetic and real images is taken apart, after the arms.

    Attributes:
        measure: do it.
        strengths: how far real images are noised before the generator draws them again, 0 to 1, ascending; the smallest changes
            their looks alone. None of them leaves less than one solver step, and the smallest is raised to one step.
    """

    measure: bool = False
    strengths: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(default=(0.05, 0.2, 0.4, 0.6, 0.8), min_length=1)

    @model_validator(mode="after")
    def _strengths_ascend(self) -> Self:
        if list(self.strengths) != sorted(set(self.strengths)):
            raise ValueError(f"strengths must ascend, got {', '.join(f'{value:g}' for value in self.strengths)}")
        return self


class FidelitySettings(Section):
    """How close synthetic images come to real ones, measured after curation.

    Attributes:
        measure: do it.
        encoder: what makes features of images; see ``understudy list encoders``. ``auto`` takes the generator's own image encoder,
            or, if it has none, the network that arms start from if it is pretrained, or else the bundled one.
        neighbours: k of precision, recall, density and coverage.
        resamples: bootstrap resamples behind each interval.
        memory_gb: largest block of distances or kernel values that is held at once, in GB.
    """

    measure: bool = True
    encoder: str = "auto"
    neighbours: int = Field(default=5, ge=1)
    resamples: int = Field(default=100, ge=20)
    memory_gb: float = Field(default=0.25, gt=0)


class ShiftSettings(Section):
    """Whether arms are tested on images unlike those they were compared on.

    Attributes:
        measure: do it.
        tests: further labelled sets by name, with the same classes or some of them; predictions are then among those alone.
        corruptions: changes of the test images; see ``understudy list corruptions``.
        severities: how strong each is, 1 to 5.
    """

    measure: bool = False
    tests: dict[Annotated[str, Field(pattern=NAME_PATTERN)], Path] = Field(default_factory=dict)
    corruptions: tuple[str, ...] = CORRUPTIONS
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(default=(1, 2, 3, 4, 5), min_length=1)

    @model_validator(mode="after")
    def _severities_ascend(self) -> Self:
        if list(self.severities) != sorted(set(self.severities)):
            raise ValueError(f"severities must ascend, got {', '.join(map(str, self.severities))}")
        return self


class MembershipSettings(Section):
    """Whether it is audited how well an attacker can tell which real images a classifier goes back to.

    Attributes:
        measure: do it.
        arms: the arms to audit.
        target: what is made anew for every shadow model: the ``classifier``, with the run's synthetic images, or the whole ``pipeline``,
            adaptation and drawing included.
        shadows: shadow models of each arm; each learns from one half of the real images.
        false_positive_rates: at which the true-positive rate is stated.
        private_epsilon: privacy loss of a differentially private reference, trained on real images alone with DP-SGD; none if not set.
        private_delta: its chance of a larger loss; the largest power of ten below one over the images a model learns from, if not set.
    """

    measure: bool = False
    arms: tuple[str, ...] = ("real", "synthetic", "mixed", "bridged")
    target: Literal["classifier", "pipeline"] = "classifier"
    shadows: int = Field(default=64, ge=4, le=10_000)
    false_positive_rates: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(default=(0.001, 0.01), min_length=1)
    private_epsilon: float | None = Field(default=None, gt=0)
    private_delta: float | None = Field(default=None, gt=0, lt=1)
