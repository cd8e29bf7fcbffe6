"""Stage curate: judge the drawn images, redraw rejected ones, and keep the best."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from understudy.core.errors import InputError
from understudy.core.files import write_atomically
from understudy.curation.curate import Decisions
from understudy.curation.exhausted import explain_rejection
from understudy.curation.scores import SCORES
from understudy.curation.settings import CurateSettings
from understudy.evaluation.domain import measure_domain
from understudy.pipeline.context import Run
from understudy.pipeline.samples import write_samples
from understudy.pipeline.synthetic import JudgedImages
from understudy.pipeline.work import Counted, Work
from understudy.sampling.plan import quotas
from understudy.settings import Settings


def curate(run: Run) -> None:
    """Make the curated set that the arms share."""
    settings, folder = run.settings, run.path / "synthetic"
    quota, check = quotas(run.train, settings.draw), partial(_check_domain, run)
    with run.folder.stage("curate") as record:
        if settings.draw.allocation == "weak-classes":
            first = run.sets.fill(quota, settings, check=check)
            quota = run.sets.allocate(quota, first.images, again=True)
        made = run.sets.fill(quota, settings, check=check)
        write_atomically(folder / "decisions.parquet", partial(pq.write_table, made.decisions.table()))
        made.images.save(folder / "curated.parquet")
        record |= _record(made, quota, settings.curate, run.train.class_names)
        if settings.curate.score == "agreement":
            record["fidelity"]["domain"] = _domain(made.decisions)
    write_samples(run, made.images)
    counts = record["curation"]
    missing = sum(counts["missing"].values())
    short = f", {missing} fewer than wanted" if missing else ""
    run.observer.say(f"curate: kept {counts['kept']} of {counts['drawn']} drawn{short}")
    if counts["problem"] is not None:
        run.observer.say(f"curate: {counts['problem']}")


def _domain(decisions: Decisions) -> dict[str, Any]:
    return measure_domain(decisions.labels, decisions.scores == 1.0)


def _check_domain(run: Run, decisions: Decisions) -> None:
    """Check that the generator knows images like these, before more are drawn and every arm is trained.

    A classifier that does not know the validation images either cannot tell.

    Raises:
        InputError: if the drawn images are recognised no better than by chance.
    """
    settings = run.settings
    if settings.curate.score != "agreement" or not settings.curate.stop_at_chance:
        return
    found = _domain(decisions)
    accepts_all = decisions.threshold <= 0
    if found["knows"] is not False or accepts_all or not len(run.val):
        return
    known = run.classifiers.judge.predict(run.val).argmax(axis=1) == run.val.labels
    of_real = measure_domain(run.val.labels, known)
    if of_real["agreement"]["low"] <= found["agreement"]["high"]:
        return
    drawn, real = found["agreement"]["mean"], of_real["agreement"]["mean"]
    raise InputError(
        f"the generator {settings.generator.name!r} does not know such images: a classifier of real ones "
        f"recognises {drawn:.0%} of {found['images']:,} drawn images (chance: {found['chance']:.0%}) and "
        f"{real:.0%} of the validation images, on average over classes: ",
        f"{what_else(settings)}; to go on all the same: --set curate.stop_at_chance=false",
    )


def what_else(settings: Settings) -> str:
    """What to do about a generator that does not know images like the real ones."""
    if settings.generator.is_ready_made:
        return "check that the images of generator.images lie in the folders of their classes"
    choices = [
        "a pipeline that was trained on such images (--generator FOLDER or a name on the hub)",
        *(
            []
            if settings.generator.name == "class_conditional"
            else ["--generator class_conditional, which learns from your images alone"]
        ),
        "images made elsewhere (--generator folder)",
    ]
    return f"use {', or '.join(choices)}"


def _record(
    made: JudgedImages, quota: np.ndarray, settings: CurateSettings, class_names: tuple[str, ...]
) -> dict[str, Any]:
    decisions, labels = made.decisions, made.decisions.labels
    kept = np.bincount(labels[decisions.kept], minlength=len(quota))
    counts = zip(class_names, quota, kept, strict=True)
    return {
        "curation": {
            "drawn": len(labels),
            "kept": int(kept.sum()),
            "rejected": decisions.rejections,
            "threshold": decisions.threshold,
            "rounds": made.rounds,
            "missing": {name: int(want - have) for name, want, have in counts if want > have},
            "problem": explain_rejection(
                decisions, quota, class_names=class_names, settings=settings, rounds=made.rounds
            ),
        },
        "fidelity": {"agreement": _agreement(decisions, len(quota))} if settings.score == "agreement" else {},
    }


def _agreement(decisions: Decisions, num_classes: int) -> dict[str, Any]:
    """Share of the drawn images whose class the judge recognises, in all and per class."""
    agrees = decisions.scores == 1.0
    of_class = [agrees[decisions.labels == label] for label in range(num_classes)]
    per_class = [float(share.mean()) if len(share) else None for share in of_class]
    return {"mean": float(agrees.mean()), "per_class": per_class}


def work(counted: Counted) -> Work:
    """The training of the judge of drawn images, if there is one; replacements are not counted."""
    score = counted.settings.curate.score
    return counted.training("real") if score != "none" and SCORES[score].judge == "real" else Work()
