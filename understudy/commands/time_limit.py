"""Fit a run to a time limit: measure what its work takes on this machine, then cut what does not fit."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import final

from understudy.commands.chosen import torch_device
from understudy.commands.defaults import begun_settings
from understudy.commands.few_images import draw_a_few
from understudy.commands.measuring import Measured, measure
from understudy.commands.time_plan import TimeLimit, cuts_between, plan_within, with_sizes_of
from understudy.core.device_memory import release
from understudy.core.durations import short_duration
from understudy.core.errors import InputError
from understudy.core.processes import Processes
from understudy.core.progress import Observer
from understudy.settings import Settings

_RESERVE = 0.1  # share of the limit for what the estimate leaves out, such as the report
_DRAWING = 0.05  # share of the limit in which a few images are drawn


@final
@dataclass(frozen=True, kw_only=True)
class TimePlan:
    """The settings of a run that fits a limit.

    Attributes:
        settings: of the run.
        seconds: expected time of all runs, with the time that measuring took.
        sentence: limit, what was cut, and expected time in a line.
    """

    settings: Settings
    seconds: float
    sentence: str


def plan_run(settings: Settings, limit: TimeLimit, measured: Measured) -> TimePlan:
    """Cut what does not fit, by what was measured.

    Raises:
        InputError: if not even the smallest run fits.
    """

    def cost(settings: Settings, reserve: float = _RESERVE) -> float:
        work = sum(measured.estimate(settings).seconds.values()) + measured.reading
        return measured.spent + limit.repeats * work / (1 - reserve)

    train = measured.splits.train
    fitting = plan_within(
        limit, settings, train=train, cost=cost, parts=lambda some: measured.estimate(some).seconds
    )
    cuts, seconds = cuts_between(settings, fitting, train), cost(fitting, 0.0)
    told = f"{', '.join(cuts) or 'nothing is cut'}; expected {short_duration(seconds)}"
    runs = f" for {limit.repeats} runs" if limit.repeats > 1 else ""
    sentence = f"time limit {short_duration(limit.seconds)}{runs}: {told}"
    return TimePlan(settings=fitting, seconds=seconds, sentence=sentence)


def fit_to_time(
    settings: Settings,
    seconds: float,
    *,
    given: Collection[str] = (),
    repeats: int = 1,
    device: str = "cpu",
    observer: Observer | None = None,
) -> TimePlan:
    """Measure what a run takes on this machine, and cut seeds, steps and images until it fits a time.

    Takes as long as ``understudy preview``, or less. Nothing is written.

    Args:
        settings: of the run.
        seconds: for everything, measuring included.
        given: dotted names of settings that keep their values, such as ``adapt.steps``.
        repeats: whole runs that share the time.
        device: torch device.
        observer: shows a bar while many real images are read.

    Returns:
        The settings that fit, with what was cut and the expected time; the same for all repeats.

    Raises:
        InputError: if not even the smallest run fits, and as a run would.
    """
    limit = TimeLimit(seconds=seconds, given=given, repeats=repeats)
    if Processes().count > 1:
        raise InputError(
            "a time limit needs a single process, because each would measure another pace: leave it out, and "
            "give the numbers that 'understudy preview --time-limit' says"
        )
    few = draw_a_few(settings, device=device, seconds=_DRAWING * seconds, observer=observer)
    measured = measure(settings, few, device=device)
    del few
    release()  # the run needs their memory
    return plan_run(settings, limit, measured)


def settings_within(
    settings: Settings, limit: TimeLimit | None, folder: Path, *, device: str, observer: Observer
) -> Settings:
    """The settings of a run or of several, cut to a limit; those that were begun keep their numbers.

    Args:
        settings: without a limit.
        limit: time, and which settings stay; None for no limit.
        folder: of the run or the study.
        device: as ``--device``.
        observer: is told what was cut.

    Raises:
        InputError: as :func:`fit_to_time`.
    """
    if limit is None:
        return settings
    if (begun := begun_settings(folder)) is not None:
        observer.say(f"time limit: {folder} was begun, so it keeps its numbers of seeds, steps and images")
        return with_sizes_of(settings, begun, given=limit.given)
    observer.say("time limit: measuring what a run takes on this machine")
    plan = fit_to_time(
        settings,
        limit.seconds,
        given=limit.given,
        repeats=limit.repeats,
        device=torch_device(device),
        observer=observer,
    )
    observer.say(plan.sentence)
    return plan.settings
