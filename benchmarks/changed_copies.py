"""Changed copies: which kinds the search finds, how often it links different images, and what it costs.

``python -m benchmarks.changed_copies`` takes about ten minutes on one idle core; finished parts are kept and
reused. Digits and drawn shapes are always measured; :func:`benchmarks.pictures.picture_sets` says
which variables name the files of further sets.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchmarks.claims import Claim, command_line, write
from benchmarks.pictures import KINDS, Change, picture_sets
from benchmarks.speed_quadratic import printed
from understudy.core.files import write_text
from understudy.data.changed_copies import changed_copies
from understudy.data.leaks import perceptual
from understudy.functional.intervals import binomial_limits

_HERE = Path(__file__).parents[1]
_FAMILY = 5  # copies of each picture
_CORRELATION = 0.985  # the limit of the simpler way that decision 0032 compares with
_KEPT = ("flip", "turn by", "darker,", "colours:")  # they change no shape: all copies must be found
_TEXTURE_PART = 10_000
_SEARCH = """
import sys, time
import numpy as np
from understudy.data.changed_copies import changed_copies
thumbnails = np.load(sys.argv[1])
changed_copies(thumbnails[:50])  # what the first call imports is not counted
start = time.process_time()
pairs = changed_copies(thumbnails)
print(len(pairs), time.process_time() - start)
"""


@final
@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many images are measured.

    Attributes:
        others: images of a set among which copies are searched for.
        copied: of these, the images that are copied.
        different: images without copies, at most.
        searched: sizes of the sets of textures for the cost, and how often each is searched.
        photographs: the same for photographs, which are searched three times.
    """

    others: int = 400
    copied: int = 100
    different: int = 10_000
    searched: Sequence[tuple[int, int]] = ((1_000, 3), (5_000, 3), (20_000, 3), (100_000, 1))
    photographs: int = 5_000


_SMOKE = Sizes(others=30, copied=3, different=50, searched=((100, 2), (200, 1)), photographs=100)


def _thumbnails(images: Sequence[Image.Image]) -> np.ndarray:
    return np.stack([perceptual(image)[2] for image in images])


def _distinct(images: Sequence[Image.Image]) -> tuple[list[Image.Image], np.ndarray]:
    """The images whose thumbnails are different, and these thumbnails."""
    thumbnails = _thumbnails(images)
    _, first = np.unique(thumbnails.reshape(len(images), -1), axis=0, return_index=True)
    first.sort()
    return [images[index] for index in first], thumbnails[first]


def searched(originals: np.ndarray, copies: np.ndarray) -> tuple[np.ndarray, int]:
    """Search for copies beside their originals.

    Args:
        originals: thumbnails of N different images, uint8 (N, 32, 32).
        copies: thumbnails of K copies of each of the first M, uint8 (K, M, 32, 32).

    Returns:
        Whether each copy was linked to its original, directly or by other copies of it, bool (K, M), and how
        many pairs of different images were found.
    """
    num, (repeats, copied) = len(originals), copies.shape[:2]
    picture = np.concatenate([np.arange(num), np.tile(np.arange(copied), repeats)])
    pairs = changed_copies(np.concatenate([originals, *copies]))
    is_right = picture[pairs[:, 0]] == picture[pairs[:, 1]]
    # A copy with the same pixels, such as a symmetric picture in the mirror, is an exact copy.
    equal = num + np.flatnonzero((copies == originals[:copied]).all(axis=(2, 3)).ravel())
    i, j = np.concatenate([pairs[is_right], np.stack([picture[equal], equal], axis=1)]).T
    links = coo_array((np.ones(len(i), dtype=bool), (i, j)), shape=(len(picture),) * 2)
    group = connected_components(links, directed=False)[1]
    found = group[num:] == group[picture[num:]]
    return found.reshape(repeats, copied), int((~is_right).sum())


def recall(name: str, images: Sequence[Image.Image], sizes: Sizes) -> Iterator[dict[str, Any]]:
    """A row per change, and one for families of copies, of a set of different images."""
    originals, chosen = _thumbnails(images), images[: sizes.copied]

    def row(kind: str, strength: str, copies: np.ndarray) -> dict[str, Any]:
        found, wrong = searched(originals, copies)
        counts = {"images": len(originals), "copies": found.size, "found": int(found.sum()), "wrong": wrong}
        return {"part": "recall", "set": name, "kind": kind, "strength": strength, **counts}

    for kind in KINDS:
        for strength, change in kind.strengths.items():
            yield row(kind.name, strength, _thumbnails([change(image) for image in chosen])[None])
    changes = [kind.strengths[strength] for kind in KINDS for strength in kind.looked_for]
    yield row("family", f"{_FAMILY} copies", _families(chosen, changes))


def _families(images: Sequence[Image.Image], changes: Sequence[Change]) -> np.ndarray:
    """Thumbnails of several copies of each image, each changed in another way, uint8 (K, M, 32, 32)."""
    rng = np.random.default_rng(0)
    ways = [rng.permutation(len(changes))[:_FAMILY] for _ in images]
    return np.stack(
        [
            _thumbnails([changes[way[number]](image) for image, way in zip(images, ways, strict=True)])
            for number in range(_FAMILY)
        ]
    )


def different(name: str, thumbnails: np.ndarray) -> dict[str, Any]:
    """Pairs that are found among different images: by the search, and by one limit for the correlation."""
    pairs = changed_copies(thumbnails)
    distance = float(np.sqrt(2 - 2 * _CORRELATION))
    by_one_limit = changed_copies(thumbnails, most_different=distance, detail_shares=[1e9])
    counts = {"images": len(thumbnails), "pairs": len(pairs), "images_in_pairs": len(np.unique(pairs))}
    return {"part": "different", "set": name, **counts, "pairs_by_one_limit": len(by_one_limit)}


def textures(count: int) -> np.ndarray:
    """Thumbnails of random textures with spectra as photographs have them, uint8 (count, 32, 32).

    Every tenth is the mirror image of the one before, with a little noise.
    """
    size, parts = 32, []
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    for start in range(0, count, _TEXTURE_PART):
        of_slopes, of_waves, of_noise = np.random.default_rng([2, start]).spawn(3)
        slope = of_slopes.uniform(0.5, 1.5, (min(_TEXTURE_PART, count - start), 1, 1))
        waves = (
            np.fft.fft2(of_waves.normal(size=(len(slope), size, size)))
            * np.maximum(frequency, 1 / size) ** -slope
        )
        levels = np.fft.ifft2(waves).real
        levels -= levels.mean(axis=(1, 2), keepdims=True)
        levels = 128 + 50 * levels / levels.std(axis=(1, 2), keepdims=True)
        levels[9::10] = levels[8::10, :, ::-1][: len(levels[9::10])] + of_noise.normal(
            0, 4, levels[9::10].shape
        )
        parts.append(np.clip(np.round(levels), 0, 255).astype(np.uint8))
    return np.concatenate(parts)


def _cost(name: str, make: Callable[[], np.ndarray], repeats: int) -> list[dict[str, Any]]:
    """A row with the CPU seconds of each search, on one thread."""
    thumbnails = make()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "thumbnails.npy"
        np.save(path, thumbnails)
        pairs, seconds = np.array([printed(_HERE, _SEARCH, path) for _ in range(repeats)]).T
    found = {"images": len(thumbnails), "pairs": int(pairs[0]), "seconds": seconds.tolist()}
    return [{"part": "cost", "set": name, **found}]


def measure(sizes: Sizes, runs: Path) -> list[dict[str, Any]]:
    """All rows; those of each set and size are kept in ``runs`` and not measured again."""
    rows: list[dict[str, Any]] = []
    sets = picture_sets()
    for name, read in sets.items():
        rows += _kept(runs / f"{name}.json", partial(_of_set, name, read, sizes))
    for count, repeats in sizes.searched:
        part = partial(_cost, "textures", partial(textures, count), repeats)
        rows += _kept(runs / f"cost-textures-{count}.json", part)
    if "CIFAR-10" in sets:
        part = partial(_cost, "CIFAR-10", partial(_photographs, sets["CIFAR-10"], sizes.photographs), 3)
        rows += _kept(runs / f"cost-CIFAR-10-{sizes.photographs}.json", part)
    return rows


def _photographs(read: Callable[[int], list[Image.Image]], count: int) -> np.ndarray:
    return _distinct(read(count + count // 20))[1][:count]


def _of_set(name: str, read: Callable[[int], list[Image.Image]], sizes: Sizes) -> list[dict[str, Any]]:
    images, thumbnails = _distinct(read(sizes.different))
    return [*recall(name, images[: sizes.others], sizes), different(name, thumbnails)]


def _kept(path: Path, rows: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows from a file, which is written first if it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(rows()))
    return list(json.loads(path.read_text(encoding="utf-8")))


def claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """What the documentation states."""
    found = [row for row in rows if row["part"] == "recall"]
    worst = min((row for row in found if row["kind"] in _KEPT), key=_share)
    family = min((row for row in found if row["kind"] == "family"), key=_share)
    digits = next(row for row in rows if row["part"] == "different" and row["set"] == "digits")
    before, last = [row for row in rows if row["part"] == "cost" and row["set"] == "textures"][-2:]
    seconds = float(np.mean(last["seconds"]))
    return [
        _found("flips, quarter turns, darker copies, paler and grey ones", worst, target="at least 0.95"),
        _found(f"families of {_FAMILY} copies, each changed in another way that is looked for", family),
        Claim.single(
            f"pairs of different images that are taken for copies, among {digits['images']:,} digits, on "
            "which the limits of the search were chosen",
            digits["pairs"],
            target="0",
            met=digits["pairs"] == 0,
            why="says that these limits suit digits; other sets are in the table",
        ),
        Claim.single(
            f"search among {last['images']:,} random textures: CPU seconds",
            seconds,
            target="at most 600",
            met=seconds <= 600,
            why=f"on one thread; repeats: {len(last['seconds'])}",
        ),
        Claim.single(
            f"power with which CPU seconds grow from {before['images']:,} to {last['images']:,} images",
            _growth(before, last),
            target="measured",
            met=True,
        ),
    ]


def _share(row: dict[str, Any]) -> float:
    return float(row["found"] / row["copies"])


def _found(what: str, row: dict[str, Any], *, target: str = "measured") -> Claim:
    low, high = binomial_limits(_share(row), row["copies"])
    return Claim(
        claim=f"{what}: share found, lowest of all sets and changes",
        value=_share(row),
        low=low,
        high=high,
        target=target,
        met=low >= 0.95,
        why=f"{row['set']}, {row['kind']} {row['strength']}: exact binomial interval",
    )


def tables(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Recall by change and set, pairs of different images by set, and cost by size."""
    return [_recall_table(rows), _different_table(rows), _cost_table(rows)]


def _recall_table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = [row for row in rows if row["part"] == "recall"]
    sets = list(dict.fromkeys(row["set"] for row in found))
    by = {(row["set"], row["kind"], row["strength"]): row for row in found}
    lines = []
    for kind in KINDS:
        rest = [strength for strength in kind.strengths if strength not in kind.looked_for]
        shares = [
            [
                [f"{100 * _share(by[name, kind.name, each]):.0f}" for each in part]
                for part in (kind.looked_for, rest)
            ]
            for name in sets
        ]
        lines.append([f"{kind.name} {_parted(kind.looked_for, rest)}", *(_parted(*each) for each in shares)])
    family = [row for row in found if row["kind"] == "family"]
    words = f"{_FAMILY} copies of each picture, each changed in another way that is looked for"
    lines.append([words, *(f"{100 * _share(row):.0f}" for row in family)])
    wrong = [[row["wrong"] for row in found if row["set"] == name] for name in sets]
    lines.append(
        ["*pairs of other images found, mean of all searches*", *(f"{np.mean(each):.1f}" for each in wrong)]
    )
    title = (
        f"Share of changed copies found, in percent: {found[0]['copies']} copies are searched for beside "
        f"their originals among {found[0]['images']} images, one change at a time. Parentheses: stronger "
        "changes than the search looks for."
    )
    return {"title": title, "columns": ["change", *sets], "rows": lines}


def _parted(looked_for: Sequence[str], rest: Sequence[str]) -> str:
    further = f"({', '.join(rest)})" if rest else ""
    return " ".join(filter(None, [", ".join(looked_for), further]))


def _different_table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    columns = {
        "set": "set",
        "images": "images",
        "pairs": "pairs found",
        "images_in_pairs": "images in them",
        "pairs_by_one_limit": f"pairs with a correlation of {_CORRELATION}",
    }
    lines = [
        [row[key] if key == "set" else f"{row[key]:,}" for key in columns]
        for row in rows
        if row["part"] == "different"
    ]
    title = (
        "Pairs found among images as they are, and, for comparison, all that agree to one limit for the "
        "correlation after alignment."
    )
    return {"title": title, "columns": [*columns.values()], "rows": lines}


def _cost_table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    lines, before = [], dict[str, dict[str, Any]]()
    for row in (row for row in rows if row["part"] == "cost"):
        power = f"{_growth(before[row['set']], row):.2f}" if row["set"] in before else ""
        before[row["set"]] = row
        count, seconds = row["images"], float(np.mean(row["seconds"]))
        repeats = f"{seconds:.1f} ({len(row['seconds'])})"
        lines.append([row["set"], f"{count:,}", repeats, f"{1000 * seconds / count:.2f}", power])
    title = (
        "Cost of the search on one thread: CPU seconds (mean of so many repeats), and the power of the "
        "number of images with which they grew from the row above. Textures are random, and every tenth is "
        "a changed copy; photographs have more pairs to align."
    )
    columns = ["set", "images", "CPU seconds", "milliseconds per image", "power"]
    return {"title": title, "columns": columns, "rows": lines}


def _growth(before: dict[str, Any], now: dict[str, Any]) -> float:
    seconds, images = (np.mean(now[key]) / np.mean(before[key]) for key in ("seconds", "images"))
    return float(np.log(seconds) / np.log(images))


def run(out: Path, runs: Path, smoke: bool) -> None:
    """Measure what is not in ``runs`` yet, and write the result file."""
    sizes = _SMOKE if smoke else Sizes()
    rows = measure(sizes, runs)
    command = ["python", "-m", "benchmarks.changed_copies"]
    settings = {"changed copies": {"command": command, **vars(sizes)}}
    write(out, settings=settings, rows=rows, claims=claims(rows), tables=tables(rows))


if __name__ == "__main__":
    command_line("changed_copies", run, doc=__doc__ or "")
