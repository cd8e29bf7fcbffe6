"""What a strategy is: one way to make synthetic images worth more, as a change to an arm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

from pydantic import ValidationError

from understudy.errors import InputError
from understudy.registry import Registry
from understudy.settings import Phase, Settings, build

Term = Literal["appearance", "content", "quality", "quantity"]
"""A part of the gap, see :mod:`understudy.functional.gaps`."""
ChangeSet = Callable[[Settings, int], Settings]
"""The settings of a run and the train images of its smallest class, to the settings with which the arm's images are drawn and chosen."""
ChangePhases = Callable[[tuple[Phase, ...]], tuple[Phase, ...]]
"""The phases of an arm to those that are trained instead."""


@final
@dataclass(frozen=True, kw_only=True)
class Strategy:
    """Changes which synthetic images an arm sees, how it is trained on them, or both.

    Attributes:
        addresses: parts of the gap that it is meant to close.
        source: where it comes from.
        change_set: of its images; None if they are those of the run.
        change_phases: of its training; None if it stays as it is.
    """

    addresses: tuple[Term, ...]
    source: str
    change_set: ChangeSet | None = None
    change_phases: ChangePhases | None = None


STRATEGIES: Registry[Strategy] = Registry("strategy")


def split_name(name: str) -> tuple[str, tuple[str, ...]]:
    """An arm's name to that of the plain arm and its strategies.

    Raises:
        InputError: for an unknown strategy, or one named twice.

    Example:
        >>> split_name("synthetic@refresh@soft-labels")
        ('synthetic', ('refresh', 'soft-labels'))
    """
    plain, *strategies = name.split("@")
    for strategy in strategies:
        STRATEGIES[strategy]
    if len(set(strategies)) < len(strategies):
        raise InputError(f"a strategy must be named once in an arm, got {name!r}")
    return plain, tuple(strategies)


def on_synthetic(**changes: object) -> ChangePhases:
    """A change of every phase that sees synthetic images."""
    return lambda phases: tuple(phase if phase.data == "real" else with_changes(phase, **changes) for phase in phases)


def with_changes(phase: Phase, **changes: object) -> Phase:
    """A phase with other values, checked as if a user had written them.

    Raises:
        InputError: for values that do not fit the phase.
    """
    try:
        return Phase.model_validate({**phase.model_dump(exclude_unset=True), **changes})
    except ValidationError as error:
        raise InputError(f"{', '.join(changes)}: {error.errors()[0]['msg']}") from None


def with_section(settings: Settings, section: str, **changes: object) -> Settings:
    """Settings with other values in one section, checked likewise."""
    return build(settings.model_dump(), {section: changes})
