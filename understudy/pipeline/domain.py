"""Whether the generator of a run knows images like the real ones, and what to do if it does not."""

from __future__ import annotations

from typing import Any

from understudy.core.errors import InputError
from understudy.curation.curate import Judgement
from understudy.data.image_kind import ImageKind
from understudy.evaluation.domain import measure_domain
from understudy.pipeline.context import Run
from understudy.pipeline.samples import picture_of
from understudy.settings import Settings

_FROM_SCRATCH = (
    "photographs: those that class_conditional drew in our measurements, after 500 steps on a CPU, helped no "
    "classifier, and mixing them in often did harm (docs/photographs.md)"
)


def domain_of(judged: Judgement) -> dict[str, Any]:
    """:func:`measure_domain` of all drawn images, after ``curate.score=agreement``."""
    return measure_domain(judged.labels, judged.scores == 1.0)


def is_checked(settings: Settings) -> bool:
    """Whether a run stops if its generator does not know the images."""
    return settings.curate.score == "agreement" and settings.curate.stop_at_chance


def check_domain(run: Run, judged: Judgement, is_last: bool, *, stage: str = "curate") -> None:
    """Check that the generator knows images like these, before more are drawn and every arm is trained.

    A classifier that does not know the validation images either cannot tell.

    Args:
        run: whose settings say whether this :func:`is_checked`.
        judged: drawn images.
        is_last: whether no more are drawn, so that it is said if these cannot tell.
        stage: that asks, for messages.

    Raises:
        InputError: if the drawn images are recognised no better than by chance.
    """
    settings = run.settings
    if not is_checked(settings):
        return
    found = domain_of(judged)
    accepts_all = judged.threshold <= 0
    if found["knows"] or accepts_all:
        return
    told, unclear = _recognised(found), "to tell whether the generator knows such images"
    if found["knows"] is None:
        if is_last:
            run.observer.say(f"{stage}: {told}: too few, or too close to chance, {unclear}")
        return
    of_real = _of_validation_images(run) if len(run.val) else None
    if of_real is None or of_real["agreement"]["low"] <= found["agreement"]["high"]:
        known = "no" if of_real is None else f"{of_real['agreement']['mean']:.0%} of the"
        if is_last:
            run.observer.say(f"{stage}: {told} and {known} validation images: it knows too little {unclear}")
    else:
        raise InputError(
            f"the generator {settings.generator.name!r} does not know such images: {told} and "
            f"{of_real['agreement']['mean']:.0%} of the validation images, on average over classes "
            f"(look at {picture_of(run)}): ",
            f"{what_else(settings)}; to go on all the same: --set curate.stop_at_chance=false",
        )


def _of_validation_images(run: Run) -> dict[str, Any]:
    known = run.classifiers.judge.predict(run.val).argmax(axis=1) == run.val.labels
    return measure_domain(run.val.labels, known, num_classes=run.val.num_classes)


def _recognised(found: dict[str, Any]) -> str:
    share, chance = found["agreement"]["mean"], found["chance"]
    return (
        f"a classifier of the real images recognises {share:.0%} of {found['images']:,} drawn images "
        f"(chance: {chance:.0%})"
    )


def unknown_to(settings: Settings, kind: ImageKind) -> tuple[str, ...]:
    """A warning if the generator is known not to draw such images, or not well; empty otherwise."""
    name = settings.generator.name
    if kind == "characters" or name not in ("mini", "class_conditional"):
        return ()
    if name == "mini":
        return (f"warning: 'mini' has seen only printed characters, not such images: {what_else(settings)}",)
    return (_FROM_SCRATCH,)


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
