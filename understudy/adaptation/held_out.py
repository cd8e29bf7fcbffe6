"""The denoising loss of each held-out image, to compare two adapters image by image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from understudy.adaptation.inputs import evaluation_batch, prompts_of, step_seed
from understudy.adaptation.settings import AdaptSettings
from understudy.data.labelled_set import LabelledSet
from understudy.functional.denoising import x0_error
from understudy.generators.generator import Adaptable


@torch.no_grad()
def held_out_losses(
    generator: Adaptable,
    data: LabelledSet,
    *,
    prompt_names: Sequence[str],
    settings: AdaptSettings,
    seed: int,
    repeats: int = 8,
) -> np.ndarray:
    """Mean squared error of the predicted noise for each image, without min-SNR weights.

    With the same seed, set and repeats, image i has the same noise and timesteps for every generator. Its
    timesteps are spread evenly: one in each of ``repeats`` equal parts of the schedule.

    Args:
        generator: with its adapter applied, if it has one.
        data: N real images that the generator was not adapted to.
        prompt_names: what prompts call each class, by label.
        settings: prompt, token, and the number of images computed at once.
        seed: seed of noise and timesteps.
        repeats: timesteps per image.

    Returns:
        float64 of shape (N,).

    Raises:
        InputError: for a train or synthetic set, or a prompt that does not fit.
    """
    data.check_split("val", "test", purpose="measuring the loss on held-out images")
    rng = torch.Generator().manual_seed(step_seed(seed, -1))
    prompts = prompts_of(data, prompt_names=prompt_names, settings=settings)
    parts = torch.arange(len(data)).split(evaluation_batch(settings))
    size, snr = generator.image_size, generator.snr
    latents = [
        generator.encode_images(torch.from_numpy(data.select(part.numpy()).pixels(size))) for part in parts
    ]
    x0 = torch.cat(latents)
    losses = torch.zeros(len(data), dtype=torch.float64)
    for repeat in range(repeats):
        texts = prompts[repeat % len(prompts)]
        eps = torch.randn(x0.shape, generator=rng).to(x0)
        place = (repeat + torch.rand(len(data), generator=rng)) / repeats
        t = (place * len(snr)).long().clamp(max=len(snr) - 1).to(x0.device)
        for part in parts:
            here = part.to(x0.device)
            conditioning = generator.encode_prompts([texts[index] for index in part.tolist()])
            residual = generator.denoising_residual(x0[here], eps[here], t[here], conditioning)
            ratio = snr[t[here]].clamp(min=1e-8)
            error = x0_error(residual, ratio, generator.prediction_type) * ratio.sqrt().view(-1, 1, 1, 1)
            losses[part] += error.square().flatten(1).mean(dim=1).cpu().double() / repeats
    return losses.numpy()
