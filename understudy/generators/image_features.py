"""The CLIP image encoder of a pipeline, with gradients from features back to pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, final

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from understudy.core.errors import InputError


@final
class ImageFeatures:
    """Projected, not normalised, features of images.

    Args:
        encoder: vision model with projection; frozen here.
        processor: knows mean and standard deviation of its inputs; CLIP's own if not given.

    Attributes:
        encoder: the model.
        mean: of its inputs by channel, (1, 3, 1, 1), for levels 0 to 1.
        std: their standard deviation, the same.
    """

    def __init__(self, encoder: CLIPVisionModelWithProjection, processor: CLIPImageProcessor | None) -> None:
        self.encoder = encoder.requires_grad_(requires_grad=False).eval()
        self.mean = torch.tensor(processor.image_mean if processor else OPENAI_CLIP_MEAN).view(1, 3, 1, 1)
        self.std = torch.tensor(processor.image_std if processor else OPENAI_CLIP_STD).view(1, 3, 1, 1)

    @property
    def width(self) -> int:
        """F of the features."""
        return int(self.encoder.config.projection_dim)

    def __call__(self, pixels: Tensor, *, device: torch.device) -> Tensor:
        """Features, float32 (B, F), of pixels, float (B, 3, H, W) in [-1, 1].

        Short side to the encoder's size (bicubic, antialiased), then the centre, as CLIP's own preprocessing, but without rounding to
        grey levels, which would have no gradient.
        """
        x = _square(pixels.to(device).float(), self.encoder.config.image_size)
        x = ((x + 1) / 2 - self.mean.to(device)) / self.std.to(device)
        return cast("Tensor", self.encoder(pixel_values=x.to(self.encoder.dtype)).image_embeds.float())


def _square(x: Tensor, size: int) -> Tensor:
    """Images (B, C, H, W) resized so that the short side is ``size``, then the central square, (B, C, size, size)."""
    height, width = x.shape[-2:]
    if (height, width) == (size, size):
        return x
    short = min(height, width)
    resized = (size * height // short, size * width // short)
    x = interpolate(x, size=resized, mode="bicubic", antialias=True, align_corners=False)
    top, left = (resized[0] - size) // 2, (resized[1] - size) // 2
    return x[:, :, top : top + size, left : left + size]


def load_image_encoder(name: str, dtype: torch.dtype) -> ImageFeatures:
    """An encoder from a folder or the hub, with its preprocessor's figures where it has one.

    Raises:
        InputError: if there is no such encoder.
    """
    try:
        encoder = CLIPVisionModelWithProjection.from_pretrained(name, dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"generator.image_encoder must be a folder or hub name of a CLIP vision model with projection, got {name!r}: {error}"
        ) from error
    return ImageFeatures(encoder, _processor(name))


def pipeline_image_encoder(pipeline: Any) -> ImageFeatures | None:
    """The encoder that a pipeline brings, if it is CLIP's (that of Stable Diffusion 3 is not, and has no projection)."""
    encoder = pipeline.components.get("image_encoder")
    if not isinstance(encoder, CLIPVisionModelWithProjection):
        return None
    return ImageFeatures(encoder, pipeline.components.get("feature_extractor"))


def _processor(name: str) -> CLIPImageProcessor | None:
    if Path(name).is_dir() and not (Path(name) / "preprocessor_config.json").is_file():
        return None
    try:
        return CLIPImageProcessor.from_pretrained(name)
    except OSError:  # a repository without one
        return None
