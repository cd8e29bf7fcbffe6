"""The settings of an arm after the strategies in its name have overridden some of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.settings import Settings, build, differing_keys, with_section
from understudy.training.arms import find_arm
from understudy.training.refresh import images_needed
from understudy.training.strategies import STRATEGIES, split_name

_GAP_ARMS = {
    "filtered": "synthetic@confidence-filter",
    "fresh": "synthetic@refresh",
    "filtered+fresh": "synthetic@confidence-filter@refresh",
    "diverse": "synthetic@diverse",
    "matched": "synthetic@matched",
}
"""Arms that explain the gap, by role: what they change about plain synthetic images
(:mod:`understudy.functional.gaps`).
"""


@final
@dataclass(frozen=True, kw_only=True)
class ArmSettings:
    """The settings with which the images of an arm are drawn and selected.

    Attributes:
        settings: of the run, with the overrides of the arm's strategies.
        changing: strategies that override at least one setting.
        idle: strategies whose overrides change nothing, because the run already has these values.
    """

    settings: Settings
    changing: tuple[str, ...]
    idle: tuple[str, ...]


def shots_of(train: LabelledSet) -> int:
    """Images of the smallest class that is not empty, which strategies use as the number of shots."""
    return int(train.counts[train.counts > 0].min())


def arm_settings(name: str, base: Settings, *, shots: int) -> ArmSettings:
    """Apply the strategies of an arm to the settings of a run.

    Args:
        name: of the arm, with its strategies.
        base: settings to override.
        shots: train images of the smallest class.

    Raises:
        InputError: if a strategy does not fit the settings or another strategy of the arm.
    """
    settings, idle, strategy_of = base, list[str](), dict[str, str]()
    strategies = split_name(name)[1]
    if len(controls := [strategy for strategy in strategies if STRATEGIES[strategy].is_control]) > 1:
        raise InputError(
            f"an arm can have only one control, got {' and '.join(map(repr, controls))} in {name!r}: compare "
            "an arm for each"
        )
    for strategy in strategies:
        overrides = STRATEGIES[strategy].overrides
        if overrides is None:
            continue
        changed = build(settings.model_dump(), overrides(settings.generator, settings.draw, shots))
        keys = differing_keys(settings, changed)
        if not keys:
            idle.append(strategy)
        if twice := [key for key in keys if key in strategy_of]:
            raise InputError(
                f"the strategies {strategy_of[twice[0]]!r} and {strategy!r} of the arm {name!r} both set "
                f"{twice[0]}: use only one of them"
            )
        settings, strategy_of = changed, strategy_of | dict.fromkeys(keys, strategy)
    return ArmSettings(
        settings=settings, changing=tuple(dict.fromkeys(strategy_of.values())), idle=tuple(idle)
    )


def check_strategies(name: str, base: Settings) -> None:
    """Check that the strategies of an arm fit the settings and each other; needs no images.

    Raises:
        InputError: if one of them does not fit.
    """
    arm_settings(name, base, shots=1)


def effective_settings(name: str, base: Settings, *, shots: int) -> ArmSettings:
    """As :func:`arm_settings`, and check that every strategy changes something.

    Raises:
        InputError: as :func:`arm_settings`, and if a strategy changes nothing.
    """
    found = arm_settings(name, base, shots=shots)
    if found.idle:
        raise InputError(
            f"the strategy {found.idle[0]!r} of the arm {name!r} has no effect: the run already does this "
            f"for every arm; remove '@{found.idle[0]}'"
        )
    return found


def images_wanted(name: str, base: Settings, *, num_real: int, quota: np.ndarray) -> np.ndarray:
    """Total synthetic images of each class that an arm uses, with all refreshes, int64 (num_classes,).

    Args:
        name: of the arm.
        base: settings, in which ``draw.refresh_times`` limits the number of images.
        num_real: real train images.
        quota: images of each class in use at the same time, int64 (num_classes,).
    """
    needed = images_needed(find_arm(name, base.compare), base.compare, num_real=num_real, quota=quota)
    wanted: np.ndarray = np.minimum(needed, np.ceil(quota * base.draw.refresh_times).astype(np.int64))
    return wanted


def settings_of_arms(settings: Settings, train: LabelledSet) -> dict[str, Settings]:
    """The settings of every arm that a run compares or attacks, by its name.

    Raises:
        InputError: as :func:`effective_settings`.
    """
    attacked = settings.membership.arms if settings.membership.measure else ()
    names, shots = dict.fromkeys([*settings.compare.arms, *attacked]), shots_of(train)
    return {name: effective_settings(name, settings, shots=shots).settings for name in names}


def as_many_as_real(settings: Settings) -> Settings:
    """Settings for plain synthetic images: as many as real ones, none rejected."""
    per_real: dict[str, Any] = {"per_class": None, "times": 1.0, "min_per_class": 1, "of_classes": {}}
    plain = with_section(settings, "draw", **per_real, members=1, allocation="as-real")
    # scale.stop_below forbids selections, which some of these sets use; none of the sets ever grows.
    plain = with_section(plain, "scale", stop_below=None)
    # Real images redrawn with little noise look like copies, but all of them are needed.
    kept = {"score": "none", "threshold": None, "select": "first", "direction": None, "firewall": "off"}
    return with_section(plain, "curate", **kept)


def gap_arms(plain: Settings, *, shots: int) -> dict[str, str]:
    """Arms that explain the gap, by role, without arms that cannot be drawn or would change nothing.

    Args:
        plain: settings from :func:`as_many_as_real`.
        shots: train images of the smallest class.
    """
    arms = dict(_GAP_ARMS)
    if plain.generator.is_ready_made or plain.draw.starts_from_real:
        del arms["diverse"]
    return {role: arm for role, arm in arms.items() if not arm_settings(arm, plain, shots=shots).idle}
