"""Corruptions of test images that cameras, networks and people cause, each with five severities.

The idea is from Hendrycks and Dietterich 2019 (arXiv:1903.12261), who measure classifiers under common
corruptions. Here, kinds and strengths differ: strengths are relative to the size of the image, so that images
of 32 and of 224 pixels are corrupted equally.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from understudy.core.registry import Registry
from understudy.data.decoding import decode
from understudy.data.labelled_set import LabelledSet

Corruption = Callable[[Tensor, int, Sequence[np.random.Generator]], Tensor]
"""Corrupts pixels, uint8 (N, 3, H, W), with a severity from 1 to 5 and one random generator per image; the
result has the same shape and type.
"""

CORRUPTIONS: Registry[Corruption] = Registry("corruption")

_UNIT = 32  # side in pixels of the images for which strengths in pixels are given
_BATCH_SIZE = 256

_NOISE = (0.06, 0.1, 0.16, 0.24, 0.34)  # standard deviation, relative to the range of levels
_BLUR = (0.018, 0.026, 0.038, 0.053, 0.075)  # standard deviation, relative to the shorter side
_CONTRAST = (0.7, 0.5, 0.35, 0.22, 0.12)  # factor of the contrast
_PIXELS = (20, 16, 12, 9, 7)  # along the shorter side
# quantisation steps of JPEG relative to those of quality 50, for images of _UNIT pixels
_COARSENESS = (0.4, 0.8, 1.3, 2.0, 3.2)
_BRIGHTNESS = (1.3, 1.7, 2.2, 3.0, 4.0)  # factor of the levels; its inverse darkens
_DEGREES = (6, 12, 18, 25, 35)


def corrupted(data: LabelledSet, name: str, *, severity: int, size: int, seed: int) -> Iterator[LabelledSet]:
    """Yield a corrupted test set in parts of a few hundred images, so that only one part is in memory.

    The random numbers of an image depend only on ``seed``, ``name`` and its id, and are the same at every
    severity.

    Args:
        data: real test images.
        name: a registered corruption.
        severity: 1 to 5.
        size: width and height in pixels to which images are resized first, as for the classifiers.
        seed: seed of the random numbers.

    Yields:
        Images in the order of ``data``, with their ids, labels and split.

    Raises:
        InputError: if the name is unknown or ``data`` is not a test set.
        ValueError: if the severity is out of range.
    """
    data.check_split("test", purpose="measuring under corruptions")
    corrupt = CORRUPTIONS[name]
    if not 1 <= severity <= len(_NOISE):
        raise ValueError(f"severity must be 1 to {len(_NOISE)}, got {severity}")
    for start in range(0, len(data), _BATCH_SIZE):
        part = data.select(range(start, min(start + _BATCH_SIZE, len(data))))
        changed = corrupt(
            torch.from_numpy(part.pixels(size)), severity, [_rng(seed, name, image) for image in part.ids]
        )
        # Bitmaps, because each is read only once, and compressing noise would take most of the time.
        images = [_encoded(image, "BMP") for image in changed.numpy()]
        yield LabelledSet.from_images(
            images, part.labels, class_names=data.class_names, split=data.split, ids=part.ids
        )


@CORRUPTIONS.register("noise", summary="normal noise, with grains of 1/32 of the side")
def _noise(pixels: Tensor, severity: int, rngs: Sequence[np.random.Generator]) -> Tensor:
    # Noise of single pixels would vanish in large images, where networks look at coarser structures.
    grain = max(1.0, min(pixels.shape[-2:]) / _UNIT)
    shape = (pixels.shape[1], *(max(1, round(side / grain)) for side in pixels.shape[-2:]))
    grains = torch.from_numpy(np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs]))
    noise = functional.interpolate(grains, size=pixels.shape[-2:], mode="nearest-exact")
    return _rounded(pixels + 255 * _NOISE[severity - 1] * noise)


@CORRUPTIONS.register("blur", summary="Gaussian blur")
def _blur(pixels: Tensor, severity: int, rngs: Sequence[np.random.Generator]) -> Tensor:
    # slow to import, and not needed to list corruptions
    from torchvision.transforms.v2 import functional as transforms

    sigma = _BLUR[severity - 1] * min(pixels.shape[-2:])
    reach = min(math.ceil(3 * sigma), min(pixels.shape[-2:]) - 1)
    changed = pixels.float()
    # Two passes, one along each side, need far fewer products than one pass with a square kernel.
    for kernel in ([2 * reach + 1, 1], [1, 2 * reach + 1]):
        changed = transforms.gaussian_blur(changed, kernel_size=kernel, sigma=[sigma, sigma])
    return _rounded(changed)


@CORRUPTIONS.register("contrast", summary="levels pulled towards their mean")
def _contrast(pixels: Tensor, severity: int, rngs: Sequence[np.random.Generator]) -> Tensor:
    # slow to import, and not needed to list corruptions
    from torchvision.transforms.v2 import functional as transforms

    return cast("Tensor", transforms.adjust_contrast(pixels, _CONTRAST[severity - 1]))


@CORRUPTIONS.register("pixelate", summary="coarse pixels: 20 to 7 along the shorter side")
def _pixelate(pixels: Tensor, severity: int, rngs: Sequence[np.random.Generator]) -> Tensor:
    scale = min(1.0, _PIXELS[severity - 1] / min(pixels.shape[-2:]))
    height, width = (max(1, round(scale * side)) for side in pixels.shape[-2:])
    means = functional.adaptive_avg_pool2d(pixels.float(), (height, width))
    return _rounded(functional.interpolate(means, size=pixels.shape[-2:], mode="nearest-exact"))


@CORRUPTIONS.register("jpeg", summary="lossy compression")
def _jpeg(pixels: Tensor, severity: int, rngs: Sequence[np.random.Generator]) -> Tensor:
    # JPEG works in blocks of 8 pixels, which are small parts of a large image, so a large image needs coarser
    # steps to lose as much. Above about 300 pixels, no coarser steps exist.
    coarseness = _COARSENESS[severity - 1] * min(pixels.shape[-2:]) / _UNIT
    quality = (
        100 - 50 * coarseness if coarseness < 1 else 50 / coarseness
    )  # the definition of the quality scale
    # With Pillow, because torchvision drops its codecs. Colours keep their resolution: subsampling them would
    # matter in small images only.
    files = [
        _encoded(image, "JPEG", quality=min(100, max(1, round(quality))), subsampling=0)
        for image in pixels.numpy()
    ]
    return torch.from_numpy(np.stack([np.asarray(decode(file)).transpose(2, 0, 1) for file in files]))


@CORRUPTIONS.register("brightness", summary="lighter or darker, with equal probability")
def _brightness(pixels: Tensor, severity: int, rngs: Sequence[np.random.Generator]) -> Tensor:
    # slow to import, and not needed to list corruptions
    from torchvision.transforms.v2 import functional as transforms

    factor = _BRIGHTNESS[severity - 1]
    lighter, darker = (transforms.adjust_brightness(pixels, each) for each in (factor, 1 / factor))
    return torch.where(_even_odds(rngs), lighter, darker)


@CORRUPTIONS.register(
    "rotation", summary="turned left or right by 6 to 35 degrees; empty corners repeat the edge pixels"
)
def _rotation(pixels: Tensor, severity: int, rngs: Sequence[np.random.Generator]) -> Tensor:
    # slow to import, and not needed to list corruptions
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as transforms

    height, width = pixels.shape[-2:]
    # wide enough for a turn by any angle
    margin = math.ceil(0.5 * (math.hypot(height, width) - min(height, width))) + 1
    wide = transforms.pad(pixels, [margin], padding_mode="edge")
    ways = [
        transforms.rotate(wide, angle, InterpolationMode.BILINEAR)
        for angle in (_DEGREES[severity - 1], -_DEGREES[severity - 1])
    ]
    left, right = (transforms.center_crop(each, [height, width]) for each in ways)
    return torch.where(_even_odds(rngs), left, right)


def _rng(seed: int, corruption: str, image: str) -> np.random.Generator:
    """Random numbers for one image.

    They depend on the name of the corruption; otherwise every image that turns left would also get lighter.
    """
    return np.random.default_rng(
        [seed, int.from_bytes(hashlib.sha256(f"{corruption} {image}".encode()).digest()[:8], "big")]
    )


def _even_odds(rngs: Sequence[np.random.Generator]) -> Tensor:
    """Bool of shape (N, 1, 1, 1)."""
    return torch.tensor([bool(rng.integers(2)) for rng in rngs])[:, None, None, None]


def _rounded(levels: Tensor) -> Tensor:
    return levels.round().clamp(0, 255).to(torch.uint8)


def _encoded(image: np.ndarray, form: str, **options: int) -> bytes:
    """An image, uint8 (3, H, W), as the bytes of a file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(buffer, format=form, **options)
    return buffer.getvalue()
