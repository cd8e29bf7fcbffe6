"""An adaptation of six steps, on two classes."""

import numpy as np
import torch
from diffusers import DDIMScheduler

from understudy.adaptation.fit import adapt
from understudy.adaptation.inputs import AdaptData
from understudy.adaptation.settings import AdaptSettings

NAMES = ("a cat", "a dog")


def adapt_settings(**changes):
    every = {"validate_every": 2, "checkpoint_every": 2, "validation_pairs": 16}
    return AdaptSettings(**{"steps": 6, "batch_size": 4, "learning_rate": 1e-2} | every | changes)


def adapting(generator, train, val, folder, *, names=NAMES, seed=0, visual=None, **settings):
    """The steps of an adaptation with these settings, besides the few of :func:`adapt_settings`."""
    return adapt(
        generator,
        AdaptData(train=train, val=val, prompt_names=names),
        settings=adapt_settings(**settings),
        seed=seed,
        folder=folder,
        visual=visual,
    )


def first_of(steps, count):
    """The first steps, as many as given or all: then the adaptation stops, as when it is killed."""
    seen = []
    for step in steps:
        seen.append(step)
        if len(seen) == count:
            break
    return seen


def drawn_plainly(pipeline, ours, row):
    """The image of a row, from a diffusers pipeline as anyone would call it."""
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(ours._solver("ddim").config)
    image = pipeline(
        row.prompt,
        negative_prompt=row.negative_prompt,
        num_inference_steps=row.steps,
        guidance_scale=row.guidance_scale,
        generator=torch.Generator().manual_seed(row.seed),
        height=ours.image_size,
        width=ours.image_size,
        output_type="np",
    ).images[0]
    return np.round(image * 255).transpose(2, 0, 1).astype(np.uint8)
