"""The network of ``class_conditional``: a UNet of diffusers on patches, and the best linear denoiser."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import final

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from understudy.functional.edm import noise_condition
from understudy.functional.linear_denoiser import linear_v, remaining_deviation
from understudy.generators.precision import computing


@final
class PatchUNet(nn.Module):
    """Folds pixels into patches and passes them through a class-conditional UNet of diffusers.

    Args:
        unet: the UNet; its last class means "no class" and is used for guidance.
        patch: width and height of a patch in pixels.
        precision: number format of the products, whoever calls; weights stay float32.
    """

    def __init__(self, unet: UNet2DModel, patch: int, *, precision: str) -> None:
        super().__init__()
        self.unet = unet
        self._patch = patch
        self._precision = precision
        self._patches: tuple[Tensor, ...] | None = None
        self.augmentation: nn.Linear | None = None

    def learn_augmentation(self, num_parameters: int) -> None:
        """Add a linear layer for the parameters of augmentations; its weights are 0 before training.

        It has no bias: for an image without augmentation it adds nothing, and drawing does not need it.
        """
        width = self.unet.time_embedding.linear_1.in_features
        self.augmentation = nn.Linear(num_parameters, width, bias=False, device=self.unet.device)
        nn.init.zeros_(self.augmentation.weight)

    def set_patches(self, patches: tuple[Tensor, Tensor] | None) -> None:
        """Add the best linear denoiser of patches, of this spectrum, to the UNet; None adds nothing."""
        self._patches = None if patches is None else tuple(each.to(self.unet.device) for each in patches)

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor, augmentation: Tensor | None = None) -> Tensor:
        """Predict v, as x (B, 3, H, W), at noise levels sigma (B,) and for classes int64 (B,).

        ``augmentation`` (B, A) has the parameters of each image's augmentation; None stands for zeros.
        """
        time = 500 + 250 * noise_condition(sigma)  # diffusers embeds times from 0 to 1000
        x = pixel_unshuffle(x, self._patch)
        with self._conditioned(augmentation), computing(self._precision, torch.float32, x.device):
            v = self.unet(x, time, class_labels=labels).sample
        v = v.float()
        if self._patches is not None:
            eigenvalues, vectors = self._patches
            v = v * remaining_deviation(sigma, eigenvalues).view(-1, 1, 1, 1)
            with torch.autocast(x.device.type, enabled=False):  # noise cancels in sums of large products
                v = v + linear_v(x.float(), sigma, eigenvalues, vectors)
        return pixel_shuffle(v, self._patch)

    def _conditioned(self, augmentation: Tensor | None) -> AbstractContextManager[object]:
        """Add embedded augmentations to the embedded noise levels; the UNet of diffusers cannot do it."""
        if augmentation is None:
            return nullcontext()
        assert self.augmentation is not None, "learn_augmentation comes first"
        embedded = self.augmentation(augmentation)
        hook: AbstractContextManager[object] = self.unet.time_embedding.register_forward_pre_hook(
            lambda _, noise: (noise[0] + embedded,)
        )
        return hook
