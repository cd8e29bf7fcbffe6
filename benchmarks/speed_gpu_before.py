"""The code that ``benchmarks/speed_gpu.py`` calls "before": training until it used 16-bit arithmetic.

Copied and cut down to what the benchmark uses, so that both can be measured in one process. The comments say
what made the device wait.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.adaptation.inputs import AdaptData, Inputs
from understudy.adaptation.methods import METHODS
from understudy.adaptation.settings import AdaptSettings
from understudy.core.processes import Processes
from understudy.functional.augment import affine
from understudy.functional.denoising import min_snr_weight, weighted_denoising_loss
from understudy.generators.stable_diffusion import StableDiffusionGenerator
from understudy.training.backbones import Backbone, seeded_globals
from understudy.training.batches import Images, batches
from understudy.training.classifier import TrainedClassifier
from understudy.training.schedules import SCHEDULES
from understudy.training.settings import CompareSettings, Phase


def train_phase(
    backbone: Backbone,
    images: Images,
    phase: Phase,
    *,
    settings: CompareSettings,
    num_steps: int,
    rng: torch.Generator,
) -> Iterator[tuple[float, float]]:
    """Train a network in float32: three copies and two waits in every step."""
    from timm.optim import create_optimizer_v2  # heavy; only training needs it

    model, schedule = backbone.model, SCHEDULES[settings.schedule]
    optimiser = create_optimizer_v2(
        model, settings.optimiser, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    order = batches(len(images.labels), settings.batch_size, num_steps=num_steps, rng=rng)
    for step, batch in enumerate(order):
        model.train()
        learning_rate = settings.learning_rate * schedule(step, num_steps)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate
        chosen = batch.to(images.device)  # waits
        x = _augmented(images.chosen(batch)[0], backbone, settings.augmentation, rng)
        loss = F.cross_entropy(model(x), images.labels[chosen], label_smoothing=settings.label_smoothing)
        if not torch.isfinite(loss):  # waits
            raise ValueError(f"the loss is {loss.item()}")
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        yield loss.item(), learning_rate  # waits


def _normalise(pixels: Tensor, backbone: Backbone) -> Tensor:
    mean, std = (
        torch.tensor(values, device=pixels.device).view(1, 3, 1, 1)  # waits
        for values in (backbone.mean, backbone.std)
    )
    return (pixels.float() / 255 - mean) / std


def _augmented(pixels: Tensor, backbone: Backbone, name: str, rng: torch.Generator) -> Tensor:
    if name == "random-resized-crop":
        from torchvision.transforms import v2  # heavy; only training needs it

        crop = v2.RandomResizedCrop(tuple(pixels.shape[-2:]), antialias=True)
        transform = v2.Compose([crop, v2.RandomHorizontalFlip()])
        with seeded_globals(int(torch.randint(2**62, (), generator=rng))):
            return _normalise(torch.stack([transform(image) for image in pixels]), backbone)
    x = _normalise(pixels, backbone)
    return _flip_crop(x, rng) if name == "flip-crop" else _random_affine(x, rng)


def _random_affine(x: Tensor, rng: torch.Generator) -> Tensor:
    draws = (torch.rand(len(x), 5, generator=rng) * 2 - 1).to(x)  # waits
    return affine(
        x,
        degrees=12.0 * draws[:, 0],
        shift=0.08 * draws[:, 1:3],
        scale=torch.exp(math.log1p(0.12) * draws[:, 3]),
        shear=8.0 * draws[:, 4],
    )


def _flip_crop(x: Tensor, rng: torch.Generator) -> Tensor:
    (size, _, height, width), device = x.shape, x.device
    pad_y, pad_x = height // 8, width // 8
    draw = torch.rand(size, 3, generator=rng).to(device)  # waits
    rows = (draw[:, :1] * (2 * pad_y + 1)).long() + torch.arange(height, device=device)
    columns = (draw[:, 1:2] * (2 * pad_x + 1)).long() + torch.arange(width, device=device)
    columns = torch.where(draw[:, 2:] < 0.5, columns, columns.flip(1))
    padded = F.pad(x, (pad_x, pad_x, pad_y, pad_y), mode="reflect")
    which = torch.arange(size, device=device)
    return padded[which[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@torch.no_grad()
def probabilities(classifier: TrainedClassifier, data: Any) -> np.ndarray:
    """Class probabilities in float32, 256 images at a time, each batch fetched before the next one starts."""
    backbone = classifier.backbone
    model = backbone.model.eval()
    parts = [
        model(_normalise(pixels.to(classifier.device), backbone)).cpu().double().softmax(dim=1)  # waits
        for pixels in torch.from_numpy(data.pixels(backbone.input_size)).split(256)
    ]
    return np.asarray(torch.cat(parts).numpy())


def adapt(
    generator: StableDiffusionGenerator,
    data: AdaptData,
    *,
    settings: AdaptSettings,
    seed: int,
    folder: Path,
) -> Iterator[float]:
    """Fit the denoiser in the number format that its weights have; images are encoded again at every step."""
    parameters = METHODS[settings.method](generator, settings, seed=seed, num_classes=len(data.prompt_names))
    inputs = Inputs(generator, data, settings=settings, guidance=None)
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=1e-2)
    average = [parameter.detach().clone() for parameter in parameters]
    no_text, processes = generator.encode_prompts([""]), Processes()
    for step in range(settings.num_steps):
        rng = torch.Generator().manual_seed(step)
        batch = inputs.train_batch(rng)
        assert batch.conditioning is not None
        conditioning = batch.conditioning.where(~batch.dropped, no_text)  # waits
        residual = generator.denoising_residual(batch.x0, batch.eps, batch.t, conditioning)
        snr = generator.snr[batch.t]
        weight = min_snr_weight(snr, settings.min_snr_gamma or math.inf, generator.prediction_type)
        loss = weighted_denoising_loss(residual, weight)
        torch.autograd.backward(loss)
        value = float(processes.sum(loss.detach()))  # waits
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        decay = min(settings.ema_decay, (step + 1) / (step + 11))
        for kept, parameter in zip(average, parameters, strict=True):
            kept.lerp_(parameter.detach(), 1 - decay)
        yield value
