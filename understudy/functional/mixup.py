"""Mixup and CutMix: blend two images, and their labels in the same proportion.

Symbols::

    x        images                                     float (B, C, H, W)
    y        label probabilities                        float (B, K)
    perm     index of the image that each is mixed with int64 (B,)
    lam      share of the first image                   in [0, 1]
    alpha    parameter of the Beta distribution of lam  above 0
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def mixup(x: Tensor, y: Tensor, perm: Tensor, lam: float) -> tuple[Tensor, Tensor]:
    """Convex combinations of images and of labels; Zhang et al. 2018 (arXiv:1710.09412), section 2.

    Cross entropy is linear in the label probabilities, so the loss against the mixed labels is
    ``lam * CE(m(x), y) + (1 - lam) * CE(m(x), y[perm])``.

    Returns:
        Images and label probabilities, as ``x`` and ``y``.

    Example:
        >>> x, y = torch.eye(2)[:, :, None, None], torch.eye(2)
        >>> mixup(x, y, torch.tensor([1, 0]), 0.75)[1]
        tensor([[0.7500, 0.2500],
                [0.2500, 0.7500]])
    """
    return lam * x + (1 - lam) * x[perm], lam * y + (1 - lam) * y[perm]


def cutmix(
    x: Tensor, y: Tensor, perm: Tensor, lam: float, centre: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Paste a box of another image, and mix the labels in proportion to the areas.

    Yun et al. 2019 (arXiv:1905.04899), eqs. 1 and 2.

    Args:
        x: as above.
        y: as above.
        perm: as above.
        lam: the box covers ``1 - lam`` of the image, or less if the border cuts it off.
        centre: vertical and horizontal centre of the box, as fractions of height and width in [0, 1].

    Returns:
        Images and label probabilities, as ``x`` and ``y``.
    """
    (top, bottom), (left, right) = (
        _clipped(fraction, size, math.sqrt(1 - lam))
        for fraction, size in zip(centre, x.shape[-2:], strict=True)
    )
    mixed = x.clone()
    mixed[..., top:bottom, left:right] = x[perm][..., top:bottom, left:right]
    kept = 1 - (bottom - top) * (right - left) / (x.shape[-2] * x.shape[-1])
    return mixed, kept * y + (1 - kept) * y[perm]


def _clipped(centre: float, size: int, share: float) -> tuple[int, int]:
    """Start and end of a stretch of about ``share * size`` pixels around ``centre``."""
    middle, half = int(centre * size), int(share * size) // 2
    return max(0, middle - half), min(size, middle + half)


def beta(alpha: float, rng: torch.Generator) -> float:
    """A draw from Beta(alpha, alpha).

    Args:
        alpha: above 0.
        rng: source of random numbers.
    """
    return float(np.random.default_rng(int(torch.randint(2**62, (), generator=rng))).beta(alpha, alpha))
