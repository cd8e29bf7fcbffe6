"""The denoising loss of held-out images one by one, so that two adapters can be compared in pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from understudy.adaptation.inputs import prompts_of, step_seed
from understudy.adaptation.settings import AdaptSettings
from understudy.data.labelled_set import LabelledSet
from understudy.functional.denoising import x0_error
from understudy.generators.generator import Generator
from understudy.generators.prompts import read_templates


@torch.no_grad()
def held_out_losses(
    generator: Generator,
    data: LabelledSet,
    *,
    prompt_names: Sequence[str],
    settings: AdaptSettings,
    seed: int,
    repeats: int = 8,
) -> np.ndarray:
    """Mean squared error of the predicted noise, without weights.

    Image i has the same noise and timesteps for equal seeds, sets and repeats, whatever the generator has learned. The timesteps
    of an image lie evenly, one in each of ``repeats`` equal parts of the schedule.

    Args:
        generator: with its adapter applied, if it has one.
        data: N real images that it was not adapted on.
        prompt_names: class names for prompts, by label.
        settings: prompt, token, and how many images are held at once.
        seed: of noise and timesteps.
        repeats: timesteps per image.

    Returns:
        float64 of shape (N,).

    Raises:
        InputError: for a train or synthetic set, or a prompt that does not fit.
    """
    data.require("val", "test", purpose="measuring the loss on held-out images")
    rng = torch.Generator().manual_seed(step_seed(seed, -1))
    templates = read_templates(settings.prompt, needs_class=settings.needs_class, has_token=settings.has_token)
    tokens = settings.tokens(len(prompt_names))
    prompts = [prompts_of(data, template, prompt_names=prompt_names, tokens=tokens) for template in templates]
    parts = torch.arange(len(data)).split(settings.micro_batch or 4 * settings.batch_size)
    x0 = torch.cat([generator.encode_images(torch.from_numpy(data.select(part.numpy()).pixels(generator.image_size))) for part in parts])
    losses = torch.zeros(len(data), dtype=torch.float64)
    for repeat in range(repeats):
        which = prompts[repeat % len(prompts)]
        eps = torch.randn(x0.shape, generator=rng).to(x0)
        place = (repeat + torch.rand(len(data), generator=rng)) / repeats
        t = (place * len(generator.snr)).long().clamp(max=len(generator.snr) - 1).to(x0.device)
        for part in parts:
            here = part.to(x0.device)
            conditioning = generator.encode_prompts([which[index] for index in part.tolist()])
            residual = generator.denoising_residual(x0[here], eps[here], t[here], conditioning)
            snr = generator.snr[t[here]].clamp(min=1e-8)
            error = x0_error(residual, snr, generator.prediction_type) * snr.sqrt().view(-1, 1, 1, 1)
            losses[part] += error.square().flatten(1).mean(dim=1).double().cpu() / repeats
    return losses.numpy()
