"""Copies in large sets, by comparing all and through an index: part ``copies`` of :mod:`benchmarks.growth`.

Images are made up, smooth and grey, 32 x 32 pixels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np
from scipy.ndimage import zoom

from benchmarks.claims import Claim, repeated
from understudy.data import row_index
from understudy.data.alike_images import alike_pairs
from understudy.data.copy_search import CopySearch, through_index
from understudy.functional.copies import nearest_copies
from understudy.functional.copy_candidates import Search, compare_all
from understudy.functional.orientations import ORIENTATIONS, low_frequencies, most_alike, oriented, turned

_REACH = 4  # pixels by which copies are moved
_ALIKE = 0.9  # correlation of low frequencies
_PARTNERS = 2


def searched(drawn: str, train: str, number: str, smoke: str) -> dict[str, Any]:
    """The nearest train image of each drawn one; every fourth drawn image is a changed train image."""
    rng = np.random.default_rng(int(number))
    x, y = _smooth(int(drawn), rng), _smooth(int(train), rng)
    is_copy = np.arange(len(x)) % 4 == 0
    copied = rng.choice(len(y), is_copy.sum(), replace=False)
    x[is_copy] = _changed(y[copied], rng)
    ways: dict[str, Search] = {"all": compare_all, "index": through_index if smoke else CopySearch()}
    nearest, seconds = dict[str, np.ndarray](), dict[str, float]()
    for way in [*ways][:: (-1) ** int(number)]:
        start = time.monotonic()
        nearest[way], _ = nearest_copies(x, y, search=ways[way])
        seconds[way] = time.monotonic() - start
    same = nearest["index"] == nearest["all"]
    return {
        **{f"seconds_{way}": seconds[way] for way in ways},
        **{f"copies_found_{way}": float((nearest[way][is_copy] == copied).mean()) for way in ways},
        "same_nearest_of_others": float(same[~is_copy].mean()),
        "seconds_per_million_pairs": seconds["all"] / (len(x) * len(y) / 1e6),
    }


def paired(images: str, number: str) -> dict[str, Any]:
    """The most similar pairs within one set; every tenth image is another one, turned and with noise."""
    rng = np.random.default_rng(int(number))
    x = _smooth(int(images), rng)
    is_copy = np.arange(len(x)) % 10 == 0
    turns = rng.integers(0, len(ORIENTATIONS), is_copy.sum())
    copied = x[rng.choice(np.flatnonzero(~is_copy), is_copy.sum(), replace=False)]
    copied = np.stack([oriented(image[None], g)[0] for image, g in zip(copied, turns, strict=True)])
    x[is_copy] = copied + rng.normal(0, 0.05, copied.shape)
    rows = low_frequencies(255 * x)
    versions = [turned(rows, g) for g in ORIENTATIONS]
    found, seconds = dict[str, set[tuple[int, ...]]](), dict[str, float]()
    for way, search in {"all": most_alike, "index": alike_pairs}.items():
        start = time.monotonic()
        with mock.patch.object(row_index, "MOST_COMPARED", 0):
            pairs = search(rows, versions, count=_PARTNERS, least=_ALIKE, symmetric=True)
        seconds[f"seconds_{way}"] = time.monotonic() - start
        found[way] = set(map(tuple, pairs.tolist()))
    both = len(found["all"] & found["index"])
    return {**seconds, "pairs": len(found["all"]), "pairs_found": both / max(1, len(found["all"]))}


def _smooth(count: int, rng: np.random.Generator) -> np.ndarray:
    """Random images of low frequencies, float32 (count, 32, 32), levels 0 to 1."""
    return np.asarray(zoom(rng.random((count, 8, 8), np.float32), (1, 4, 4), order=1))


def _changed(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Copies that are moved, of other contrast and brightness, and noisy; every other one is mirrored."""
    moves = rng.integers(-_REACH, _REACH + 1, (len(images), 2))
    moved = np.stack([np.roll(image, move, axis=(0, 1)) for image, move in zip(images, moves, strict=True)])
    moved[::2] = moved[::2, :, ::-1]
    contrast, light = rng.uniform(0.6, 1.2, (len(images), 1, 1)), rng.uniform(-0.1, 0.1, (len(images), 1, 1))
    noisy = 0.5 + contrast * (moved - 0.5) + light + rng.normal(0, 0.03, moved.shape)
    return np.asarray(noisy.clip(0, 1), dtype=np.float32)


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """What the page about large sets states."""

    def reported(claim: str, values: Sequence[float]) -> Claim:
        return repeated(claim, values, target="reported")

    made = list[Claim]()
    if drawn := [row for row in rows if row["way"] == "drawn against train"]:
        what = f"copies of {drawn[0]['train']:,} images among {drawn[0]['drawn']:,}"
        ratios = [row["seconds_index"] / row["seconds_all"] for row in drawn]
        found = {way: [100 * row[f"copies_found_{way}"] for row in drawn] for way in ("index", "all")}
        same = [100 * row["same_nearest_of_others"] for row in drawn]
        paces = [row["seconds_per_million_pairs"] for row in drawn]
        made += [
            reported(f"{what}, through an index: percent found", found["index"]),
            reported(f"{what}, comparing all: percent found", found["all"]),
            reported(f"{what}, through an index: percent of the others with the same nearest image", same),
            reported(f"{what}, through an index: time over that of comparing all", ratios),
            reported(f"{what}, comparing all: seconds for a million pairs", paces),
        ]
    if within := [row for row in rows if row["way"] == "within a set"]:
        what = f"pairs of {within[0]['images']:,} images with a correlation of at least {_ALIKE:g}"
        ratios = [row["seconds_index"] / row["seconds_all"] for row in within]
        found_pairs = [100 * row["pairs_found"] for row in within]
        made += [
            reported(f"{what}, through an index: percent found", found_pairs),
            reported(f"{what}, through an index: time over that of comparing all", ratios),
        ]
    return made
