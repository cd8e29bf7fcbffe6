"""Random changes to training images, drawn again at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from understudy.core.registry import Registry
from understudy.functional.augment import flip_crop, random_affine
from understudy.training.backbones import seeded_globals

Normalise = Callable[[Tensor], Tensor]
Augment = Callable[[Tensor, Normalise, torch.Generator], Tensor]
"""Changes uint8 pixels (B, 3, H, W) at random, then normalises them with the given function."""

AUGMENTATIONS: Registry[Augment] = Registry("augmentation")


@AUGMENTATIONS.register(
    "affine", summary="shift, rotate, scale and shear a little; no mirroring, so it suits characters too"
)
def _affine(pixels: Tensor, normalise: Normalise, rng: torch.Generator) -> Tensor:
    return random_affine(normalise(pixels), rng)


@AUGMENTATIONS.register(
    "flip-crop", summary="mirror and shift, for natural images (He et al. 2016, arXiv:1512.03385)"
)
def _flip_crop(pixels: Tensor, normalise: Normalise, rng: torch.Generator) -> Tensor:
    return flip_crop(normalise(pixels), rng)


@AUGMENTATIONS.register("none", summary="images as they are")
def _none(pixels: Tensor, normalise: Normalise, rng: torch.Generator) -> Tensor:
    return normalise(pixels)


def _add_torchvision(name: str, make: Callable[[Any, int, int], Any], *, summary: str) -> None:
    """Register an augmentation of torchvision.

    It is applied image by image, since torchvision would make the same random change to a whole batch.

    Args:
        name: how users call it.
        make: maps ``torchvision.transforms.v2``, height and width to a transform.
        summary: one line for ``understudy list``.
    """

    def augment(pixels: Tensor, normalise: Normalise, rng: torch.Generator) -> Tensor:
        from torchvision.transforms import v2  # heavy; only training needs it

        transform = make(v2, pixels.shape[-2], pixels.shape[-1])
        seed = int(torch.randint(2**62, (), generator=rng))
        with seeded_globals(seed):  # torchvision draws from the global generator
            return normalise(torch.stack([transform(image) for image in pixels]))

    AUGMENTATIONS.register(name, summary=summary)(augment)


_add_torchvision(
    "randaugment",
    lambda v2, height, width: v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR),
    summary="two strong changes of shape or colour, no mirroring (Cubuk et al. 2020, arXiv:1909.13719)",
)
_add_torchvision(
    "trivial-augment",
    lambda v2, height, width: v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR),
    summary="one random change of shape or colour, no mirroring (Müller and Hutter 2021, arXiv:2103.10158)",
)
_add_torchvision(
    "random-resized-crop",
    lambda v2, height, width: v2.Compose(
        [v2.RandomResizedCrop((height, width), antialias=True), v2.RandomHorizontalFlip()]
    ),
    summary="a crop of 8% to 100% and mirroring, as for ImageNet (Szegedy et al. 2015, arXiv:1409.4842)",
)
