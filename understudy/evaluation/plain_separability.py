"""Whether plain statistics of colour and gradient tell synthetic from real images: a check of the encoder."""

from __future__ import annotations

from typing import Any

import numpy as np

from understudy.data.decoding import open_image
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.side_measures import separability
from understudy.functional.plain_statistics import plain_statistics

_SMALLEST, _LARGEST = 4, 64  # pixels
_FEW = 0.1  # images of a set that may be smaller than the common size
_FEWEST = 10  # images of each kind: two in each of five folds
_MOST = 1000  # images of each kind; more would only narrow the interval


def plain_separability(
    real: LabelledSet, held_out: LabelledSet, synthetic: LabelledSet, *, seed: int
) -> dict[str, Any] | None:
    """Separate synthetic and, as a control, held-out real images from real ones by plain statistics.

    All images have the same size, so that sharpness beyond that size does not count: at most 64 pixels, and
    no larger than nine in ten images of each set. If all real images are grey, colours do not count either.

    Args:
        real: train images.
        held_out: other real images.
        synthetic: synthetic images.
        seed: chooses images and folds.

    Returns:
        ``value`` and ``floor``, the area under the receiver operating curve of synthetic and of held-out
        images, each ``mean``, ``low`` and ``high``; ``size`` in pixels; ``grey``. None with fewer than ten
        images of a kind, and if a tenth of the images of a kind are smaller than four pixels.
    """
    sets = [_some(data, seed) for data in (real, held_out, synthetic)]
    if min(map(len, sets)) < _FEWEST:
        return None
    size = min(_LARGEST, *map(_usual_side, sets))
    if size < _SMALLEST:
        return None
    pixels = [data.pixels(size) for data in sets]
    grey = bool((np.ptp(pixels[0], axis=1) == 0).all())
    if grey:
        pixels = [
            np.repeat(x.mean(axis=1, keepdims=True).round().astype(np.uint8), 3, axis=1) for x in pixels
        ]
    trained, other, drawn = map(plain_statistics, pixels)
    areas = {
        name: separability(trained, statistics, np.random.default_rng(seed))["auc"]
        for name, statistics in (("value", drawn), ("floor", other))
    }
    return {**areas, "size": size, "grey": grey}


def _some(data: LabelledSet, seed: int) -> LabelledSet:
    if len(data) <= _MOST:
        return data
    return data.select(np.sort(np.random.default_rng(seed).choice(len(data), _MOST, replace=False)))


def _usual_side(data: LabelledSet) -> int:
    """The tenth percentile of the shorter sides, in pixels, by the headers alone."""
    sides = [min(open_image(data.encoded(index)).size) for index in range(len(data))]
    return int(np.quantile(sides, _FEW, method="lower"))
