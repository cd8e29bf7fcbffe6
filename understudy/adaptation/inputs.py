"""What the denoiser is trained on: real images, their prompts and features, and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
import torch
from torch import Tensor

from understudy.adaptation.settings import AdaptSettings
from understudy.data.captions.captions import captions_of
from understudy.data.labelled_set import LabelledSet
from understudy.functional.augment import flip_crop, random_affine
from understudy.generators.generator import Conditioning, Generator
from understudy.generators.prompts import fill, read_templates
from understudy.generators.visual_guidance import VisualGuidance, features_of

_AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "affine": partial(random_affine, shift=0.06, degrees=8.0, scale=0.08, shear=8.0),  # less than for classifiers: drawn images show it
    "flip-crop": flip_crop,
    "flip": partial(flip_crop, padding=0.0),
    "none": lambda x, rng: x,
}
_PROMPTS_AT_ONCE = 64
_MAX_TABLE = 1024  # prompts whose states are kept; at the size of Stable Diffusion 1.5 these are 250 MB


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Images on their way through the denoiser.

    Attributes:
        pixels: uint8 (B, 3, H, W), on the CPU.
        labels: int64 (B,), on the CPU.
        x0: latents, (B, C, h, w).
        eps: noise, as x0.
        t: timesteps, int64 (B,).
        prompts: B texts.
        conditioning: of the prompts, B rows; None where it changes with the token that is learned.
        features: what takes the place of the last text state, float32 (B, F); None without visual guidance.
        dropped: rows that are trained without condition, bool (B,), on the CPU.
    """

    pixels: Tensor
    labels: Tensor
    x0: Tensor
    eps: Tensor
    t: Tensor
    prompts: list[str]
    conditioning: Conditioning | None
    features: Tensor | None
    dropped: Tensor


@final
class Inputs:
    """Random batches of the real train images, and a fixed one of held-out images."""

    def __init__(
        self,
        generator: Generator,
        train: LabelledSet,
        val: LabelledSet,
        *,
        settings: AdaptSettings,
        prompt_names: Sequence[str],
        visual: VisualGuidance | None,
        within_class: bool,
    ) -> None:
        self._generator = generator
        self._settings = settings
        self._visual = visual
        # A token is learned from batches of one class (Li et al. 2024, section on Dataset Style Inversion).
        self._num_classes = 1 if settings.has_token else settings.classes_per_batch if within_class else None
        self._templates = read_templates(settings.prompt, needs_class=settings.needs_class, has_token=settings.has_token)
        self._pixels = torch.from_numpy(train.pixels(generator.image_size))
        self._labels = torch.from_numpy(train.labels)
        self._val = val
        # One list per template, the prompt of each train image in it; then the same of the val images.
        tokens = settings.tokens(len(prompt_names))
        self._prompts = [prompts_of(train, template, prompt_names=prompt_names, tokens=tokens) for template in self._templates]
        self._val_prompts = [prompts_of(val, template, prompt_names=prompt_names, tokens=tokens) for template in self._templates]
        everything = [prompt for prompts in (*self._prompts, *self._val_prompts) for prompt in prompts]
        generator.check_prompts(list(dict.fromkeys(everything)), keep_last=visual is not None)
        self._encode = None if settings.has_token else _Encoder(generator, everything)

    def train_batch(self, rng: torch.Generator) -> Batch:
        """Random images without repeats, a share of the conditions dropped; ``rng`` decides everything."""
        settings = self._settings
        index = self._choose(rng)
        pixels = self._pixels[index]
        pixels = _AUGMENTATIONS[settings.augmentation](pixels.float(), rng).round().clamp(0, 255).to(torch.uint8)
        dropped = torch.rand(len(index), generator=rng) < settings.caption_dropout
        template = torch.zeros_like(index)
        if len(self._templates) > 1:
            template = torch.randint(len(self._templates), (len(index),), generator=rng)
        prompts = [self._prompts[which][image] for which, image in zip(template.tolist(), index.tolist(), strict=True)]
        labels = self._labels[index]
        features = None
        if self._visual is not None:
            features = self._visual.condition(labels.tolist(), self._visual.features[index], [rng] * len(index))
        x0 = self._latents(pixels, self._settings.micro_batch or len(pixels))
        eps = torch.randn(x0.shape, generator=rng).to(x0)
        t = torch.randint(len(self._generator.snr), (len(index),), generator=rng).to(x0.device)
        return Batch(pixels, labels, x0, eps, t, prompts, self._encoded(prompts), features, dropped)

    def val_batch(self, rng: torch.Generator) -> Batch:
        """Held-out images with fixed noise; timesteps lie evenly, so that chance does not decide how hard the measurement is."""
        count = self._settings.validation_pairs
        index = _shuffled_rounds(len(self._val), count, rng)
        chosen, index = index.unique(return_inverse=True)
        images = self._val.select(chosen.numpy())
        pixels = torch.from_numpy(images.pixels(self._generator.image_size))
        latents = self._latents(pixels, self._settings.micro_batch or self._settings.batch_size)
        eps = torch.randn((count, *latents.shape[1:]), generator=rng).to(latents)
        t = ((torch.randperm(count, generator=rng) + 0.5) / count * len(self._generator.snr)).long().to(latents.device)
        labels = torch.from_numpy(images.labels)[index]
        features = None
        if self._visual is not None:
            own = features_of(self._generator, images)[index]
            features = self._visual.condition(labels.tolist(), own, [rng] * count)
        prompts = [self._val_prompts[number % len(self._templates)][image] for number, image in enumerate(chosen[index].tolist())]
        nothing = torch.zeros(count, dtype=torch.bool)
        return Batch(pixels[index], labels, latents[index], eps, t, prompts, self._encoded(prompts), features, nothing)

    def no_text(self) -> Conditioning:
        """The condition of those that are dropped."""
        return self._generator.encode_prompts([""])

    def _encoded(self, prompts: Sequence[str]) -> Conditioning | None:
        return None if self._encode is None else self._encode(prompts)

    def _choose(self, rng: torch.Generator) -> Tensor:
        settings = self._settings
        if self._num_classes is None:
            return _shuffled_rounds(len(self._labels), settings.batch_size, rng)
        classes = self._labels.unique()
        classes = classes[torch.randperm(len(classes), generator=rng)][: self._num_classes]
        shares = [settings.batch_size // len(classes) + (number < settings.batch_size % len(classes)) for number in range(len(classes))]
        parts = []
        for label, share in zip(classes, shares, strict=True):
            members = torch.nonzero(self._labels == label).flatten()
            parts.append(members[_shuffled_rounds(len(members), share, rng)])
        return torch.cat(parts)

    def _latents(self, pixels: Tensor, at_once: int) -> Tensor:
        return torch.cat([self._generator.encode_images(part) for part in pixels.split(at_once)])


@final
class _Encoder:
    """Prompts to conditionings; if there are few, they are encoded once.

    The states of a prompt may depend, in the last bit, on the batch it is encoded in, so that is the same in every run.
    """

    def __init__(self, generator: Generator, prompts: Iterable[str]) -> None:
        self._generator = generator
        distinct = list(dict.fromkeys(prompts))
        self._position = {prompt: index for index, prompt in enumerate(distinct)} if len(distinct) <= _MAX_TABLE else {}
        self._table = self._encoded(distinct) if self._position else None

    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        if self._table is None:
            return self._encoded(prompts)
        return self._table.select(torch.tensor([self._position[prompt] for prompt in prompts]))

    def _encoded(self, prompts: Sequence[str]) -> Conditioning:
        parts = [
            self._generator.encode_prompts(prompts[start : start + _PROMPTS_AT_ONCE]) for start in range(0, len(prompts), _PROMPTS_AT_ONCE)
        ]
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Conditioning(torch.cat([part.states for part in parts]), torch.cat(pooled) if pooled else None)


def prompts_of(data: LabelledSet, template: str, *, prompt_names: Sequence[str], tokens: Sequence[str]) -> list[str]:
    """The prompt of each image; class names and tokens by label."""
    return [
        fill(template, words=prompt_names[label], caption=caption, token=tokens[label])
        for label, caption in zip(data.labels, captions_of(data), strict=True)
    ]


def _shuffled_rounds(num_images: int, count: int, rng: torch.Generator) -> Tensor:
    """Random indices, each image once before any comes again."""
    rounds = -(-count // num_images)
    return torch.cat([torch.randperm(num_images, generator=rng) for _ in range(rounds)])[:count]


def step_seed(seed: int, step: int) -> int:
    """What decides step ``step``; -1 for the validation images."""
    return int(np.random.SeedSequence([seed, step + 1, 0xADA]).generate_state(1, np.uint64)[0] >> 1)
