"""Random changes to training images, at every step anew."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from understudy.core.registry import Registry
from understudy.functional.augment import flip_crop, random_affine
from understudy.training.backbones import seeded_globals

Normalise = Callable[[Tensor], Tensor]
Augment = Callable[[Tensor, Normalise, torch.Generator], Tensor]
"""uint8 pixels (B, 3, H, W), what normalises them, and the source of the draws, to normalised float pixels of the same shape."""

AUGMENTATIONS: Registry[Augment] = Registry("augmentation")


@AUGMENTATIONS.register(
    "affine", summary="shift, rotate, scale and shear a little; no mirroring, so for characters too"
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


def _add_torchvision(name: str, make: Callable[[int, int], v2.Transform], *, summary: str) -> None:
    """An augmentation of torchvision, drawn anew for each image: for a batch it would draw once."""

    def augment(pixels: Tensor, normalise: Normalise, rng: torch.Generator) -> Tensor:
        transform = make(pixels.shape[-2], pixels.shape[-1])
        with seeded_globals(
            int(torch.randint(2**62, (), generator=rng))
        ):  # torchvision draws from the global generator
            return normalise(torch.stack([transform(image) for image in pixels]))

    AUGMENTATIONS.register(name, summary=summary)(augment)


_add_torchvision(
    "randaugment",
    lambda height, width: v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR),
    summary="two strong changes of shape or colour, no mirroring (Cubuk et al. 2020, arXiv:1909.13719)",
)
_add_torchvision(
    "trivial-augment",
    lambda height, width: v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR),
    summary="one change of shape or colour of any strength, no mirroring (Müller and Hutter 2021, arXiv:2103.10158)",
)
_add_torchvision(
    "random-resized-crop",
    lambda height, width: v2.Compose(
        [v2.RandomResizedCrop((height, width), antialias=True), v2.RandomHorizontalFlip()]
    ),
    summary="a crop of 8% to 100% and mirroring, as for ImageNet (Szegedy et al. 2015, arXiv:1409.4842)",
)
