"""Stage tune: choose learning rate and weight decay of every arm on validation images."""

from __future__ import annotations

from collections.abc import Sequence

from understudy.pipeline.context import Run
from understudy.pipeline.work import Counted, Work
from understudy.settings import Settings
from understudy.training.arms import find_arm
from understudy.training.tune import best_trial, num_trials


def tune(run: Run) -> None:
    """Try every arm with every pair of values, so that all arms are tuned equally well."""
    arms, trials_each = _tuned(run.arms, run.settings), num_trials(run.settings.compare, run.settings.tune)
    with run.folder.stage("tune") as record:
        data = {name: run.training_data(name) for name in arms}
        run.sets.free_generators()
        with run.observer.bar("tune", total=len(arms) * trials_each, unit="trainings") as advance:
            tried = run.classifiers.tune(data, advance)
        record["arms"] = {
            name: {"chosen": best_trial(trials), "trials": trials} for name, trials in tried.items()
        }
    run.observer.say(f"tune: {len(arms)} arms, {trials_each} trainings each, in {record['seconds']:.0f} s")


def _tuned(arms: Sequence[str], settings: Settings) -> list[str]:
    """The arms to tune; an arm that learns from the validation images takes the values of another one."""
    found = [find_arm(name, settings.compare) for name in arms]
    return list(dict.fromkeys(arm.without_val for arm in found))


def work(counted: Counted) -> Work:
    """Every trial of every compared arm, and the images of arms with strategies, which it draws first."""
    total = Work()
    for name in _tuned(counted.arms, counted.settings):
        total += counted.images_of(name) + counted.tuning(name)
    return total
