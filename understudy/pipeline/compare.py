"""Stage compare: train every arm with every seed, and test each classifier once on the real test images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from understudy.core.files import write_arrays
from understudy.core.provenance import environment
from understudy.evaluation.accuracy import confusion, figures_on_val, summarise
from understudy.evaluation.choice import Choice, choose
from understudy.evaluation.class_sizes import measure_of_verdict
from understudy.evaluation.convergence import summarise_curves, summarise_phases
from understudy.evaluation.other_trainings import judged_by_other_trainings
from understudy.evaluation.plateau import cannot_tell, still_rising, summarise_plateau
from understudy.evaluation.simultaneous import differences_at_once
from understudy.evaluation.transferability import feature_quality
from understudy.pipeline.context import Run
from understudy.pipeline.work import Counted, Work
from understudy.training.arms import find_arm, refittable_arms, with_val
from understudy.training.records import ArmResult
from understudy.training.settings import CompareSettings


def compare(run: Run) -> None:
    """Compare the arms under equal terms: the same steps, seeds and test images."""
    arms, settings = run.arms, run.settings.compare
    # Drawn before anything is trained, because a filter may leave no image.
    images = {name: run.sets.of_arm(name).record for name in arms}
    run.sets.free_generators()
    total = sum(run.steps(name) for name in [*arms, *_stand_in(arms, settings)])
    with (
        run.folder.stage("compare") as record,
        run.observer.bar("compare", total=total, unit="steps") as advance,
    ):
        measure, source = None, None
        if settings.transferability:
            measure = partial(feature_quality, train=run.train, test=run.test)
            # Measured first, because the pretrained network may not fit.
            source = measure(run.classifiers.start) if settings.pretrained else None
        trainings = [run.training(name, measure=measure) for name in arms]
        advance(sum(training.steps_done for training in trainings))
        run.classifiers.train_arms(trainings, advance)
        results = [training.result() for training in trainings]
        if judged := _judged(run, results):
            record["judged"] = judged
        if refit := _refit(run, results):
            arms.append(refit)
            images[refit] = run.sets.of_arm(refit).record
            again = run.training(refit, measure=measure)
            advance(again.steps_done)
            run.classifiers.train_arms([again], advance)
            results.append(again.result())
        record |= {
            "arms": summarise(results, use_val=_using_val(arms, settings)),
            "refit": refit,
            "refittable": refittable_arms(arms, settings),
            "at_once": differences_at_once(results, seed=run.settings.seed),
            "per_class": {
                images.split: images.counts.tolist() for images in (run.train, run.val, run.test, run.curated)
            },
            "images": {name: made for name, made in images.items() if made},
            "convergence": {
                result.arm: summarise_curves(result) for result in results if settings.curve_points
            },
            "plateau": {result.arm: summarise_plateau(result) for result in results if settings.curve_points},
            "environment": environment(run.device),
        }
        if settings.transferability:
            record["transferability"] = {"source": source, "arms": summarise_phases(results)}
        write_arrays(
            run.path / "arms" / "confusions.npz", {result.arm: confusion(result) for result in results}
        )
    run.observer.say(
        f"compare: {len(arms)} arms, {settings.num_seeds} seeds each, in {record['seconds']:.0f} s"
    )
    if rising := still_rising(record["plateau"]):
        run.observer.say(f"compare: still rose in the second half of the training: {rising}")
    if unclear := cannot_tell(record["plateau"]):
        run.observer.say(f"compare: the trainings cannot tell whether these still rose: {unclear}")


def _using_val(arms: Iterable[str], settings: CompareSettings) -> list[str]:
    """The arms that use the validation images as train images."""
    return [name for name in arms if find_arm(name, settings).uses_val]


def _stand_in(arms: Sequence[str], settings: CompareSettings) -> list[str]:
    """An arm that stands for the one that is trained again, before it is known; empty if none is."""
    return refittable_arms(arms, settings)[:1] if settings.does_refit else []


def _choice(run: Run, names: Sequence[str]) -> Choice | None:
    """How the arm of the verdict is chosen; None if no arm can be."""
    settings = run.settings.compare
    candidates = [name for name in names if find_arm(name, settings).can_be_chosen]
    if not candidates:
        return None
    return Choice(
        candidates=candidates,
        num_val=len(run.val),
        refittable=refittable_arms(candidates, settings) if settings.does_refit else (),
        measure=measure_of_verdict(settings.verdict, {}, run.test.counts.tolist()),
    )


def _judged(run: Run, results: Sequence[ArmResult]) -> dict[str, Any]:
    """Figures of the arm of the verdict, if its trainings do not agree on it; otherwise empty."""
    names = [each.arm for each in results]
    choice = _choice(run, names)
    use_val = _using_val(names, run.settings.compare)
    return {} if choice is None else judged_by_other_trainings(results, choice, use_val=use_val)


def _refit(run: Run, results: Sequence[ArmResult]) -> str | None:
    """The arm that the verdict will choose, in its form that learns from validation images too.

    None if there is no such form, it was compared already, or ``real+val`` was not.
    """
    settings, names = run.settings.compare, [each.arm for each in results]
    choice = _choice(run, names)
    if not settings.does_refit or choice is None:
        return None
    on_val = figures_on_val(results, use_val=_using_val(names, settings))
    name = with_val(choose(on_val, choice).arm, settings)
    return None if name in names else name


def work(counted: Counted) -> Work:
    """Every training of every arm, what their strategies draw and adapt, and the chosen arm trained again."""
    predictions = len(counted.splits.val) + len(counted.splits.test)
    total = Work()
    for name in counted.arms:
        total += counted.images_of(name)
    for name in [*counted.arms, *_stand_in(counted.arms, counted.settings.compare)]:
        total += counted.training(name, predictions=predictions) * counted.settings.compare.num_seeds
    return total
