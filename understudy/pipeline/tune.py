"""Stage tune: choose learning rate and weight decay of every arm on validation images."""

from __future__ import annotations

from understudy.core.progress import follow
from understudy.pipeline.context import Run
from understudy.pipeline.work import Counted, Work
from understudy.settings import Settings
from understudy.training.tune import best_trial, pairs


def tune(run: Run) -> None:
    """Try every arm with every pair of values, so that none is tuned with more care than another."""
    arms, num_trials = run.arms, _num_trials(run.settings)
    with run.folder.stage("tune") as record:
        with run.observer.bar("tune", total=len(arms) * num_trials, unit="trainings") as advance:
            tried = {
                name: follow(run.classifiers.tune(name, run.training_data(name)), advance) for name in arms
            }
        record["arms"] = {
            name: {"chosen": best_trial(trials), "trials": trials} for name, trials in tried.items()
        }
    run.observer.say(f"tune: {num_trials} trainings of each of {len(arms)} arms in {record['seconds']:.0f} s")


def work(counted: Counted) -> Work:
    """The trials of every arm, also of arms that only later stages train, and the images these arms need."""
    settings = counted.settings
    later = [*settings.scale.arms] * bool(settings.scale.times) + ["synthetic"] * settings.gap.measure
    later += [*settings.membership.arms] * settings.membership.measure
    total = Work()
    for name in counted.arms:
        total += counted.images_of(name)
    for name in dict.fromkeys([*counted.arms, *later]):
        total += counted.training(name, predictions=len(counted.splits.val)) * _num_trials(settings)
    return total


def _num_trials(settings: Settings) -> int:
    return len(pairs(settings.compare, settings.tune)) * settings.tune.num_seeds
