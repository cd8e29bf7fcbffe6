"""Colour profiles: the colours of a picture with an embedded ICC profile, converted to sRGB."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode by the colour space of a profile."""
_CLOSE = 2
"""A profile that changes no colour by more levels than this is sRGB; its rounding is left out."""


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert the colours of a picture without transparency to sRGB.

    Args:
        image: in mode RGB, L or CMYK.
        profile: the embedded ICC profile; None if there is none.

    Returns:
        The picture in mode RGB; the same picture if there is no profile, if the profile is sRGB, or if it is
        damaged or made for another kind of picture.
    """
    transform = _transform(profile, image.mode) if profile else None
    if transform is None:
        return image
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None, "only a change in place returns nothing"
    return converted


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> Any:
    """The transform from a profile to sRGB; None if there is none, or it changes next to nothing."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _MODES.get(source.profile.xcolor_space) != mode:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        probe = _colours(mode)
        changed = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int)
    except ImageCms.PyCMSError:
        return None
    unchanged = np.asarray(probe.convert("RGB")).astype(int)
    is_srgb = mode != "CMYK" and np.abs(changed - unchanged).max() <= _CLOSE
    return None if is_srgb else transform


def _colours(mode: str) -> Image.Image:
    """Colours all over the space of a mode."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    steps = np.linspace(0, 255, 5 if bands > 1 else 256).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(*[steps] * bands, indexing="ij"), axis=-1).reshape(1, -1, bands)
    return Image.fromarray(grid if bands > 1 else grid[..., 0], mode if bands == 4 else None)
