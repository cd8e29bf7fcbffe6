"""Built-in ``digits``: 1,797 real handwritten digits that scikit-learn ships.

The 8 x 8 test images of Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998, UCI). Levels 0
to 16 become 8-bit grey, enlarged to 32 x 32 (bilinear) and stored as RGB. The split is in
``digits_split.csv``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import cast, final

import numpy as np
from PIL import Image

from understudy.data.labelled_set import encode
from understudy.data.settings import DataSettings
from understudy.data.sources.source import SOURCES, AbstractSource, Contents, Item
from understudy.data.sources.split_names import RealSplit
from understudy.data.splits import stratified_split

_NAMES = tuple(f"digit {digit}" for digit in range(10))


@final
class DigitsSource(AbstractSource):
    """The digits, with the same images, ids and splits on every machine."""

    is_checked = True

    def accepts(self, location: str) -> bool:
        """The name ``digits``; write ``./digits`` for a folder of that name."""
        return location == "digits"

    def open(self, location: str, settings: DataSettings) -> Contents:
        """Enlarge and encode the digits one at a time."""
        return Contents(iter(_items()), _NAMES)


SOURCES.register("digits", summary="built in: 1,797 handwritten digits, 600 train, 200 val, 997 test")(
    DigitsSource()
)


def make_split_csv() -> str:
    """Recompute the text of ``digits_split.csv``: a stratified split with seed 0."""
    _, labels = read_digits()
    fractions: dict[RealSplit, float] = {"val": 200 / len(labels), "test": 997 / len(labels)}
    parts = stratified_split(
        [_name(index) for index in range(len(labels))], labels, fractions, class_names=_NAMES, seed=0
    )
    splits = {index: split for split, indices in parts.items() for index in indices.tolist()}
    return "index,split\n" + "".join(f"{index},{splits[index]}\n" for index in range(len(labels)))


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Levels, float64 (1797, 8, 8) from 0 to 16, and labels, int64 (1797,), as ``load_digits`` returns them.

    The file is read directly, because scikit-learn takes most of a second to import.
    """
    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    table = np.loadtxt(Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


@cache
def _items() -> tuple[Item, ...]:
    """All items, 2 MB; studies read them for each run."""
    return tuple(_encoded())


def _encoded() -> Iterator[Item]:
    levels, labels = read_digits()
    table = resources.files("understudy.data").joinpath("digits_split.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(io.StringIO(table)):
        index, split = int(row["index"]), cast("RealSplit", row["split"])
        small = Image.fromarray(np.round(levels[index] * (255 / 16)).astype(np.uint8))
        image = small.resize((32, 32), Image.Resampling.BILINEAR).convert("RGB")
        name = _name(index)
        yield Item(path=name, id=name, label=_NAMES[labels[index]], split=split, data=encode(image))


def _name(index: int) -> str:
    return f"digits-{index:04d}"
