"""Augmentations of the train images of a generator, with parameters that can condition it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor

from understudy.functional.augment import (
    affine_by_shares,
    affine_shares,
    flip_crop_by_shares,
    flip_crop_shares,
)

_MIRROR = "mirror"


@final
@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of images, each described by parameters between -1 and 1; 0 is no change.

    Attributes:
        changes: name of the change that each of A parameters belongs to.
        draw: random parameters, float (B, A), for images (B, 3, H, W).
        apply: changes images by parameters.
    """

    changes: tuple[str, ...]
    draw: Callable[[Tensor, torch.Generator], Tensor]
    apply: Callable[[Tensor, Tensor], Tensor]

    def augmented(
        self, x: Tensor, rng: torch.Generator, *, probability: float | None
    ) -> tuple[Tensor, Tensor]:
        """Augment each image at random.

        Args:
            x: float of shape (B, 3, H, W).
            rng: source of random numbers.
            probability: of each change of an image, except that half of the images are mirrored in any case,
                as in EDM (Karras et al. 2022, arXiv:2206.00364, appendix F.2). None makes every change.

        Returns:
            The images, and their parameters (B, A), exactly 0 for changes that were not made.
        """
        parameters = self.draw(x, rng)
        if probability is not None:
            is_made = {
                change: torch.rand(len(x), generator=rng) < (1 if change == _MIRROR else probability)
                for change in dict.fromkeys(self.changes)
            }
            parameters = parameters * torch.stack([is_made[change] for change in self.changes], dim=1)
        return self.apply(x, parameters), parameters


def _flip_crop(padding: float) -> Augmentation:
    return Augmentation(
        changes=("shift", "shift", _MIRROR),
        draw=partial(flip_crop_shares, padding=padding),
        apply=partial(flip_crop_by_shares, padding=padding),
    )


AUGMENTATIONS = {
    "affine": Augmentation(
        # EDM rotates by any angle and needs its cosine and sine; the share of 8 degrees does not wrap around.
        changes=("rotation", "shift", "shift", "scale", "shear"),
        draw=affine_shares,
        # Weaker than for classifiers, because a generator that is not conditioned learns to draw such images.
        apply=partial(affine_by_shares, shift=0.06, degrees=8.0, scale=0.08, shear=8.0),
    ),
    "flip-crop": _flip_crop(0.125),
    "flip": _flip_crop(0.0),
}
"""The augmentations of ``adapt.augmentation`` other than ``none``."""
