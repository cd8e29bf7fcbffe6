from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    """Smooth noise: unlike other seeds to a perceptual hash, and compressible."""
    levels = np.random.default_rng([7, seed]).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC)


def write_folder(root: Path, classes: dict[str, int], *, start: int = 0) -> Path:
    """An image folder with so many PNG files per class."""
    number = start
    for name, count in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture(number).save(root / name / f"{index}.png")
            number += 1
    return root
