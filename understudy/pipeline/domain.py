"""Whether the generator of a run knows images like the real ones, and what to do if it does not."""

from __future__ import annotations

from typing import Any

from understudy.core.errors import InputError
from understudy.curation.curate import Decisions
from understudy.evaluation.domain import measure_domain
from understudy.pipeline.context import Run
from understudy.settings import Settings


def domain_of(decisions: Decisions) -> dict[str, Any]:
    """:func:`measure_domain` of all drawn images, after ``curate.score=agreement``."""
    return measure_domain(decisions.labels, decisions.scores == 1.0)


def check_domain(run: Run, decisions: Decisions) -> None:
    """Check that the generator knows images like these, before more are drawn and every arm is trained.

    A classifier that does not know the validation images either cannot tell.

    Raises:
        InputError: if the drawn images are recognised no better than by chance.
    """
    settings = run.settings
    if settings.curate.score != "agreement" or not settings.curate.stop_at_chance:
        return
    found = domain_of(decisions)
    if found["knows"]:
        return
    can_tell = found["knows"] is False and decisions.threshold > 0 and len(run.val)
    of_real = _of_validation_images(run) if can_tell else None
    if of_real is None or of_real["agreement"]["low"] <= found["agreement"]["high"]:
        run.observer.say(f"curate: {_recognised(found)}; this does not tell whether the generator knows them")
        return
    raise InputError(
        f"the generator {settings.generator.name!r} does not know such images: {_recognised(found)} and "
        f"{of_real['agreement']['mean']:.0%} of the validation images, on average over classes: ",
        f"{what_else(settings)}; to go on all the same: --set curate.stop_at_chance=false",
    )


def _of_validation_images(run: Run) -> dict[str, Any]:
    known = run.classifiers.judge.predict(run.val).argmax(axis=1) == run.val.labels
    return measure_domain(run.val.labels, known)


def _recognised(found: dict[str, Any]) -> str:
    return (
        f"a classifier of real ones recognises {found['agreement']['mean']:.0%} of {found['images']:,} drawn "
        f"images (chance: {found['chance']:.0%})"
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
