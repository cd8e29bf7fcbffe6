"""Settings of all measurements except accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from understudy.core.config import NAME_PATTERN, Section, setting, unless, when

CORRUPTIONS = ("noise", "blur", "contrast", "pixelate", "jpeg", "brightness", "rotation")
"""Names of the built-in corruptions of test images."""

_SCALES = unless("scale.times", ())


def _check_ascending(name: str, values: Sequence[float]) -> None:
    if list(values) != sorted(set(values)):
        raise ValueError(
            f"{name} must ascend without repeats, got {', '.join(f'{value:g}' for value in values)}"
        )


class ScaleSettings(Section):
    """Larger synthetic sets, drawn and compared after the arms."""

    addable: ClassVar[bool] = True
    growing: ClassVar[tuple[str, ...]] = ("times", "real_shares")

    times: tuple[Annotated[float, Field(gt=0, le=10_000)], ...] = setting(())
    """Sizes of the sets, in multiples of the train split, per class; none by default. The option `--times`
    sets them, and `draw.times` to the first."""
    arms: tuple[str, ...] = setting(("synthetic",), needs=_SCALES)
    """Arms trained on each size."""
    real_shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = setting((0.125, 0.25, 0.5), needs=_SCALES)
    """Shares of the train split on which the arm `real` is trained, in addition to the whole split. The
    resulting curve tells how many real images a synthetic set is worth."""
    stop_below: float | None = setting(None, ge=0, lt=100, needs=_SCALES)
    """Try sizes in ascending order, and stop when no arm has clearly gained at least this many percentage
    points of validation accuracy per doubling in the last step; if not set, all sizes are tried."""

    @model_validator(mode="after")
    def _can_stop(self) -> Self:
        if self.stop_below is not None and 0 < len(set(self.times)) < 3:
            raise ValueError(
                f"stop_below {self.stop_below:g} needs at least three sizes, because the first two are "
                f"always tried, got {', '.join(f'{value:g}' for value in self.times)}: leave it out, or give "
                "more sizes in scale.times"
            )
        return self


class GapSettings(Section):
    """Explaining the accuracy gap between synthetic and real images, after the arms."""

    addable: ClassVar[bool] = True

    measure: bool = setting(False)
    """Explain the gap; `understudy gap` sets it."""
    strengths: tuple[Annotated[float, Field(gt=0, le=1)], ...] = setting(
        (0.05, 0.2, 0.4, 0.6, 0.8), min_length=1, needs=when("gap.measure", True)
    )
    """Noise added to real images before the generator draws them again, ascending. The smallest should change
    only how images look. A value below one solver step is raised to one step."""

    @model_validator(mode="after")
    def _strengths_ascend(self) -> Self:
        _check_ascending("strengths", self.strengths)
        return self


_FIDELITY = when("fidelity.measure", True)


class FidelitySettings(Section):
    """How close synthetic images come to real ones, measured after curation."""

    addable: ClassVar[bool] = True

    measure: bool = setting(True)
    """Measure fidelity."""
    encoder: str = setting("auto", needs=_FIDELITY)
    """Network that computes features of images; see `understudy list encoders`. `auto` uses the image encoder
    of the generator, else the network that arms start from if it is pretrained, else the bundled encoder."""
    neighbours: int = setting(5, ge=1, needs=_FIDELITY)
    """k of precision, recall, density and coverage; Kynkäänniemi et al. (2019) use 3, Naeem et al. (2020) use
    5."""
    resamples: int = setting(100, ge=20, needs=_FIDELITY)
    """Bootstrap resamples behind the intervals of the four distances."""
    memory_gb: float = setting(0.25, gt=0, decides="nothing", needs=_FIDELITY)
    """Largest block of distances or kernel values in memory at once, in GB; the features need memory in
    addition."""


_SHIFT = when("shift.measure", True)


class ShiftSettings(Section):
    """Tests of the arms on corrupted images and on further test sets."""

    addable: ClassVar[bool] = True

    measure: bool = setting(False)
    """Test the arms on other images after they were compared; `understudy evaluate` sets it."""
    tests: dict[Annotated[str, Field(pattern=NAME_PATTERN)], Path] = setting({}, needs=_SHIFT)
    """Further labelled test sets by name, as set by `--test NAME=PATH`. If a set has only some of the
    classes, predictions are restricted to these classes."""
    corruptions: tuple[str, ...] = setting(
        CORRUPTIONS, needs=_SHIFT, registry="evaluation.corruptions:CORRUPTIONS"
    )
    """Corruptions of the test images; see `understudy list corruptions`."""
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = setting(
        (1, 2, 3, 4, 5), min_length=1, needs=_SHIFT
    )
    """Strengths of each corruption, ascending."""

    @model_validator(mode="after")
    def _severities_ascend(self) -> Self:
        _check_ascending("severities", self.severities)
        return self


_AUDIT = when("membership.measure", True)


class MembershipSettings(Section):
    """Membership-inference attacks: how well an attacker can tell which real images an arm was trained on."""

    addable: ClassVar[bool] = True

    measure: bool = setting(False)
    """Run the attacks; `understudy audit` sets it."""
    arms: tuple[str, ...] = setting(("real", "synthetic", "mixed", "bridged"), needs=_AUDIT)
    """Arms to attack."""
    target: Literal["classifier", "pipeline"] = setting("classifier", needs=_AUDIT)
    """The part that is trained for every shadow model: only the `classifier`, on the synthetic images of the
    run, or the whole `pipeline`, including adaptation and drawing."""
    shadows: int = setting(64, ge=4, le=10_000, needs=_AUDIT)
    """Shadow models per arm, an even number from 6 on; each is trained on another half of the real
    images."""
    false_positive_rates: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = setting(
        (0.001, 0.01), min_length=1, needs=_AUDIT
    )
    """False-positive rates at which the attack's true-positive rate is reported."""
    private_epsilon: float | None = setting(None, gt=0, needs=_AUDIT)
    """Privacy budget epsilon of a differentially private reference, trained with DP-SGD on real images alone;
    if not set, there is no reference."""
    private_delta: float | None = setting(
        None, gt=0, lt=1, needs=(_AUDIT, unless("membership.private_epsilon", None))
    )
    """Probability delta with which the reference can exceed its budget; if not set, the largest power of ten
    below 1 / N, where N images train a model."""
