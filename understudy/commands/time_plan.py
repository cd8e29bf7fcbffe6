"""What to cut so that a run takes no longer than a limit: first seeds, then steps and images in proportion.

Smaller numbers than these floors would give results that mean nothing:

- ``compare.num_seeds``: 3, the fewest with which intervals cover the spread between trainings.
- ``compare.steps``: 100, the shortest trainings that were measured (docs/limits.md#short-trainings).
- steps of adaptation: 100, after which the loss on validation images is measured for the first time; with a
  distribution term that compares drawn images, as many steps more as have it.
- the same for ``class_conditional``: 500, after which the images of ``digits`` showed their class
  (docs/methods/class_conditional.md). Shorter trainings of a network that knows nothing draw noise.
- images: 50 per class, those of a small job of a bake-off.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, final

from understudy.adaptation.settings import DRAWN_FORMS
from understudy.core.durations import check_duration, short_duration
from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.labelled_set import LabelledSet
from understudy.generators.settings import FEWEST_FROM_SCRATCH
from understudy.sampling.plan import quotas
from understudy.settings import Settings

SIZES = {
    "compare": ("num_seeds", "steps"),
    "adapt": ("steps", "max_steps"),
    "draw": ("per_class", "times", "min_per_class"),
}
"""By section, the settings that a limit can lower."""

_FEWEST_SEEDS = 3
_FEWEST_CLASSIFIER_STEPS = 100
_FEWEST_ADAPTATION_STEPS = 100
_FEWEST_PER_CLASS = 50
_PARTS = 1000  # steps and images are cut to a number of thousandths


@final
@dataclass(frozen=True, kw_only=True)
class TimeLimit:
    """A limit for the time of a run.

    Attributes:
        seconds: for everything, measuring included.
        given: dotted names of settings that keep their values.
        repeats: whole runs that share the time.

    Raises:
        InputError: for a time that is not above 0 and at most a year.
    """

    seconds: float
    given: Collection[str] = ()
    repeats: int = 1

    def __post_init__(self) -> None:
        check_duration(self.seconds)


def plan_within(
    limit: TimeLimit,
    settings: Settings,
    *,
    train: LabelledSet,
    cost: Callable[[Settings], float],
    parts: Callable[[Settings], Mapping[str, float]] = lambda settings: {},
) -> Settings:
    """Lower seeds, steps and images until the runs take no longer than the limit.

    Seeds come first. If the fewest seeds do not suffice, steps of adaptation, steps of classifiers and images
    are all lowered to the same share, the largest that fits, but none below its floor.

    Args:
        limit: time, and which settings stay.
        settings: of a run without a limit.
        train: the train images.
        cost: expected seconds of all runs; never lower with more seeds, steps or images.
        parts: expected seconds of one run by stage, for the message.

    Raises:
        InputError: if the limit is shorter than the smallest runs; the message gives the time of those.
    """
    possible = [settings]
    if "compare.num_seeds" not in limit.given:
        seeds = range(settings.compare.num_seeds - 1, _FEWEST_SEEDS - 1, -1)
        possible += [_changed(settings, "compare", num_seeds=number) for number in seeds]
    fitting = next((each for each in possible if cost(each) <= limit.seconds), None)
    return fitting or _in_proportion(limit, possible[-1], train=train, cost=cost, parts=parts)


def _in_proportion(
    limit: TimeLimit,
    settings: Settings,
    *,
    train: LabelledSet,
    cost: Callable[[Settings], float],
    parts: Callable[[Settings], Mapping[str, float]],
) -> Settings:
    """The settings with the largest share of their steps and images that fits."""
    at = partial(with_share, settings, given=limit.given, train=train)
    if cost(at(0.0)) > limit.seconds:
        raise InputError(_too_short(limit, at(0.0), train, cost(at(0.0)), parts(at(0.0))))
    fits, too_long = 0, _PARTS
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if cost(at(middle / _PARTS)) <= limit.seconds:
            fits = middle
        else:
            too_long = middle
    return at(fits / _PARTS)


def _too_short(
    limit: TimeLimit, smallest: Settings, train: LabelledSet, seconds: float, parts: Mapping[str, float]
) -> str:
    kept = sorted(name for name in limit.given if _is_size(name))
    numbers = listed(_sizes(smallest, train)) + (f" and the given {listed(kept)}" if kept else "")
    takes = f"the smallest run, with {numbers}, takes about {short_duration(seconds)}: give more time"
    if limit.repeats > 1:
        runs = f"{limit.repeats} smallest runs, each with {numbers}"
        takes = f"{runs}, take about {short_duration(seconds)}: give more time, do fewer runs"
    longest = max(parts, key=lambda stage: parts[stage], default="")
    most = f" (the longest stage, {longest}: {short_duration(parts[longest])})" if longest else ""
    compare, smaller = smallest.compare, ""
    if longest == "compare":
        smaller = f", lower compare.batch_size ({compare.batch_size})"
        if compare.resolution is not None:
            smaller += (
                f" or compare.resolution ({compare.resolution}; half of it takes a quarter of the time)"
            )
    return (
        f"a time limit of {short_duration(limit.seconds)} is too short: {takes}{most}, compare fewer arms"
        f"{smaller}, or set smaller numbers yourself"
    )


def with_share(settings: Settings, share: float, *, given: Collection[str], train: LabelledSet) -> Settings:
    """The settings with this share, from 0 to 1, of all steps and images, or with their floors."""
    compare, adapt = settings.compare, settings.adapt
    has_lengths = any(
        phase.steps or phase.epochs for phases in compare.own_arms.values() for phase in phases
    )  # which together must not exceed the steps of an arm
    if "compare.steps" not in given and not has_lengths:
        steps = _lowered(compare.steps, share, _FEWEST_CLASSIFIER_STEPS)
        settings = _changed(settings, "compare", steps=steps)
    if adapt.num_steps and adapt.adapter is None:
        fewest = _FEWEST_ADAPTATION_STEPS
        if settings.generator.name == "class_conditional":
            fewest = FEWEST_FROM_SCRATCH
        if adapt.distribution in DRAWN_FORMS:
            fewest += adapt.distribution_steps
        settings = _with_adaptation(settings, share, fewest, given)
    return _with_images(settings, share, given, train)


def _with_adaptation(settings: Settings, share: float, fewest: int, given: Collection[str]) -> Settings:
    adapt = settings.adapt
    if adapt.until == "steps":
        if "adapt.steps" in given:
            return settings
        return _changed(settings, "adapt", steps=_lowered(adapt.steps, share, fewest))
    if "adapt.max_steps" in given:
        return settings
    fewest = max(fewest, adapt.steps) if "adapt.steps" in given else fewest
    most = _lowered(adapt.num_steps, share, fewest)
    return _changed(settings, "adapt", max_steps=most, steps=min(adapt.steps, most))


def _with_images(settings: Settings, share: float, given: Collection[str], train: LabelledSet) -> Settings:
    """The settings with fewer images, unless their number was given in any of the three ways."""
    draw = settings.draw
    if any(f"draw.{name}" in given for name in SIZES["draw"]):
        return settings
    if draw.per_class is not None:
        return _changed(settings, "draw", per_class=_lowered(draw.per_class, share, _FEWEST_PER_CLASS))
    fewest = _FEWEST_PER_CLASS * train.num_classes / len(train)
    return _changed(
        settings,
        "draw",
        times=max(min(draw.times, fewest), int(draw.times * share * 1000) / 1000),
        min_per_class=_lowered(draw.min_per_class, share, _FEWEST_PER_CLASS),
    )


def _lowered(number: int, share: float, floor: int) -> int:
    """A share of a number, rounded down to two digits; at least ``floor``, unless the number is lower."""
    lower = int(number * share)
    rest = lower % int(10 ** max(0, len(str(lower)) - 2))
    return max(min(number, floor), lower - rest)


def _changed(settings: Settings, section: str, **values: Any) -> Settings:
    """The settings with other values of a section; what was not given still counts as not given."""
    before = getattr(settings, section)
    new = {name: value for name, value in values.items() if value != getattr(before, name)}
    return settings.model_copy(update={section: before.changed(**new)}) if new else settings


def with_sizes_of(settings: Settings, begun: Settings, *, given: Collection[str]) -> Settings:
    """The settings with the numbers of a run that was begun, where they are not given."""
    for section, names in SIZES.items():
        kept = [name for name in names if f"{section}.{name}" not in given]
        stored = {name: getattr(getattr(begun, section), name) for name in kept}
        settings = _changed(settings, section, **stored)
    return settings


def _is_size(name: str) -> bool:
    section, _, field = name.partition(".")
    return field in SIZES.get(section, ())


def _sizes(settings: Settings, train: LabelledSet) -> list[str]:
    """The numbers that a limit can lower, in words."""
    numbers = _numbers(settings, train)
    return [f"{number:,} {words}" for words, number in numbers.items() if number]


def cuts_between(before: Settings, after: Settings, train: LabelledSet) -> list[str]:
    """What was cut, such as ``600 -> 240 adaptation steps``; empty if nothing was."""
    numbers = _numbers(after, train)
    return [
        f"{number:,} -> {numbers[words]:,} {words}"
        for words, number in _numbers(before, train).items()
        if number != numbers[words]
    ]


def _numbers(settings: Settings, train: LabelledSet) -> dict[str, int]:
    is_adapted = settings.adapt.adapter is None
    return {
        "seeds": settings.compare.num_seeds,
        "adaptation steps": settings.adapt.num_steps if is_adapted else 0,
        "classifier steps": settings.compare.steps,
        "images": int(quotas(train, settings.draw).sum()),
    }
