"""The training batches of the denoiser: real images with prompts, features and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from understudy.adaptation.augmentations import AUGMENTATIONS
from understudy.adaptation.settings import AdaptSettings
from understudy.adaptation.terms import TERMS
from understudy.core.micro_batch import MicroBatch
from understudy.core.processes import Processes
from understudy.data.captions.captions import captions_of
from understudy.data.decoded_images import DecodedImages, decoded
from understudy.data.labelled_set import LabelledSet
from understudy.data.uncut_images import UncutImages
from understudy.functional.augment import random_square
from understudy.generators.generator import Adaptable, Conditioning
from understudy.generators.prompts import fill, read_templates
from understudy.generators.visual_guidance import Encode, VisualGuidance, features_of

_VIEWS: dict[str, Callable[[Tensor], list[Tensor]]] = {
    "none": lambda x: [x],
    "flip": lambda x: [x, x.flip(-1)],
}
"""Augmentations with so few outcomes that all of them can be encoded beforehand."""
_MAX_LATENTS = 500_000_000  # bytes of latents that are kept
_PROMPTS_AT_ONCE = 64
_MAX_TABLE = 1024  # prompts whose states are kept: 250 MB for Stable Diffusion 1.5


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class AdaptData:
    """The real images that a generator is adapted to.

    Attributes:
        train: train images.
        val: validation images, which choose the checkpoint.
        prompt_names: what prompts call each class, by label.
        feature_cache: file for the features of the train images; None stores no features.
        encoders: what ``adapt.distribution_encoders`` names, by name, besides the generator's own encoder.
    """

    train: LabelledSet
    val: LabelledSet
    prompt_names: Sequence[str]
    feature_cache: Path | None = None
    encoders: Mapping[str, Encode] = field(default_factory=dict)


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Noisy images with their conditioning, ready for the denoiser.

    Attributes:
        pixels: uint8 (B, 3, H, W), on the CPU.
        labels: int64 (B,), on the CPU.
        x0: latents, (B, C, h, w).
        eps: noise, as x0.
        t: timesteps, int64 (B,).
        prompts: B texts.
        conditioning: encoded prompts, B rows; None while a token is learned, which changes them.
        features: features that replace the last text state, float32 (B, F); None without visual guidance.
        dropped: rows that are trained without conditioning, bool (B,), on the CPU.
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

    def select(self, index: Tensor) -> Batch:
        """The images at ``index``, int64 (B,), on the CPU."""
        here = index.to(self.x0.device)
        return Batch(
            pixels=self.pixels[index],
            labels=self.labels[index],
            x0=self.x0[here],
            eps=self.eps[here],
            t=self.t[here],
            prompts=[self.prompts[number] for number in index.tolist()],
            conditioning=None if self.conditioning is None else self.conditioning.select(here),
            features=None if self.features is None else self.features[index],
            dropped=self.dropped[index],
        )


@final
@dataclass(frozen=True, eq=False)
class DrawnBatch:
    """Real images of a few classes, and the noise from which as many are drawn under their conditions.

    Attributes:
        real: real images without augmentation, noised at one timestep.
        noise: noise that drawing starts from, as ``real.x0``.
    """

    real: Batch
    noise: Tensor


@final
class Inputs:
    """Makes random batches of the real train images, and a fixed batch of held-out images."""

    def __init__(
        self,
        generator: Adaptable,
        data: AdaptData,
        *,
        settings: AdaptSettings,
        guidance: VisualGuidance | None,
        processes: Processes | None = None,
    ) -> None:
        self._processes = processes or Processes()
        self._generator = generator
        self._settings = settings
        self._guidance = guidance
        self._num_classes = _classes_per_batch(settings)
        at_once = settings.micro_batch or settings.batch_size
        self._at_once = MicroBatch(at_once, work="the encoding of images")
        read = UncutImages if settings.crop == "random" else decoded
        self._pixels = read(data.train, generator.image_size)
        self._labels = torch.from_numpy(data.train.labels)
        self._val = data.val
        self._prompts, self._val_prompts = (
            prompts_of(images, prompt_names=data.prompt_names, settings=settings)
            for images in (data.train, data.val)
        )
        everything = [prompt for prompts in (*self._prompts, *self._val_prompts) for prompt in prompts]
        generator.check_prompts(list(dict.fromkeys(everything)), keep_last=guidance is not None)
        self._encode = None if settings.has_token else _Encoder(generator, everything)
        self._views = self._encoded_views()

    def train_batch(self, rng: torch.Generator) -> Batch:
        """Random images without repeats, some of them without conditioning."""
        settings = self._settings
        index = self._choose(rng, settings.batch_size, self._num_classes)
        pixels, augmentation = self._augmented(self._squares(index, rng), rng)
        dropped = torch.rand(len(index), generator=rng) < settings.caption_dropout
        prompts, features = self._conditions(index, rng)
        x0 = self._train_latents(index, pixels, rng)
        eps = torch.randn(x0.shape, generator=rng).to(x0)
        t = torch.randint(len(self._generator.snr), (len(index),), generator=rng).to(x0.device)
        conditioning = self._encoded(prompts)
        if conditioning is not None and settings.conditions_on_augmentation:
            conditioning = replace(conditioning, augmentation=augmentation.to(x0))
        return Batch(pixels, self._labels[index], x0, eps, t, prompts, conditioning, features, dropped)

    def drawn_batch(self, rng: torch.Generator) -> DrawnBatch:
        """Random images of a few classes without augmentation, and noise to draw as many from.

        All have the same timestep, whose signal-to-noise ratio is between 0.1 and 10 if there is one: with
        more noise all denoised images of a class are alike, with less nothing is denoised.
        """
        settings, snr = self._settings, self._generator.snr.cpu()
        index = self._choose(rng, settings.drawn_images, self._num_classes or settings.classes_per_batch)
        pixels = self._squares(index, rng)
        prompts, features = self._conditions(index, rng)
        x0 = self._train_latents(index, pixels, rng)
        eps, noise = (torch.randn(x0.shape, generator=rng).to(x0) for _ in range(2))
        places = torch.nonzero((snr >= 0.1) & (snr <= 10)).flatten()
        places = places if len(places) else torch.arange(len(snr))
        t = places[torch.randint(len(places), (1,), generator=rng)].expand(len(index)).to(x0.device)
        kept, conditioning = torch.zeros(len(index), dtype=torch.bool), self._encoded(prompts)
        real = Batch(pixels, self._labels[index], x0, eps, t, prompts, conditioning, features, kept)
        return DrawnBatch(real, noise)

    def _conditions(self, index: Tensor, rng: torch.Generator) -> tuple[list[str], Tensor | None]:
        """Prompts of train images, each from a random template, and features that guide them."""
        template = torch.zeros_like(index)
        if len(self._prompts) > 1:
            template = torch.randint(len(self._prompts), (len(index),), generator=rng)
        prompts = [
            self._prompts[which][image]
            for which, image in zip(template.tolist(), index.tolist(), strict=True)
        ]
        if self._guidance is None:
            return prompts, None
        labels, of_images = self._labels[index].tolist(), self._guidance.features[index]
        return prompts, self._guidance.condition(labels, of_images, [rng] * len(index))

    def val_batch(self, rng: torch.Generator) -> Batch:
        """Held-out images with fixed noise and evenly spaced timesteps.

        With random timesteps, measurements would differ by chance.
        """
        settings, snr = self._settings, self._generator.snr
        count = settings.validation_pairs
        index = _shuffled_rounds(len(self._val), count, rng)
        chosen, index = index.unique(return_inverse=True)
        images = self._val.select(chosen.numpy())
        pixels = torch.from_numpy(images.pixels(self._generator.image_size))
        latents = self._latents(pixels)
        eps = torch.randn((count, *latents.shape[1:]), generator=rng).to(latents)
        t = ((torch.randperm(count, generator=rng) + 0.5) / count * len(snr)).long().to(latents.device)
        labels = torch.from_numpy(images.labels)[index]
        features = None
        if self._guidance is not None:
            of_images = features_of(self._generator, images)[index]
            features = self._guidance.condition(labels.tolist(), of_images, [rng] * count)
        prompts = [
            self._val_prompts[number % len(self._val_prompts)][image]
            for number, image in enumerate(chosen[index].tolist())
        ]
        dropped = torch.zeros(count, dtype=torch.bool)
        encoded = self._encoded(prompts)
        return Batch(pixels[index], labels, latents[index], eps, t, prompts, encoded, features, dropped)

    def _squares(self, index: Tensor, rng: torch.Generator) -> Tensor:
        """The squares that are shown of these train images, uint8 (B, 3, S, S)."""
        if isinstance(self._pixels, DecodedImages):
            return torch.from_numpy(self._pixels[index.numpy()])
        uncut = self._pixels
        return torch.stack([random_square(torch.from_numpy(uncut[image]), rng) for image in index.tolist()])

    def _augmented(self, pixels: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented pixels, uint8 (B, 3, S, S), and the parameters of each augmentation, float (B, A)."""
        settings = self._settings
        if settings.augmentation == "none":
            return pixels, torch.zeros(len(pixels), 0)
        changed, parameters = AUGMENTATIONS[settings.augmentation].augmented(
            pixels.float(), rng, probability=settings.augmentation_probability
        )
        return changed.round().clamp(0, 255).to(torch.uint8), parameters

    def _encoded(self, prompts: Sequence[str]) -> Conditioning | None:
        return None if self._encode is None else self._encode(prompts)

    def _choose(self, rng: torch.Generator, size: int, num_classes: int | None) -> Tensor:
        """Indices of train images; with a number of classes, in equal shares by class."""
        if num_classes is None:
            return _shuffled_rounds(len(self._labels), size, rng)
        classes = self._labels.unique()
        classes = classes[torch.randperm(len(classes), generator=rng)][:num_classes]
        parts = []
        for number, label in enumerate(classes):
            share = size // len(classes) + (number < size % len(classes))
            of_class = torch.nonzero(self._labels == label).flatten()
            parts.append(of_class[_shuffled_rounds(len(of_class), share, rng)])
        return torch.cat(parts)

    def _encoded_views(self) -> list[Tensor]:
        """Latents of every train image in each of its views, if that is less work than encoding batches.

        Empty otherwise. The batches do not depend on what a resumed adaptation has done before, since the
        last bit of a latent can depend on the others in its batch.
        """
        settings = self._settings
        if settings.augmentation not in _VIEWS or settings.latents == "sample":
            return []
        images = self._pixels
        if not isinstance(images, DecodedImages):  # another square at every step
            return []
        views, count = _VIEWS[settings.augmentation], len(images)
        first = torch.from_numpy(images[:1])
        work = len(views(first)) * count
        if work > settings.num_steps * settings.batch_size:
            return []
        if self._generator.encode_images(first).nbytes * work > _MAX_LATENTS:
            return []
        block = 64 * (settings.micro_batch or settings.batch_size)  # batches are those of all images at once
        parts = [
            [self._latents(view) for view in views(torch.from_numpy(images[start : start + block]))]
            for start in range(0, count, block)
        ]
        return [torch.cat(of_view) for of_view in zip(*parts, strict=True)]

    def _train_latents(self, index: Tensor, pixels: Tensor, rng: torch.Generator) -> Tensor:
        """Latents of augmented train images."""
        if self._settings.latents == "sample":
            return self._sampled_latents(pixels, rng)
        if not self._views:
            share = self._processes.slice_of(len(pixels))
            return self._processes.gather(self._latents(pixels[share]))
        is_plain = (pixels == self._squares(index, rng)).flatten(1).all(dim=1)
        which = torch.where(is_plain, 0, len(self._views) - 1)
        return torch.stack([self._views[view][image] for view, image in zip(which, index, strict=True)])

    def _latents(self, pixels: Tensor) -> Tensor:
        encode = self._generator.encode_images
        return self._at_once.fit(lambda size: torch.cat([encode(part) for part in pixels.split(size)]))

    def _sampled_latents(self, pixels: Tensor, rng: torch.Generator) -> Tensor:
        """Samples of the posteriors of images, which do not depend on how many are encoded at once."""
        encode, share = self._generator.posterior, pixels[self._processes.slice_of(len(pixels))]
        parts = self._at_once.fit(lambda size: [encode(part) for part in share.split(size)])
        mean, std = (self._processes.gather(torch.cat(tensors)) for tensors in zip(*parts, strict=True))
        return mean + std * torch.randn(mean.shape, generator=rng).to(mean)


@final
class _Encoder:
    """Encodes prompts; if there are few distinct ones, each is encoded once and then looked up.

    The last bit of a state can depend on the batch in which its prompt is encoded, so the batches are the
    same in every run.
    """

    def __init__(self, generator: Adaptable, prompts: Iterable[str]) -> None:
        self._generator = generator
        distinct = list(dict.fromkeys(prompts))
        self._position: dict[str, int] = {}
        self._table: Conditioning | None = None
        if 0 < len(distinct) <= _MAX_TABLE:
            self._position = {prompt: index for index, prompt in enumerate(distinct)}
            self._table = self._encoded(distinct)

    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        if self._table is None:
            return self._encoded(prompts)
        return self._table.select(torch.tensor([self._position[prompt] for prompt in prompts]))

    def _encoded(self, prompts: Sequence[str]) -> Conditioning:
        starts = range(0, len(prompts), _PROMPTS_AT_ONCE)
        return Conditioning.joined(
            [self._generator.encode_prompts(prompts[start : start + _PROMPTS_AT_ONCE]) for start in starts]
        )


def prompts_of(data: LabelledSet, *, prompt_names: Sequence[str], settings: AdaptSettings) -> list[list[str]]:
    """The prompts of all images, one list per template of ``adapt.prompt``.

    Args:
        data: N images.
        prompt_names: what prompts call each class, by label.
        settings: prompt and token.

    Returns:
        One list of N prompts per template.

    Raises:
        InputError: for templates that do not fit the method.
    """
    templates = read_templates(
        settings.prompt, needs_class=settings.needs_class, has_token=settings.has_token
    )
    tokens = settings.tokens(len(prompt_names))
    captioned = list(zip(data.labels, captions_of(data), strict=True))
    return [
        [
            fill(template, words=prompt_names[label], caption=caption, token=tokens[label])
            for label, caption in captioned
        ]
        for template in templates
    ]


def step_seed(seed: int, step: int) -> int:
    """The seed of step ``step``; -1 stands for the validation images."""
    return int(np.random.SeedSequence([seed, step + 1, 0xADA]).generate_state(1, np.uint64)[0] >> 1)


def evaluation_batch(settings: AdaptSettings) -> int:
    """How many images are computed at once without gradients."""
    return settings.micro_batch or 4 * settings.batch_size


def _classes_per_batch(settings: AdaptSettings) -> int | None:
    """Number of classes in a batch; None if batches are drawn from all images."""
    if settings.has_token:
        return 1  # Li et al. 2024, section on Dataset Style Inversion
    term = TERMS[settings.distribution]
    return settings.classes_per_batch if term is not None and term.within_class else None


def _shuffled_rounds(num_images: int, count: int, rng: torch.Generator) -> Tensor:
    """Random indices in which every image comes once before any comes again."""
    rounds = -(-count // num_images)
    return torch.cat([torch.randperm(num_images, generator=rng) for _ in range(rounds)])[:count]
