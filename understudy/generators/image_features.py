"""The CLIP image encoder of a pipeline, differentiable from features back to pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import interpolate

from understudy.core.errors import InputError
from understudy.core.hub import hub_file, load_network, why_not_found
from understudy.core.weight_files import check_finite

if TYPE_CHECKING:
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection


@final
class ImageFeatures:
    """Projected features of images, not normalised.

    Args:
        encoder: vision model with projection; it is frozen here.
        processor: preprocessor with mean and standard deviation of the inputs; CLIP's if None.

    Attributes:
        encoder: the vision model.
        mean: mean of the inputs by channel, for pixels from 0 to 1, (1, 3, 1, 1).
        std: standard deviation of the inputs by channel, (1, 3, 1, 1).
    """

    def __init__(self, encoder: CLIPVisionModelWithProjection, processor: CLIPImageProcessor | None) -> None:
        from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD  # slow; lists do not need it

        self.encoder = encoder.requires_grad_(requires_grad=False).eval()
        self.mean = torch.tensor(processor.image_mean if processor else OPENAI_CLIP_MEAN).view(1, 3, 1, 1)
        self.std = torch.tensor(processor.image_std if processor else OPENAI_CLIP_STD).view(1, 3, 1, 1)

    @property
    def width(self) -> int:
        """Width F of the features."""
        return int(self.encoder.config.projection_dim)

    def __call__(self, pixels: Tensor, *, device: torch.device) -> Tensor:
        """Compute features, float32 (B, F), of pixels, float (B, 3, H, W) in [-1, 1].

        As in CLIP's preprocessing, the short side is resized to the encoder's size (bicubic, antialiased) and
        the centre is cropped, but without rounding to grey levels, which would have no gradient.
        """
        x = central_square(pixels.to(device).float(), self.encoder.config.image_size)
        x = ((x + 1) / 2 - self.mean.to(device)) / self.std.to(device)
        return cast("Tensor", self.encoder(pixel_values=x.to(self.encoder.dtype)).image_embeds.float())


def central_square(x: Tensor, size: int) -> Tensor:
    """Resize the short side of images (B, C, H, W) to ``size``, and crop the central square."""
    height, width = x.shape[-2:]
    if (height, width) == (size, size):
        return x
    short = min(height, width)
    resized = (size * height // short, size * width // short)
    x = interpolate(x, size=resized, mode="bicubic", antialias=True, align_corners=False)
    top, left = (resized[0] - size) // 2, (resized[1] - size) // 2
    return x[:, :, top : top + size, left : left + size]


def image_encoder_of(pipeline: Any, name: str | None, dtype: torch.dtype) -> ImageFeatures | None:
    """Load the image encoder ``name``; without a name, use the pipeline's encoder.

    A loaded encoder becomes part of a pipeline that has a place for one (all but Sana).

    Returns:
        The encoder, or None if the pipeline has none or it is not a CLIP encoder with projection (that of
        Stable Diffusion 3 has no projection).

    Raises:
        InputError: as :func:`load_image_encoder`.
    """
    from transformers import CLIPVisionModelWithProjection  # slow; lists do not need it

    if name is not None:
        features = load_image_encoder(name, dtype)
        if "image_encoder" in pipeline.components:
            pipeline.register_modules(image_encoder=features.encoder)
        return features
    encoder = pipeline.components.get("image_encoder")
    if not isinstance(encoder, CLIPVisionModelWithProjection):
        return None
    return ImageFeatures(encoder, pipeline.components.get("feature_extractor"))


def check_image_encoder(features: ImageFeatures | None, pipeline: Any) -> ImageFeatures:
    """Check that a pipeline has an encoder of image features, and return it.

    Raises:
        InputError: with the setting that can name one.
    """
    if features is None:
        raise InputError(
            f"image features need an image encoder, and this {type(pipeline).__name__} has none: "
            "set generator.image_encoder to a CLIP vision model with projection"
        )
    return features


def load_image_encoder(
    name: str, dtype: torch.dtype, *, setting: str = "generator.image_encoder"
) -> ImageFeatures:
    """Load an encoder from a folder or the hub, with its preprocessor if it has one.

    Args:
        name: folder or hub name.
        dtype: of the weights.
        setting: the setting that names it, for the message.

    Raises:
        InputError: if it is not a CLIP vision model with projection.
    """
    from transformers import CLIPVisionModelWithProjection  # slow; lists do not need it

    try:
        if not Path(name).exists():
            hub_file(name, "config.json")
        encoder = load_network(CLIPVisionModelWithProjection, name, dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{setting} must be a folder or hub name of a CLIP vision model with projection, got {name!r}: "
            f"{why_not_found(error)}"
        ) from error
    check_finite(encoder.state_dict(), f"{setting}={name}")
    return ImageFeatures(encoder, _processor(name))


def _processor(name: str) -> CLIPImageProcessor | None:
    from transformers import CLIPImageProcessor  # slow; lists do not need it

    if Path(name).is_dir() and not (Path(name) / "preprocessor_config.json").is_file():
        return None
    try:
        return CLIPImageProcessor.from_pretrained(name)
    except OSError:  # a repository without a preprocessor
        return None
