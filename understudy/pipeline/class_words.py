"""Whether CLIP knows the classes by their words: zero-shot accuracy on real train images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.ambiguous_words import confused_pairs, unmatched_classes
from understudy.evaluation.domain import measure_domain
from understudy.functional.allocation import first_of_each_class
from understudy.generators.zero_shot import load_zero_shot
from understudy.settings import Settings

_LOOKED_AT = 200  # train images, unless there are more than ten classes: then up to 20 of each ...
_MOST = 500  # ... but no more in all, apart from one of each
_OTHER_WORDS = "give longer names with --class-names FILE, such as 'crane | bird'"


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
        :func:`measure_domain` of a few images of each class, and names of classes: ``same`` (pairs with the
        same words for CLIP), and, if it knows the words of most classes, ``unmatched`` and ``confused``
        (:mod:`understudy.evaluation.ambiguous_words`). None if there is no CLIP, or if it cannot read words
        that long.
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
    classes, names = train.num_classes, train.class_names
    per_class = max(1, _LOOKED_AT // classes, min(20, _MOST // classes))
    few = train.select(first_of_each_class(train.labels, np.full(classes, per_class)))
    probabilities = clip.predict(few)
    found = measure_domain(few.labels, probabilities.argmax(axis=1) == few.labels)
    same, unmatched, confused = clip.same_words(), [], []
    if found["knows"]:
        unmatched = unmatched_classes(few.labels, probabilities)
        told = {each.label for each in unmatched}
        pairs = [pair for pair in confused_pairs(few.labels, probabilities) if pair not in same]
        confused = [pair for pair in pairs if told.isdisjoint(pair)]
    return found | {
        "same": [[names[label] for label in pair] for pair in same],
        "unmatched": [
            {
                "class": names[each.label],
                "right": each.right,
                "images": each.images,
                "taken_for": names[each.taken_for],
            }
            for each in unmatched
        ],
        "confused": [[names[label] for label in pair] for pair in confused],
    }


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


def notes_on_words(found: dict[str, Any] | None) -> tuple[str, ...]:
    """:func:`about_words`, and a warning for each kind of ambiguous words that :func:`known_words` found."""
    if found is None:
        return ()
    told = [about_words(found)]
    if unmatched := found["unmatched"]:
        classes = [
            f"{each['class']!r} ({each['right']} of {each['images']} images, most others are taken for "
            f"{each['taken_for']!r})"
            for each in unmatched
        ]
        told.append(
            f"warning: words: CLIP does not match these classes with their words, although it knows others: "
            f"{listed(classes)}: the words may have another meaning; {_OTHER_WORDS}"
        )
    if confused := found["confused"]:
        told.append(
            f"warning: words: CLIP hardly tells the images of these classes apart by their words: "
            f"{listed(list(map(_pair, confused)))}; {_OTHER_WORDS}"
        )
    if same := found["same"]:
        told.append(
            f"warning: words: the words of these classes are the same for CLIP: "
            f"{listed(list(map(_pair, same)))}; {_OTHER_WORDS}"
        )
    return tuple(told)


def _pair(names: Sequence[str]) -> str:
    return f"{names[0]!r} and {names[1]!r}"
