"""Pictures for the benchmarks of copies: changes by kind and strength, and sets of pictures."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from understudy.data.decoding import decode
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings

Change = Callable[[Image.Image], Image.Image]
_BICUBIC = Image.Resampling.BICUBIC


def moved(image: Image.Image, right: int, down: int, border: int) -> Image.Image:
    """Move an image and fill the space that opens with one grey level."""
    changed = Image.new("RGB", image.size, (border,) * 3)
    changed.paste(image, (right, down))
    return changed


def encoded(image: Image.Image, form: str, quality: int) -> Image.Image:
    """Encode an image with losses, and decode it."""
    buffer = io.BytesIO()
    image.save(buffer, format=form, quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def brightened(image: Image.Image, gain: float, offset: float = 0.0) -> Image.Image:
    """Multiply the levels by a gain and add an offset."""
    levels = np.asarray(image).astype(float) * gain + offset
    return Image.fromarray(np.clip(np.round(levels), 0, 255).astype(np.uint8))


def cropped(image: Image.Image, share: float, *, right: float = 0.5, down: float = 0.5) -> Image.Image:
    """Enlarge a part of an image to its size; ``right`` and ``down`` say from where: 0.5 is the centre."""
    width, height = (round(side * share) for side in image.size)
    x, y = round((image.width - width) * right), round((image.height - height) * down)
    return image.crop((x, y, x + width, y + height)).resize(image.size, _BICUBIC)


def _tilted(image: Image.Image, degrees: float) -> Image.Image:
    return image.rotate(degrees, _BICUBIC)


def _shifted(image: Image.Image, share: float) -> Image.Image:
    return moved(image, max(1, round(share * image.width)), 0, 0)


def _contrasted(image: Image.Image, by: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(by)


def _coloured(image: Image.Image, by: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(by)


def _blurred(image: Image.Image, share: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(share * image.width))


def _noisy(image: Image.Image, deviation: float) -> Image.Image:
    levels = np.asarray(image)
    noise = np.random.default_rng(zlib.crc32(levels.tobytes())).normal(0, deviation, levels.shape)
    return Image.fromarray(np.clip(np.round(levels + noise), 0, 255).astype(np.uint8))


def _reduced(image: Image.Image, share: float) -> Image.Image:
    width, height = (max(8, round(side * share)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _several(image: Image.Image) -> Image.Image:
    return brightened(cropped(ImageOps.mirror(image), 0.86, right=0.3, down=0.7), 1.2)


@final
@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of change in several strengths.

    Attributes:
        name: in words, before the strengths.
        strengths: a change by strength.
        num_looked_for: so many of them, the first, are changes that the search looks for.
    """

    name: str
    strengths: Mapping[str, Change]
    num_looked_for: int

    @property
    def looked_for(self) -> list[str]:
        """The strengths that the search looks for."""
        return [*self.strengths][: self.num_looked_for]


KINDS = (
    Kind(
        name="flip",
        strengths={"left to right": ImageOps.mirror, "upside down": ImageOps.flip},
        num_looked_for=2,
    ),
    Kind(
        name="turn by",
        strengths={
            "90 degrees": methodcaller("transpose", Image.Transpose.ROTATE_90),
            "180 degrees": methodcaller("transpose", Image.Transpose.ROTATE_180),
        },
        num_looked_for=2,
    ),
    Kind(
        name="turn with black corners by",
        strengths={f"{degrees} degrees": partial(_tilted, degrees=degrees) for degrees in (5, 10, 15)},
        num_looked_for=1,
    ),
    Kind(
        name="central crop of",
        strengths={f"{share:.0%}": partial(cropped, share=share) for share in (0.9, 0.86, 0.8, 0.7)},
        num_looked_for=2,
    ),
    Kind(
        name="crop from a corner of",
        strengths={f"{share:.0%}": partial(cropped, share=share, right=0, down=1) for share in (0.9, 0.8)},
        num_looked_for=0,
    ),
    Kind(
        name="shift with a black edge by",
        strengths={f"{share:.0%}": partial(_shifted, share=share) for share in (0.03, 0.06)},
        num_looked_for=1,
    ),
    Kind(name="darker,", strengths={"0.6 times": partial(brightened, gain=0.6)}, num_looked_for=1),
    Kind(
        name="brighter,",
        strengths={f"{gain} times": partial(brightened, gain=gain) for gain in (1.3, 1.7)},
        num_looked_for=1,
    ),
    Kind(
        name="contrast,",
        strengths={f"{by} times": partial(_contrasted, by=by) for by in (0.7, 1.5)},
        num_looked_for=2,
    ),
    Kind(
        name="colours:",
        strengths={"paler": partial(_coloured, by=0.4), "grey": partial(_coloured, by=0)},
        num_looked_for=2,
    ),
    Kind(
        name="blur with a standard deviation of",
        strengths={f"1/{part} of the width": partial(_blurred, share=1 / part) for part in (64, 32)},
        num_looked_for=2,
    ),
    Kind(
        name="noise of",
        strengths={f"{levels} levels": partial(_noisy, deviation=levels) for levels in (12, 25)},
        num_looked_for=2,
    ),
    Kind(
        name="JPEG of quality",
        strengths={f"{quality}": partial(encoded, form="JPEG", quality=quality) for quality in (60, 20)},
        num_looked_for=2,
    ),
    Kind(name="reduced to", strengths={"3/8 of the width": partial(_reduced, share=3 / 8)}, num_looked_for=1),
    Kind(
        name="mirrored, cropped to 86% off the centre and",
        strengths={"1.2 times brighter": _several},
        num_looked_for=0,
    ),
)
"""Changes of a picture as augmentation and other programs make them."""


def shapes(count: int) -> list[Image.Image]:
    """Drawn shapes on smooth grounds, 64 x 64, each another one."""
    drawn = []
    for number in range(count):
        rng = np.random.default_rng([1, number])
        image = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((64, 64), _BICUBIC)
        (x, y), r = rng.integers(16, 48, 2).tolist(), int(rng.integers(8, 16))
        red, green, blue = rng.integers(0, 256, 3).tolist()
        colour, box, draw = (red, green, blue), (x - r, y - r, x + r, y + r), ImageDraw.Draw(image)
        if number % 3 == 0:
            draw.ellipse(box, fill=colour)
        elif number % 3 == 1:
            draw.rectangle(box, fill=colour)
        else:
            draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
        drawn.append(image)
    return drawn


def digits(count: int) -> list[Image.Image]:
    """The built-in digits: test, train and validation images."""
    splits = load_splits(DataSettings(source="digits"), seed=0)
    parts = (splits.test, splits.train, splits.val)
    return [part.image(index) for part in parts for index in range(len(part))][:count]


def _stored(count: int, *, path: Path) -> list[Image.Image]:
    """Random images of a Parquet file, in an order that does not depend on ``count``."""
    images = pq.read_table(path, columns=["image"]).column("image")
    chosen = np.random.default_rng(0).permutation(len(images))[:count]
    return [decode(row["bytes"]) for row in images.take(pa.array(chosen)).to_pylist()]


def picture_sets() -> dict[str, Callable[[int], list[Image.Image]]]:
    """Functions from a number to so many pictures, by name of the set.

    Digits and drawn shapes need no files. Of the others, those are there whose Parquet file exists; the
    variables ``CIFAR10_PARQUET``, ``CALTECH101_PARQUET``, ``TRASHNET_PARQUET`` and ``USPS_PARQUET`` name it.
    """
    files = {
        "CIFAR-10": Path(os.environ.get("CIFAR10_PARQUET", "cifar10/train.parquet")),
        "Caltech-101": Path(os.environ.get("CALTECH101_PARQUET", "caltech101/test.parquet")),
        "TrashNet": Path(os.environ.get("TRASHNET_PARQUET", "trashnet/train.parquet")),
        "USPS": Path(os.environ.get("USPS_PARQUET", "usps/test.parquet")),
    }
    stored = {name: partial(_stored, path=path) for name, path in files.items() if path.exists()}
    return {"shapes": shapes, "digits": digits, **stored}
