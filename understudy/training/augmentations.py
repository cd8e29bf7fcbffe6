"""Random changes to training images, drawn again at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from understudy.core.registry import Registry
from understudy.functional.augment import flip_crop, random_affine, resized_crop
from understudy.functional.transfer import sent
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


def _by_image(make: Callable[[Any, int, int], Any]) -> Augment:
    """An augmentation of torchvision, applied image by image: it would change a whole batch in the same way.

    Args:
        make: maps ``torchvision.transforms.v2``, height and width to a transform.
    """

    def augment(pixels: Tensor, normalise: Normalise, rng: torch.Generator) -> Tensor:
        from torchvision.transforms import v2  # heavy; only training needs it

        transform = make(v2, pixels.shape[-2], pixels.shape[-1])
        seed = int(torch.randint(2**62, (), generator=rng))
        with seeded_globals(seed):  # torchvision draws from the global generator
            return normalise(torch.stack([transform(image) for image in pixels]))

    return augment


AUGMENTATIONS.register(
    "randaugment",
    summary="two strong changes of shape or colour, no mirroring (Cubuk et al. 2020, arXiv:1909.13719)",
)(_by_image(lambda v2, height, width: v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR)))
AUGMENTATIONS.register(
    "trivial-augment",
    summary="one random change of shape or colour, no mirroring (Müller and Hutter 2021, arXiv:2103.10158)",
)(_by_image(lambda v2, height, width: v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)))

_crops_by_image = _by_image(
    lambda v2, height, width: v2.Compose(
        [v2.RandomResizedCrop((height, width), antialias=True), v2.RandomHorizontalFlip()]
    )
)


@AUGMENTATIONS.register(
    "random-resized-crop",
    summary="a crop of 8% to 100% and mirroring, as for ImageNet (Szegedy et al. 2015, arXiv:1409.4842)",
)
def _random_resized_crop(pixels: Tensor, normalise: Normalise, rng: torch.Generator) -> Tensor:
    """Image by image on a CPU, the whole batch at once on other devices; the boxes are the same."""
    if pixels.device.type == "cpu":
        return _crops_by_image(pixels, normalise, rng)
    return resized_crops(pixels, normalise, rng)


def _jittered_crop(v2: Any, height: int, width: int) -> Any:
    modes = (v2.InterpolationMode.BILINEAR, v2.InterpolationMode.BICUBIC)
    crops = [v2.RandomResizedCrop((height, width), interpolation=mode, antialias=True) for mode in modes]
    jitter = v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4)
    return v2.Compose([v2.RandomChoice(crops), v2.RandomHorizontalFlip(), jitter])


AUGMENTATIONS.register(
    "random-resized-crop-jitter",
    summary="random-resized-crop with random interpolation and colours (Yuan et al. 2024, arXiv:2310.10402)",
)(_by_image(_jittered_crop))


def resized_crops(pixels: Tensor, normalise: Normalise, rng: torch.Generator) -> Tensor:
    """``random-resized-crop`` of a whole batch, with the boxes that torchvision draws image by image.

    Unlike torchvision, this does not round to whole grey levels.

    Args:
        pixels: uint8 (B, 3, H, W), on any device.
        normalise: applied before the crop.
        rng: decides boxes and mirroring.

    Returns:
        float32 (B, 3, H, W).
    """
    from torchvision.transforms import v2  # heavy; only training needs it

    crop, boxes, draws = v2.RandomResizedCrop(tuple(pixels.shape[-2:])), [], []
    with seeded_globals(int(torch.randint(2**62, (), generator=rng))):
        for image in pixels:
            box = crop.make_params([image])
            boxes.append([box[name] for name in ("top", "left", "height", "width")])
            draws.append(torch.rand(1))
    return resized_crop(
        normalise(pixels),
        boxes=sent(torch.tensor(boxes), pixels.device),
        mirrored=sent(torch.cat(draws) < 0.5, pixels.device),
    )
