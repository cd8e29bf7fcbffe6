"""Defaults that depend on the images: photographs are not classified, augmented or drawn like characters."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image

from understudy.core.errors import InputError
from understudy.data.image_kind import image_kind
from understudy.data.inspection import Inspected, inspect
from understudy.data.labelled_set import decode_once
from understudy.data.load import find_source
from understudy.data.settings import DataSettings
from understudy.generators.pipeline_size import is_large
from understudy.training.photo_network import photo_weights

_SAMPLE = 100  # images that are looked at
_OF_A_LABEL = 10  # of these, at most
_MOST_READ = 1000  # files that are read for it
_FROM_SCRATCH = {"resolution": 64, "patch": 4}  # a step takes as long as at 32 pixels, the general default
_SIZES = (96, 128, 160, 192, 224)  # of the classifier's input; EfficientNet-Lite0 was trained at 224

IMAGE_DEFAULTS: dict[str, dict[str, tuple[object, ...]]] = {
    "adapt": {"augmentation": ("flip-crop", "flip")},
    "compare": {"augmentation": ("flip-crop",), "backbone": ("photo",), "resolution": _SIZES},
    "generator": {name: (value,) for name, value in _FROM_SCRATCH.items()},
}
"""By section and setting, the values that are defaults for some images."""
IMAGE_REASONS = {
    "adapt.augmentation": "photographs: mirroring is safe; so is moving, but it slows large pipelines",
    "compare.augmentation": "photographs: mirroring and moving them is safe",
    "compare.backbone": "a network that knows photographs (ImageNet)",
    "compare.resolution": "the size of that network nearest to the images",
    "generator.resolution": "at least half of the images have as many pixels",
    "generator.patch": "with twice the pixels, a step takes as long as with 32",
}
"""Why, by dotted name."""


def image_defaults(data: DataSettings, *, generator: str = "mini") -> dict[str, Any]:
    """Settings that suit the images, as a layer for :func:`build`.

    Photographs are mirrored and cropped, but only mirrored while a large pipeline is adapted, which then
    encodes each of them twice and not at every step. If ``understudy[photo]`` is installed, classifiers start
    from a network that knows photographs, at the size of the images. ``class_conditional`` draws 64 pixels if
    at least half of the images have as many. Nothing for characters, and if no image can be read.
    """
    images = _first_images(data)
    if not images or image_kind(images) == "characters":
        return {}
    side = float(np.median([min(image.size) for image in images]))
    compare: dict[str, Any] = {"augmentation": "flip-crop"}
    if photo_weights() is not None:
        compare |= {"backbone": "photo", "resolution": min(_SIZES, key=lambda size: abs(size - side))}
    is_larger = generator == "class_conditional" and side >= _FROM_SCRATCH["resolution"]
    drawn = {"generator": dict(_FROM_SCRATCH)} if is_larger else {}
    adapt = {"augmentation": "flip" if is_large(generator) else "flip-crop"}
    return {"adapt": adapt, "compare": compare, **drawn}


def _first_images(data: DataSettings) -> list[Image.Image]:
    """Some readable images, few of each label; none if the source cannot be read, as a run then explains."""
    number = Counter[object]()
    images: list[Image.Image] = []
    try:
        for item in islice(find_source(data.source).open(data.source, data).items, _MOST_READ):
            if len(images) == _SAMPLE:
                break
            is_wanted = not item.problem and number[item.label] < _OF_A_LABEL
            if is_wanted and isinstance(inspect(item.data, data.max_pixels), Inspected):
                number[item.label] += 1
                images.append(decode_once(item.data))
    except InputError:
        return []
    return images
