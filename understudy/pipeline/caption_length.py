"""Captions of a model: shortened to what the text encoder takes, and counted where there are none."""

from __future__ import annotations

from collections.abc import Sequence

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.captions.captions import captions_of, with_captions
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import Generator
from understudy.generators.load import give_back, load_generator
from understudy.pipeline.checks import add_adapter_or_tokens, check_prompts
from understudy.settings import Settings


def fitting_captions(
    sets: Sequence[LabelledSet], settings: Settings, prompt_names: Sequence[str]
) -> tuple[list[LabelledSet], str]:
    """Leave out the last words of captions that make a prompt too long.

    The captioning model counts other tokens than the text encoder, so only the finished prompts tell.

    Args:
        sets: images with captions; captions of users are checked before a run and stay as they are.
        settings: of the run.
        prompt_names: words for each class in prompts.

    Returns:
        The sets, and a sentence on the captions that were shortened; empty if there are none.
    """
    pairs = [pair for data in sets for pair in zip(data.labels.tolist(), captions_of(data), strict=True)]
    if not settings.captions.is_written or not any(caption for _, caption in pairs):
        return list(sets), ""
    generator = load_generator(settings.generator, device="cpu")
    add_adapter_or_tokens(generator, settings, num_classes=len(prompt_names))
    shorter = pairs
    if not _fit(generator, settings, prompt_names, pairs):
        shorter = [
            (label, _fitting(generator, settings, prompt_names, label, caption)) for label, caption in pairs
        ]
    give_back(generator, settings.generator, device="cpu")
    if shorter == pairs:
        return list(sets), ""
    changed = [new for (_, new), (_, old) in zip(shorter, pairs, strict=True) if new != old]
    fitting, start = [], 0
    for data in sets:
        fitting.append(with_captions(data, [caption for _, caption in shorter[start : start + len(data)]]))
        start += len(data)
    limit = f"captions.{'max_new_tokens' if settings.captions.source == 'model' else 'max_words'}"
    sentence = (
        f"{len(changed)} of {len(pairs)} captions made prompts too long for the text encoder, so their last "
        f"words were left out, as in {changed[0]!r}; {limit} limits the length of captions"
    )
    return fitting, sentence


def about_plain_prompts(sets: Sequence[LabelledSet], settings: Settings) -> tuple[str, ...]:
    """How many images have no caption because a model wrote nothing usable; empty if all have one."""
    if not settings.captions.is_written:
        return ()
    plain = [
        data.class_names[label]
        for data in sets
        for label, caption in zip(data.labels, captions_of(data), strict=True)
        if not caption
    ]
    if not plain:
        return ()
    total, classes = sum(map(len, sets)), list(dict.fromkeys(plain))
    what = "captions.language_model" if settings.captions.source == "language-model" else "captions.model"
    told = (
        f"warning: captions: {what} wrote nothing usable for {len(plain):,} of {total:,} images, which have "
    )
    return (f"{told}plain prompts without a caption; classes: {listed(classes)}",)


def _fitting(
    generator: Generator, settings: Settings, prompt_names: Sequence[str], label: int, caption: str
) -> str:
    words = caption.split()
    while words and not _fit(generator, settings, prompt_names, [(label, " ".join(words))]):
        words.pop()
    return " ".join(words)


def _fit(
    generator: Generator, settings: Settings, prompt_names: Sequence[str], pairs: Sequence[tuple[int, str]]
) -> bool:
    try:
        check_prompts(generator, settings, prompt_names, pairs)
    except InputError:
        return False
    return True
