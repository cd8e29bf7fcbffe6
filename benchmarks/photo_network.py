"""Does ``photo`` read its weights as they were trained: which network, which statistics of colours?

``TINY_IMAGENET=FILE python -m benchmarks.photo_network`` needs the test images of Tiny-ImageNet at 64 pixels
as Parquet, with ImageNet's words as class names, and ``pip install "understudy[photo]"``. It takes about
three minutes on one CPU core. The first ``PER_CLASS`` images of each class, enlarged to 256 pixels and
cropped to 224, are classified among all 1,000 classes. They are blurred, so the shares are far below those of
ImageNet's own test images. With ``--smoke``, test images of ``digits`` take their place.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import timm
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ImageNetInfo
from torch import Tensor

from benchmarks.claims import Claim, cell, command_line, minus, t_interval, write
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings
from understudy.training.photo_network import ARCHITECTURE, photo_network

PER_CLASS = 5
PLAIN = "efficientnet_lite0"
HALF = ((0.5,) * 3, (0.5,) * 3)
IMAGENET = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
VARIANTS: Mapping[str, tuple[str, Any]] = {
    "as `photo`: TensorFlow's padding, mean and deviation 0.5": (ARCHITECTURE, HALF),
    "ImageNet's mean and deviation": (ARCHITECTURE, IMAGENET),
    "PyTorch's padding": (PLAIN, HALF),
    "both": (PLAIN, IMAGENET),
}
_FILE = Path(os.environ.get("TINY_IMAGENET", "tiny-imagenet-64/test.parquet"))
_BATCH_SIZE = 32
_AMBIGUOUS = {"cardigan": 474, "crane": 517}
"""Words for two classes, with the one that Tiny-ImageNet means: the jacket, not the dog; the machine, not the
bird.
"""


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Classify the images with every variant, then write rows, tables and claims."""
    torch.set_num_threads(1)
    images, labels = _digits() if smoke else _tiny_imagenet()
    right = {name: _right(images, labels, *variant) for name, variant in VARIANTS.items()}
    rows = [
        {"variant": name, "images": len(labels), "right": int(found.sum())} for name, found in right.items()
    ]
    settings = {name: {"command": ["python", "-m", "benchmarks.photo_network"]} for name in right}
    claims = [] if smoke else _claims(right)
    write(out, settings=settings, rows=rows, claims=claims, tables=[_table(right)])


def _tiny_imagenet() -> tuple[list[Image.Image], np.ndarray]:
    """The images and their places among ImageNet's classes."""
    table = pq.read_table(_FILE)
    names = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    place = imagenet_places()
    labels = np.array(table["label"].to_pylist())
    keep = np.concatenate([np.flatnonzero(labels == label)[:PER_CLASS] for label in range(len(names))])
    files = table["image"].take(keep).to_pylist()
    images = [Image.open(io.BytesIO(file["bytes"])).convert("RGB") for file in files]
    return images, np.array([place[names[label].split(",")[0].lower()] for label in labels[keep]])


def imagenet_places() -> dict[str, int]:
    """The place among ImageNet's 1,000 classes of each word for one of them, in small letters.

    The first class that a word stands for, but for two words of Tiny-ImageNet.
    """
    info = ImageNetInfo("imagenet-1k")
    places: dict[str, int] = {}
    for index in range(info.num_classes()):
        for word in info.index_to_description(index).split(", "):
            places.setdefault(word.lower(), index)
    return places | _AMBIGUOUS


def _digits() -> tuple[list[Image.Image], np.ndarray]:
    test = load_splits(DataSettings(source="digits"), seed=0).test
    return [test.image(index) for index in range(8)], test.labels[:8]


@torch.no_grad()
def _right(images: list[Image.Image], labels: np.ndarray, architecture: str, statistics: Any) -> np.ndarray:
    """Which images get their class, bool (N,)."""
    network = photo_network(None, setting="this benchmark").eval()
    if architecture != ARCHITECTURE:
        other = timm.create_model(architecture).eval()
        other.load_state_dict(network.state_dict())
        network = other
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in statistics)
    found = [network((x - mean) / deviation).argmax(dim=1) for x in batches(images)]
    return np.asarray(torch.cat(found).numpy() == labels)


def batches(images: Sequence[Image.Image]) -> Iterator[Tensor]:
    """Images as the network sees them, before their colours are scaled: float (B, 3, 224, 224) in [0, 1]."""
    for start in range(0, len(images), _BATCH_SIZE):
        part = [image.resize((256, 256), Image.Resampling.BICUBIC) for image in images[start:][:_BATCH_SIZE]]
        pixels = np.stack([np.asarray(image.crop((16, 16, 240, 240))) for image in part])
        yield torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def _points(right: np.ndarray) -> list[float]:
    return [100.0 * float(each) for each in right]


def _claims(right: Mapping[str, np.ndarray]) -> list[Claim]:
    first, *others = right
    found = []
    for name in others:
        mean, low, high = t_interval(minus(_points(right[first]), _points(right[name])))
        found.append(
            Claim(
                claim=f"images of Tiny-ImageNet right with `photo`, minus those with {name}, points",
                value=mean,
                low=low,
                high=high,
                target="above 0",
                met=low > 0,
                why=f"Student interval over {len(right[name]):,} images",
            )
        )
    return found


def _table(right: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {
        "title": f"Images of Tiny-ImageNet right among ImageNet's 1,000 classes, in percent, of "
        f"{len(next(iter(right.values()))):,} with 95% intervals over images.",
        "columns": ["network and statistics", "right, %"],
        "rows": [[name, cell(_points(found))] for name, found in right.items()],
    }


if __name__ == "__main__":
    command_line("photo_network", main, doc=__doc__ or "")
