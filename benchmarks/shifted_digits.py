"""Shifted handwriting: ``python -m benchmarks.shifted_digits FOLDER`` writes changed copies of the test
images of ``digits``.

Each kind of change becomes an image folder: a thicker or thinner pen, slanted or resized writing, grainy
paper, and all of them at once. An image depends only on its id and the seed.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import grey_dilation, grey_erosion

from understudy.data.labelled_set import LabelledSet, encode
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""A function from grey levels (H, W), float in [0, 255], bright ink on a dark ground, and a random generator
to changed levels of the same shape.
"""

_PEN = (3, 3)  # pixels by which a stroke grows or shrinks
_SLANT = (0.25, 0.5)  # horizontal shift per height, either way
_SIZES = ((0.6, 0.75), (1.1, 1.2))  # larger digits would not fit the image
_GRAIN = 0.15  # standard deviation, as a share of the full range of levels


def _thick_pen(levels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(grey_dilation(levels, size=_PEN))


def _thin_pen(levels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(grey_erosion(levels, size=_PEN))


def _slant(levels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _warped(levels, shear=rng.uniform(*_SLANT) * rng.choice([-1, 1]), size=1.0)


def _size(levels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _warped(levels, shear=0.0, size=rng.uniform(*_SIZES[rng.integers(2)]))


def _grain(levels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return levels + 255 * _GRAIN * rng.standard_normal(levels.shape)


def _all(levels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    pen = (_thick_pen, _thin_pen)[rng.integers(2)]
    for change in (pen, _slant, _size, _grain):
        levels = change(levels, rng)
    return levels


KINDS: Mapping[str, Change] = {
    "thick-pen": _thick_pen,
    "thin-pen": _thin_pen,
    "slant": _slant,
    "size": _size,
    "grain": _grain,
    "all": _all,
}


def write_shifted(test: LabelledSet, to: Path, *, seed: int) -> dict[str, Path]:
    """Write the test images once per kind of change.

    Args:
        test: real test digits.
        to: folder to write to; files that exist are overwritten with the same content.
        seed: seed of the random changes.

    Returns:
        By kind, a folder with ``class/id.png`` for every image.
    """
    test.check_split("test", purpose="making shifted test sets")
    for index, (name, label) in enumerate(zip(test.ids, test.labels, strict=True)):
        levels = np.asarray(test.image(index).convert("L"), dtype=np.float64)
        digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        for kind, change in KINDS.items():
            grey = np.clip(change(levels, np.random.default_rng([seed, digest])).round(), 0, 255).astype(
                np.uint8
            )
            path = to / kind / test.class_names[label] / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(np.repeat(grey[None], 3, axis=0)))
    return {kind: to / kind for kind in KINDS}


def _warped(levels: np.ndarray, *, shear: float, size: float) -> np.ndarray:
    """Shear and scale an image about its centre; the space that opens is dark."""
    height, width = levels.shape
    x, y = (width - 1) / 2, (height - 1) / 2
    image = Image.fromarray(levels.astype(np.float32))
    # Maps each output pixel to its source; Pillow measures from the corners of pixels.
    back = (
        1 / size,
        shear / size,
        x + 0.5 - (x + 0.5 + shear * (y + 0.5)) / size,
        0,
        1 / size,
        (y + 0.5) * (1 - 1 / size),
    )
    return np.asarray(
        image.transform((width, height), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR),
        dtype=np.float64,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shifted_digits", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random changes")
    arguments = parser.parse_args()
    write_shifted(
        load_splits(DataSettings(source="digits"), seed=0).test, arguments.folder, seed=arguments.seed
    )
