"""Whether CLIP knows the classes by their words: zero-shot accuracy on real train images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.domain import measure_domain
from understudy.functional.allocation import first_of_each_class
from understudy.generators.zero_shot import load_zero_shot
from understudy.settings import Settings

_LOOKED_AT = 200  # train images at most, unless there are more classes: of each at least one


def known_words(
    settings: Settings, train: LabelledSet, prompt_names: Sequence[str], *, device: str
) -> dict[str, Any] | None:
    """Measure how many train images CLIP names correctly, among the words that prompts have for the classes.

    Args:
        settings: of the run; CLIP is ``curate.clip``, or the encoders of the generator.
        train: real train images.
        prompt_names: words for each class, by label.
        device: torch device.

    Returns:
        :func:`measure_domain` of a few images of each class; None if there is no CLIP, or if it cannot read
        words that long.
    """
    if settings.curate.clip is None and settings.generator.name != "mini":
        return None  # among the generators, only mini keeps both encoders of a pair
    try:
        clip = load_zero_shot(
            settings.curate.clip,
            settings.generator,
            class_names=train.class_names,
            prompt_names=prompt_names,
            device=device,
        )
    except InputError:  # where CLIP scores images, this stopped the run before
        return None
    per_class = max(1, _LOOKED_AT // train.num_classes)
    few = train.select(first_of_each_class(train.labels, np.full(train.num_classes, per_class)))
    return measure_domain(few.labels, clip.predict(few).argmax(axis=1) == few.labels)


def about_words(found: dict[str, Any] | None) -> str:
    """What :func:`known_words` found, in a sentence; empty for None."""
    if found is None:
        return ""
    share, chance = found["agreement"], found["chance"]
    told = (
        f"CLIP names {share['mean']:.0%} [{share['low']:.0%}, {share['high']:.0%}] of {found['images']:,} "
        f"train images by the words of their classes (chance: {chance:.0%})"
    )
    if found["knows"] is None:
        return f"{told}: too few, or too close to chance, to tell whether it knows these words"
    if found["knows"]:
        return told
    return (
        f"warning: {told}: it does not know these words, or not such images, and prompts are of little use; "
        "data.class_names gives the classes other words"
    )
