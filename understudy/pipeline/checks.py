"""Checks before a run writes anything: known names, and settings that fit the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from understudy.adaptation.adapter import (
    apply_adapter,
    check_adapter,
    check_guidance,
    check_tokens,
    check_unseen,
)
from understudy.adaptation.methods import METHODS
from understudy.core.errors import InputError
from understudy.core.run_trackers import check_trackers
from understudy.data.captions.captions import caption_sets, captions_of
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits
from understudy.generators.generator import Generator, adaptable
from understudy.generators.load import check_generator, give_back, load_generator
from understudy.generators.mini.tokenizer import MAX_LENGTH
from understudy.generators.prompts import fill, read_templates
from understudy.generators.samplers import SAMPLERS
from understudy.generators.settings import GeneratorSettings
from understudy.generators.visual_guidance import check_widths
from understudy.generators.zero_shot import load_zero_shot
from understudy.pipeline.controls import check_controls, check_ready_made
from understudy.pipeline.encoders import check_networks
from understudy.pipeline.strategies import check_strategies, settings_of_arms
from understudy.pipeline.trial import try_generator
from understudy.sampling.plan import quotas
from understudy.settings import Settings, check_registered
from understudy.training.arms import Arm, check_arm, find_arm
from understudy.training.fit import check_arms_fit, check_training


def check_names(settings: Settings, *, finished: Sequence[str] = ()) -> None:
    """Check that all names in the settings exist and fit together, before anything is read or written.

    Args:
        settings: of the run.
        finished: stages of the run that are done, whose networks and arms are not used again. Arms of
            earlier versions may be refused today, and encoders may have been moved away.

    Raises:
        InputError: for the first name that is unknown or does not fit; the message lists the known names.
    """
    check_generator(settings.generator)
    if settings.generator.name == "class_conditional" and settings.adapt.method != "full":
        raise InputError(
            "adapt.method must be full for the generator 'class_conditional', which has no weights to start "
            f"from, got {settings.adapt.method!r}: leave adapt.method out"
        )
    check_registered(settings)
    check_trackers(settings.track.to)
    _check_captions_are_used(settings)
    check_training(settings.compare)
    check_networks(settings, finished)
    _check_membership(settings)
    for name in () if "compare" in finished else settings.compare.arms:
        arm = find_arm(name, settings.compare)
        check_arm(arm, settings.compare)
        if arm.uses_synthetic and arm.without_val not in settings.compare.all_arms:
            raise InputError(
                f"the arm {name!r} learns from the validation images, so nothing can be chosen on them: "
                f"compare {arm.without_val!r} as well, for which they choose"
            )
        _check_tuned(arm, settings)
        check_strategies(name, settings)
    for name in settings.scale.arms:
        if not find_arm(name, settings.compare).uses_synthetic:
            raise InputError(
                f"scale.arms must use synthetic images, got {name!r}: leave it out; scale.real_shares varies "
                "the number of real images"
            )
        if find_arm(name, settings.compare).uses_val:
            raise InputError(
                f"scale.arms must learn from train images alone, got {name!r}, which learns from validation "
                "images too: leave it out"
            )
        if "@" in name:
            raise InputError(
                f"scale.arms must be arms without strategies, got {name!r}: give {name.partition('@')[0]!r}"
            )


def check_fits(settings: Settings, splits: Splits, *, device: str) -> None:
    """Check that adapter, generator, ready-made images, strategies, CLIP, backbone and phases fit the data.

    Raises:
        InputError: naming what does not fit.
    """
    train, captions = splits.train, _given_captions(settings, splits)
    if settings.adapt.adapter is not None:
        _check_ready_adapter(settings.adapt.adapter, settings, splits)
    loads = _loads_generator(settings, splits.prompt_names, captions)
    generator = load_generator(settings.generator, device=device) if loads else None
    check_controls(settings, splits, generator=generator, device=device)
    if generator is not None:
        check_ready_made(generator, splits)
        check_generator_fits(generator, settings, prompt_names=splits.prompt_names, captions=captions)
        give_back(generator, settings.generator, device=device)
    num_synthetic = int(quotas(train, settings.draw).sum())
    strengths = {name: used.draw.strengths for name, used in settings_of_arms(settings, train).items()}
    check_arms_fit(settings.compare, train, num_synthetic=num_synthetic, strengths=strengths)
    if _loads_clip(settings, train):
        load_zero_shot(
            settings.curate.clip,
            settings.generator,
            class_names=train.class_names,
            prompt_names=splits.prompt_names,
            device=device,
        )


def _check_ready_adapter(adapter: Path, settings: Settings, splits: Splits) -> None:
    """Check that an adapter made before is one of ours, and may be used for these images."""
    check_adapter(adapter, method=settings.adapt.method)
    check_guidance(adapter, visual=settings.visual.kind != "none")
    few_shots = settings.data.shots is not None
    check_unseen(adapter, seen=[splits.train, splits.val], test=splits.test, few_shots=few_shots)


def loads_networks(settings: Settings, splits: Splits) -> bool:
    """Whether :func:`check_fits` loads networks that other libraries show progress bars for."""
    captions = _given_captions(settings, splits)
    return _loads_generator(settings, splits.prompt_names, captions) or _loads_clip(settings, splits.train)


def _given_captions(settings: Settings, splits: Splits) -> list[tuple[int, str]]:
    """Label and caption of the train and validation images, unless a model has yet to write the captions."""
    if settings.captions.source == "none" or settings.captions.is_written:
        return []
    sets = caption_sets(
        [splits.train, splits.val],
        splits.prompt_names,
        settings.captions,
        folder=Path(),
        device="cpu",
        others=splits.known_ids,
    )
    return [pair for data in sets for pair in zip(data.labels.tolist(), captions_of(data), strict=True)]


def _loads_clip(settings: Settings, train: LabelledSet) -> bool:
    return any(of_arm.curate.score == "clip" for of_arm in settings_of_arms(settings, train).values())


def _loads_generator(
    settings: Settings, prompt_names: Sequence[str], captions: Sequence[tuple[int, str]]
) -> bool:
    """Whether checking the generator takes its networks, which take seconds to load.

    The bundled one need not be loaded for settings that are sure to fit it: no learned tokens, chosen layers,
    image features or ready adapter, a sampler of its kind, and prompts with at most one token per byte.
    """
    adapt, draw = settings.adapt, settings.draw
    is_plain = (
        settings.generator == GeneratorSettings(licence=settings.generator.licence)
        and (adapt.adapter, adapt.targets) == (None, type(adapt).model_fields["targets"].default)
        and adapt.method in ("full", "lora", "none")
        and settings.visual.kind == "none"
        and (draw.start_snr, SAMPLERS[draw.sampler].kind) == (None, "diffusion")
    )
    if not is_plain:
        return True
    prompts = _filled_prompts(settings, prompt_names, captions).values()
    return not all(
        prompt.isascii() and len(prompt) + 2 <= MAX_LENGTH for filled in prompts for prompt in filled
    )


def check_generator_fits(
    generator: Generator,
    settings: Settings,
    *,
    prompt_names: Sequence[str],
    captions: Sequence[tuple[int, str]] = (),
) -> None:
    """Check that sampler, start, prompts, image features and layers fit a generator.

    Args:
        generator: this function prepares it for adaptation, so give it back or load another one afterwards.
        settings: of the run.
        prompt_names: words for each class in prompts.
        captions: label and caption of each image whose caption is known.

    Raises:
        InputError: naming what does not fit.
    """
    draw, adapt = settings.draw, settings.adapt
    if settings.generator.name == "class_conditional" and adapt.adapter is None:
        _check_width(settings.generator)
    strength = generator.strength_at(draw.start_snr or 1.0, sampler=draw.sampler, steps=draw.steps)
    if draw.start_snr is not None and strength == 1:
        raise InputError(
            f"draw.start_snr must leave a trace of the real image, got {draw.start_snr}, which is pure noise "
            "for this generator: raise it, or leave it out"
        )
    add_adapter_or_tokens(generator, settings, num_classes=len(prompt_names))
    if adapt.adapter is None:
        generator.learn_classes(prompt_names, seed=0)
    check_prompts(generator, settings, prompt_names, captions)
    if settings.visual.kind != "none":
        check_widths(adaptable(generator), projection=settings.visual.projection)
    if adapt.needs_image_encoder or draw.exemplar_weight:
        _ = adaptable(generator).feature_width  # raises an error for a generator without an image encoder
    if adapt.adapter is None and not adapt.has_token and adapt.method != "none":
        METHODS[adapt.method](adaptable(generator), adapt, seed=0, num_classes=len(prompt_names))
    if not settings.generator.is_ready_made:
        try_generator(generator, settings, prompt_names[0])


def _check_width(settings: GeneratorSettings) -> None:
    """Check that a new network can pass on every value of a patch, without which it cannot remove noise."""
    width = 3 * settings.patch**2
    if settings.channels[0] < width:
        raise InputError(
            f"generator.channels must begin with at least {width}, one for each value of a patch of "
            f"{settings.patch} x {settings.patch} pixels in three colours, got {settings.channels[0]}: raise "
            "it, or lower generator.patch"
        )


def learns_words(settings: Settings) -> bool:
    """Whether checking prompts adds words to the generator, which must then be loaded again to adapt it."""
    return settings.adapt.has_token or settings.generator.name == "class_conditional"


def add_adapter_or_tokens(generator: Generator, settings: Settings, *, num_classes: int) -> None:
    """Apply a ready adapter, or add the untrained tokens in prompts to the generator.

    Raises:
        InputError: if the tokens do not fit the generator, or the adapter has other tokens.
    """
    adapt = settings.adapt
    if adapt.adapter is not None:
        check_tokens(adapt.adapter, adapt.tokens(num_classes))
        apply_adapter(adaptable(generator), adapt.adapter, scale=settings.draw.adapter_scale)
    elif adapt.has_token:
        METHODS[adapt.method](adaptable(generator), adapt, seed=0, num_classes=num_classes)


def check_prompts(
    generator: Generator, settings: Settings, prompt_names: Sequence[str], captions: Sequence[tuple[int, str]]
) -> None:
    """Check the length of all prompts in tokens, without a caption and with each of the given ones.

    Args:
        generator: with the learned tokens of the run.
        settings: of the run.
        prompt_names: words for each class in prompts.
        captions: label and caption of images.

    Raises:
        InputError: for the first prompt that is too long.
    """
    guided = settings.visual.kind != "none"
    for kind, filled in _filled_prompts(settings, prompt_names, captions).items():
        generator.check_prompts(filled, keep_last=guided and kind != "negative")


def _filled_prompts(
    settings: Settings, prompt_names: Sequence[str], captions: Sequence[tuple[int, str]]
) -> dict[str, list[str]]:
    """Every template filled for each class without a caption, and with each caption, by kind of prompt."""
    tokens = settings.adapt.tokens(len(prompt_names))
    plain = [(label, "") for label in range(len(prompt_names))]
    return {
        kind: [
            fill(
                template,
                words=prompt_names[label],
                caption=caption,
                token="" if kind == "negative" else tokens[label],
            )
            for template in templates
            for label, caption in (plain + list(captions) if "{caption}" in template else plain)
        ]
        for kind, templates in _templates(settings).items()
    }


def _templates(settings: Settings) -> dict[str, tuple[str, ...]]:
    adapt, draw = settings.adapt, settings.draw
    needs = {"needs_class": adapt.needs_class, "has_token": adapt.has_token}
    return {
        "adapt": read_templates(adapt.prompt, **needs),
        "draw": read_templates(draw.prompt, **needs),
        "negative": read_templates(draw.negative_prompt, needs_class=False),
    }


def _check_captions_are_used(settings: Settings) -> None:
    templates = [template for templates in _templates(settings).values() for template in templates]
    if settings.captions.source != "none" and not any("{caption}" in template for template in templates):
        raise InputError(
            f"captions.source {settings.captions.source!r} has no effect, because no prompt contains "
            "{caption}: write {caption} into adapt.prompt and draw.prompt, or use the template sets "
            "real-fake-train and real-fake-draw"
        )
    adapts = settings.adapt.num_steps and settings.adapt.adapter is None
    of_classes = settings.captions.source == "language-model" and settings.captions.file is None
    if adapts and of_classes and any("{caption}" in template for template in _templates(settings)["adapt"]):
        raise InputError(
            "adapt.prompt must not contain {caption} with captions.source=language-model, whose captions "
            "describe no real image, so that the generator would learn wrong words: leave it out there and "
            "keep it in draw.prompt, or give captions of the images with captions.file"
        )


def _check_membership(settings: Settings) -> None:
    membership, adapt = settings.membership, settings.adapt
    for name in membership.arms:
        find_arm(name, settings.compare)
        check_strategies(name, settings)
    adapts = adapt.num_steps and adapt.adapter is None
    if membership.measure and membership.target == "pipeline" and not adapts:
        raise InputError(
            f"membership.target=pipeline needs a generator that this run adapts, got adapt.method "
            f"{adapt.method!r}{' and a ready adapter' if adapt.adapter else ''}: use "
            "--target classifier (membership.target=classifier)"
        )


def _check_tuned(arm: Arm, settings: Settings) -> None:
    """Check that the trials of an arm differ."""
    tune = settings.tune
    for key, values in (("learning_rate", tune.learning_rates), ("weight_decay", tune.weight_decays)):
        if values and all(getattr(phase, key) is not None for phase in arm.phases):
            raise InputError(
                f"tune.{key}s has no effect on the arm {arm.name!r}, because all its phases set {key}: leave "
                f"{key} out of a phase"
            )
