"""Stage load: read the real images, check them, split them, and store them in the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from understudy.core.listing import listed
from understudy.data.captions.captions import caption_sets
from understudy.data.image_groups import num_groups
from understudy.data.image_kind import ImageKind, Look, look_at
from understudy.data.load import Splits
from understudy.evaluation.imagenet import similarly_named
from understudy.generators.load import GENERATORS, forget_kept
from understudy.generators.pipeline_kind import is_distilled, is_flow
from understudy.generators.pipeline_size import is_large
from understudy.pipeline.caption_length import about_plain_prompts, fitting_captions
from understudy.pipeline.class_words import known_words, notes_on_words
from understudy.pipeline.context import Run
from understudy.pipeline.domain import unknown_to
from understudy.pipeline.kept_files import keep_files
from understudy.pipeline.learning_from_scratch import about_learning_from_scratch
from understudy.settings import Settings

_MOST_FEW_STEPS = 8  # that distilled weights are made for


def load(run: Run) -> None:
    """Caption the train and validation images, and store all splits and the text files of the settings."""
    splits, data = run.splits, run.path / "data"
    kept = keep_files(run.settings, run.path)
    with run.folder.stage("load", started=run.started) as record:
        if run.settings.captions.is_written:  # it needs the memory of the generator that was checked
            forget_kept()
        captioned = caption_sets(
            [splits.train, splits.val],
            splits.prompt_names,
            run.settings.captions,
            folder=data / "captions",
            device=run.device,
            others=splits.known_ids,
            seed=run.settings.seed,
        )
        plain = about_plain_prompts(captioned, run.settings)
        captioned, shortened = fitting_captions(captioned, run.settings, splits.prompt_names)
        look = look_at(splits.train)
        words = known_words(run.settings, splits.train, splits.prompt_names, device=run.device)
        for images in (*captioned, splits.test):
            images.save(data / f"{images.split}.parquet")
        if splits.spare is not None:
            splits.spare.save(data / "spare.parquet")
        record |= {
            "classes": list(splits.train.class_names),
            "prompt_names": list(splits.prompt_names),
            "train": len(splits.train),
            "val": len(splits.val),
            "test": len(splits.test),
            "groups": num_groups((*captioned, splits.test)),
            "skipped": [list(entry) for entry in splits.skipped],
            "image_kind": look.kind,
            "known_words": words,
            "notes": [
                *splits.notes,
                *about_photographs(look.kind, run.settings, splits.prompt_names),
                *about_grey_and_small(look, run.settings),
                *about_learning_from_scratch(look, run.settings),
                *about_large_pipelines(run.settings),
                *about_other_tools(run.settings, splits),
                *(note for note in notes_on_words(words) if note.startswith("warning")),
                *plain,
                *([shortened] if shortened else []),
            ],
            "kept": kept,
            "copies": dict(splits.copies),
            "left_out": [[each.reason, each.number, list(each.examples)] for each in splits.left_out],
        }
    left_out = splits.left_out
    del run.splits  # the stored splits take their place
    counts = f"{record['train']} train, {record['val']} val, {record['test']} test images"
    for note in record["notes"]:
        run.observer.say(f"load: {note}")
    for each in left_out:
        run.observer.say(f"load: not used: {each.sentence}")
    run.observer.say(f"load: {counts} of {len(record['classes'])} classes")


def about_photographs(kind: ImageKind, settings: Settings, prompt_names: Sequence[str]) -> tuple[str, ...]:
    """How classifiers learn from photographs, and a warning if the generator knows none; empty otherwise."""
    if kind == "characters":
        return ()
    compare = settings.compare
    size = f" at {compare.resolution} pixels" if compare.resolution else ""
    told = f"photographs: classifiers have compare.backbone={compare.backbone}{size}"
    told += f" and compare.augmentation={compare.augmentation}"
    if settings.adapt.num_steps and settings.adapt.adapter is None:
        told += f"; the generator is adapted with adapt.augmentation={settings.adapt.augmentation}"
    if compare.backbone == "mini" and compare.pretrained:
        told += "; the backbone knows only printed letters, pip install 'understudy[photo]' brings another"
    known = [*similarly_named(prompt_names)] if compare.backbone == "photo" and compare.pretrained else []
    if known:
        told += f"; 'photo' knows ImageNet, which has classes named like {listed(known)}: there, synthetic "
        told += "images have less to add"
    return told, *unknown_to(settings, kind)


def about_grey_and_small(look: Look, settings: Settings) -> tuple[str, ...]:
    """What to know about photographs without colour, and about those that are enlarged; empty for others."""
    if look.kind == "characters":
        return ()
    adapt, prompt, told = settings.adapt, settings.draw.prompt, []
    is_adapted = bool(adapt.num_steps) and adapt.adapter is None
    draws_colours = settings.generator.name not in GENERATORS and prompt.startswith("a photo of")
    if look.is_grey and draws_colours:
        grey = prompt.replace("a photo", "a black and white photo", 1)
        names = ("draw.prompt", "adapt.prompt") if is_adapted else ("draw.prompt",)
        how = " ".join(f'--set "{name}={grey}"' for name in names)
        told.append(
            f"grey photographs: the generator may draw colours, unless its prompt says otherwise: {how}"
        )
    size = settings.compare.resolution
    if size is not None and 2 * look.side <= size:
        learns_blur = is_adapted and is_large(settings.generator.name)
        blur = ", and the generator learns to draw images as blurred as these" if learns_blur else ""
        told.append(
            f"small images: half of them have at most {look.side} pixels on the shorter side; classifiers "
            f"see them enlarged to {size}{blur}: larger originals would help"
        )
    return tuple(told)


def about_large_pipelines(settings: Settings) -> tuple[str, ...]:
    """How a pipeline of the size of Stable Diffusion is used, in a sentence; none for a small generator."""
    adapt, draw = settings.adapt, settings.draw
    if not is_large(settings.generator.name):
        return ()
    if adapt.method == "full" and adapt.adapter is None:
        told = "warning: adapt.method=full trains every weight of a large pipeline, in about seven times"
        return (f"{told} their memory; --set adapt.method=lora takes little more than once",)
    used = f"adapt.method={adapt.method}"
    if adapt.num_steps and adapt.adapter is None:
        used += f" with adapt.learning_rate={adapt.learning_rate:g} and adapt.batch_size={adapt.batch_size}"
    told = f"large pipeline: {used}, draw.guidance_scale={draw.guidance_scale:g}"
    return told, *_about_few_steps(settings)


def about_other_tools(settings: Settings, splits: Splits) -> tuple[str, ...]:
    """What a tool that made images or adapters must not have learned from; empty if no other tool did."""
    generator, source = settings.generator, settings.data.source
    made = "ready-made images" if generator.images else "adapters" if generator.adapters else ""
    if not made or not splits.split_off:
        return ()
    held_out = " and ".join({"val": "validation", "test": "test"}[split] for split in splits.split_off)
    told = (
        f"{made}: this run splits {held_out} images off from {source}; if the tool that made the {made} "
        "learned from the same images, it knows those too: then divide the images first, into train/, val/ "
        "and test/, and let it learn from train/ alone"
    )
    return (told,)


def _about_few_steps(settings: Settings) -> tuple[str, ...]:
    """What distilled weights need besides their defaults, in a warning; empty for others."""
    name, draw, adapt, given = settings.generator.name, settings.draw, settings.adapt, list[str]()
    why = ["the weights were distilled to draw in 1 to 8 steps"]
    if not is_distilled(name):
        return ()
    if draw.steps > _MOST_FEW_STEPS:
        sampler = "flow-euler" if is_flow(name) else "lcm" if "lcm" in Path(name).name.lower() else "ddim"
        given += [*([] if draw.sampler == sampler else [f"draw.sampler={sampler}"]), "draw.steps=4"]
    if adapt.num_steps and adapt.adapter is None:
        given.append("adapt.method=none")
        why.append("adapting them undoes this")
    return (f"warning: {', and '.join(why)}: --set {' --set '.join(given)}",) if given else ()
