"""Stage compare: train every arm with every seed, and test each classifier once on the real test images."""

from __future__ import annotations

from functools import partial

from understudy.core.files import write_arrays
from understudy.core.provenance import environment
from understudy.evaluation.accuracy import confusion, summarise
from understudy.evaluation.convergence import summarise_curves, summarise_phases
from understudy.evaluation.transferability import feature_quality
from understudy.pipeline.context import Run
from understudy.pipeline.work import Counted, Work
from understudy.training.arms import find_arm


def compare(run: Run) -> None:
    """Compare the arms under equal terms: the same steps, seeds and test images."""
    arms, settings = run.arms, run.settings.compare
    # Drawn before anything is trained, because a filter may leave no image.
    images = {name: run.sets.of_arm(name).record for name in arms}
    total = sum(run.steps(name) for name in arms)
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
        run.classifiers.train_arms(trainings, advance)
        results = [training.result() for training in trainings]
        record |= {
            "arms": summarise(results, use_val=[name for name in arms if find_arm(name, settings).uses_val]),
            "per_class": {
                images.split: images.counts.tolist() for images in (run.train, run.val, run.test, run.curated)
            },
            "images": {name: made for name, made in images.items() if made},
            "convergence": {
                result.arm: summarise_curves(result) for result in results if settings.curve_points
            },
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


def work(counted: Counted) -> Work:
    """Every training of every arm, and what their strategies draw and adapt beyond the shared images."""
    predictions = len(counted.splits.val) + len(counted.splits.test)
    total = Work()
    for name in counted.arms:
        total += counted.images_of(name)
        total += counted.training(name, predictions=predictions) * counted.settings.compare.num_seeds
    return total
