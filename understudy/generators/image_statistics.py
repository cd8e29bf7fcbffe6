"""What a network that is trained from scratch has to know about its images before the first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self, final

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from understudy.core.files import write_atomically
from understudy.data.labelled_set import LabelledSet
from understudy.functional.edm import SIGMA_DATA
from understudy.functional.linear_denoiser import patch_spectrum
from understudy.functional.noise_levels import PUBLISHED, NoiseLevels, measured_levels

_FILE = "image_statistics.safetensors"
_MAX_VALUES = 2**24  # pixel values that are measured: 5,461 images of 32 pixels
_MIN_IMAGES = 500  # of larger images, unless they have more pixel values than the following number
_MOST_VALUES = 2**26  # 341 images of 256 pixels, 85 of 512 pixels
_BLOCK = 64  # images at once
_GREY_LEVEL = 1 / 127.5  # distance of two pixel values in [-1, 1]
_LEVELS = ("p_mean", "p_std", "sigma_min", "sigma_max")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ImageStatistics:
    """Mean and deviation of the images, their noise levels, and the covariance of their patches.

    The defaults are those of adapters of earlier versions, for which nothing was measured.

    Attributes:
        mean: mean of each channel, in [-1, 1].
        std: standard deviation of all pixels around these means, positive.
        levels: noise levels for images scaled to the deviation ``SIGMA_DATA``.
        patches: eigenvalues (P,) and eigenvectors (P, P) of the covariance of their patches; None if it was
            not measured.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: float = SIGMA_DATA
    levels: NoiseLevels = PUBLISHED
    patches: tuple[Tensor, Tensor] | None = None

    @classmethod
    def measured(cls, train: LabelledSet, *, size: int, patch: int) -> Self:
        """Measure train images at ``size`` pixels: all, or evenly spaced ones if there are many."""
        chosen = np.arange(0, len(train), max(1, len(train) // _num_measured(size)))
        y = torch.from_numpy(train.select(chosen).pixels(size)).float().div_(127.5).sub_(1)
        red, green, blue = y.mean(dim=(0, 2, 3)).tolist()
        y.sub_(torch.tensor((red, green, blue)).view(3, 1, 1))
        squares = sum(float(block.square().sum(dtype=torch.float64)) for block in y.split(_BLOCK))
        std = max((squares / y.numel()) ** 0.5, _GREY_LEVEL)
        y.mul_(SIGMA_DATA / std)
        grey_level = SIGMA_DATA / std * _GREY_LEVEL
        labels = torch.from_numpy(train.labels[chosen])
        return cls(
            mean=(red, green, blue),
            std=std,
            levels=measured_levels(y.flatten(1), labels, grey_level=grey_level),
            patches=patch_spectrum(y, patch, floor=grey_level**2 / 12),  # the variance of rounding
        )

    def save(self, folder: Path) -> None:
        """Write the statistics, if any were measured."""
        if self.patches is None:
            return
        eigenvalues, vectors = self.patches
        tensors = {
            "mean": torch.tensor(self.mean, dtype=torch.float64),
            "std": torch.tensor(self.std, dtype=torch.float64),
            "levels": torch.tensor([getattr(self.levels, name) for name in _LEVELS], dtype=torch.float64),
            "patch_eigenvalues": eigenvalues.contiguous(),
            "patch_vectors": vectors.contiguous(),
        }
        write_atomically(folder / _FILE, lambda path: safetensors.torch.save_file(tensors, path))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote; the defaults if there is nothing.

        Raises:
            OSError, SafetensorError: for a damaged file.
        """
        if not (folder / _FILE).exists():
            return cls()
        stored = safetensors.torch.load_file(folder / _FILE)
        red, green, blue = stored["mean"].tolist()
        return cls(
            mean=(red, green, blue),
            std=float(stored["std"]),
            levels=NoiseLevels(**dict(zip(_LEVELS, stored["levels"].tolist(), strict=True))),
            patches=(stored["patch_eigenvalues"], stored["patch_vectors"]),
        )


def _num_measured(size: int) -> int:
    """How many images of this size are measured: at least as many, if there are, and less than twice as many.

    So there are fewer than 2^27 pixel values of large images: 0.5 GB, of which one copy is held.
    """
    values = 3 * size**2
    return max(1, _MAX_VALUES // values, min(_MIN_IMAGES, _MOST_VALUES // values))
