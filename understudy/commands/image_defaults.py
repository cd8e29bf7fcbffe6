"""Defaults that depend on the images: photographs need other classifiers than characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from understudy.commands.study_folder import stored_settings
from understudy.core.errors import InputError
from understudy.data.image_kind import image_kind
from understudy.data.inspection import Inspected, inspect
from understudy.data.labelled_set import decode_once
from understudy.data.load import find_source
from understudy.data.settings import DataSettings
from understudy.pipeline.folder import RunFolder
from understudy.settings import Settings, build
from understudy.training.photo_network import photo_weights

_SAMPLE = 100  # images that are looked at
_OF_A_LABEL = 10  # of these, at most
_MOST_READ = 1000  # files that are read for it
_SIZES = (96, 128, 160, 192, 224)  # of the classifier's input; EfficientNet-Lite0 was trained at 224

_POSSIBLE: Mapping[str, tuple[object, ...]] = {
    "augmentation": ("affine", "flip-crop"),
    "backbone": ("mini", "photo"),
    "resolution": (None, *_SIZES),
}
"""The values of ``compare`` that are defaults for some images."""


def with_image_defaults(layers: Sequence[Mapping[str, Any]], folder: Path | None = None) -> Settings:
    """Build settings from defaults for the images and from ``layers``, which win.

    Args:
        layers: as for :func:`build`.
        folder: of a run or study. If it was begun, its defaults are kept, and no image is read.
    """
    plain = build(*layers)
    begun = None if folder is None else _begun(folder)
    chosen = defaults_for(plain.data) if begun is None else _kept(begun)
    if not plain.compare.pretrained:  # what the network knows is the reason for it
        chosen.get("compare", {}).pop("backbone", None)
    settings = build(chosen, *layers)
    if settings.compare.backbone != "photo":  # other networks have a size of their own
        chosen.get("compare", {}).pop("resolution", None)
        settings = build(chosen, *layers)
    return settings


def _begun(folder: Path) -> Settings | None:
    """The settings of the run or study in a folder; None if there is none."""
    return RunFolder.find(folder).settings if RunFolder.is_run(folder) else stored_settings(folder)


def _kept(begun: Settings) -> dict[str, Any]:
    """The settings of a run that some images have by default."""
    stored = {name: getattr(begun.compare, name) for name in _POSSIBLE}
    return {"compare": {name: value for name, value in stored.items() if value in _POSSIBLE[name]}}


def defaults_for(source: str | Path | DataSettings) -> dict[str, Any]:
    """Settings that suit the images better than the general defaults, as a layer for :func:`build`.

    Photographs are mirrored and cropped (``compare.augmentation=flip-crop``). If ``understudy[photo]`` is
    installed, classifiers start from a network that knows photographs, at the size of the images. Characters
    keep the general defaults.

    Args:
        source: images as a run reads them, or the settings of how to read them.

    Returns:
        Nested settings; empty for characters, and if no image can be read.

    Example:
        >>> defaults_for("digits")
        {}
    """
    data = source if isinstance(source, DataSettings) else DataSettings(source=str(source))
    images = _first_images(data)
    if not images or image_kind(images) == "characters":
        return {}
    compare: dict[str, Any] = {"augmentation": "flip-crop"}
    if photo_weights() is not None:
        side = float(np.median([min(image.size) for image in images]))
        compare |= {"backbone": "photo", "resolution": min(_SIZES, key=lambda size: abs(size - side))}
    return {"compare": compare}


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
