"""Parts of :mod:`benchmarks.growth` about sets that do not fit into memory, each in a process of its own.

Images are made up: smooth random colours in 64 x 64 pixels, JPEG. Memory is the largest sum over the process
and its workers, looked at five times a second; pages that they share count more than once.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from scipy.ndimage import zoom

from benchmarks.claims import Claim, repeated
from understudy.commands.few_images import draw_a_few
from understudy.core.host_memory import ImageMemory
from understudy.core.threads import use_threads
from understudy.data.copy_search import through_index
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import load_splits
from understudy.data.parquet_images import IMAGE
from understudy.data.settings import DataSettings
from understudy.functional.copies import nearest_copies
from understudy.functional.copy_candidates import compare_all
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.sampling.plan import Planner, num_rows, write_parts
from understudy.sampling.settings import DrawSettings
from understudy.training.arms import find_arm
from understudy.training.data import TrainingData
from understudy.training.fit import fit_steps
from understudy.training.settings import CompareSettings

_LARGE, _SMALL = 100_000, 10_000
_CLASSES = (10, 1000)
_LIMIT = 0.3  # GB of decoded images; all of them take 1.23 GB
_ROWS = 10_000_000
_PREVIEWED = 1_281_167  # train images of ImageNet-1K


def index(runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """Read, check and split: seconds and memory by images, classes and cores."""
    large, small = (600, 300) if smoke else (_LARGE, _SMALL)
    rows = []
    for number in range(1 if smoke else 2):
        for classes in _CLASSES[:1] if smoke else _CLASSES:
            for images, cores in ((small, 2), (large, 2), (large, 1)):
                folder = _made_up(runs / "images", images, classes)
                row = {"part": "index", "round": number, "images": images, "classes": classes, "cores": cores}
                rows.append(row | _measured("index", str(folder), cores=cores))
    return rows


def training(runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """A training with all images in memory, and with most of them in a file."""
    images, steps = (300, 4) if smoke else (_LARGE, 300)
    path = runs / "images" / f"train-{images}.parquet"
    if not path.exists():
        source = DataSettings(source=str(_made_up(runs / "images", images, 10)), changed_copies=False)
        load_splits(
            source.model_copy(update={"val_fraction": 0.01, "test_fraction": 0.01}), seed=0
        ).train.save(path)
    rows = []
    for number in range(1 if smoke else 3):
        ways = [("in memory", 100.0), ("limited", 1e-5 if smoke else _LIMIT)][:: (-1) ** number]
        for way, memory in ways:
            found = _measured("training", str(path), str(steps), str(memory), cores=1)
            rows.append({"part": "training", "round": number, "way": way, "gigabytes": memory, **found})
    return rows


def plan(runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """Memory that a plan takes beyond generator and images."""
    count = 1000 if smoke else _ROWS
    return [{"part": "plan", "rows": count, **_measured("plan", str(count), str(runs), cores=1)}]


def preview(runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """Seconds of a preview of a set as large as ImageNet-1K, after reading it."""
    images, classes = (600, 20) if smoke else (_PREVIEWED, 1000)
    folder = _made_up(runs / "images", images, classes, size=16)
    return [
        {
            "part": "preview",
            "images": images,
            "classes": classes,
            **_measured("preview", str(folder), cores=2),
        }
    ]


def copies(runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """The nearest train image of each drawn one, by comparing all and through an index."""
    drawn, train = (50, 300) if smoke else (20_000, 50_000)
    return [
        {"part": "copies", "round": number, "drawn": drawn, "train": train}
        | _measured("copies", str(drawn), str(train), str(number), cores=1)
        for number in range(1 if smoke else 3)
    ]


PARTS: dict[str, Callable[[Path, bool], list[dict[str, Any]]]] = {
    "index": index,
    "training": training,
    "plan": plan,
    "preview": preview,
    "copies": copies,
}


def _made_up(folder: Path, count: int, classes: int, *, size: int = 64) -> Path:
    """A folder of Parquet files with different images, which is made once."""
    place, rng = folder / f"{count}-{classes}-{size}", np.random.default_rng(0)
    if place.exists():
        return place
    temporary = place.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for start in range(0, count, 10_000):
        numbers = range(start, min(start + 10_000, count))
        images = [{"bytes": _picture(rng, size), "path": None} for _ in numbers]
        labels = [f"class {number % classes:04d}" for number in numbers]
        table = pa.table({"image": pa.array(images, IMAGE), "label": labels})
        pq.write_table(table, temporary / f"part-{start:08d}.parquet")
    temporary.rename(place)
    return place


def _picture(rng: np.random.Generator, size: int) -> bytes:
    small, buffer = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), io.BytesIO()
    Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _measured(work: str, *arguments: str, cores: int) -> dict[str, Any]:
    """What a process found, with its seconds and its memory in MB."""
    with tempfile.TemporaryDirectory() as cache:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(cores))
        command = [sys.executable, "-m", "benchmarks.large_sets", work, *arguments]
        environment = os.environ | threads | {"XDG_CACHE_HOME": cache}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        peak, is_over = [0.0], threading.Event()
        thread = threading.Thread(target=_watch, args=(process.pid, peak, is_over))
        thread.start()
        try:
            told, _ = process.communicate()
        finally:
            is_over.set()
            thread.join()
    if process.returncode:
        raise RuntimeError(f"{work} failed with {process.returncode}")
    return {**json.loads(told.splitlines()[-1]), "peak_mb": round(peak[0])}


def _watch(pid: int, peak: list[float], is_over: threading.Event) -> None:
    while not is_over.wait(0.2):
        try:
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            peak[0] = max(peak[0], sum(one.memory_info().rss for one in family) / 1e6)
        except psutil.NoSuchProcess:
            continue


def _index(folder: str) -> dict[str, Any]:
    use_threads(None)
    start = time.monotonic()
    splits = load_splits(DataSettings(source=folder), seed=0)
    taken = time.monotonic() - start
    return {
        "seconds": taken,
        "train": len(splits.train),
        "ms_per_image": 1000 * taken / len(splits.known_ids),
    }


def _training(path: str, steps: str, memory: str) -> dict[str, Any]:
    ImageMemory(float(memory)).use()
    use_threads(None)
    settings = CompareSettings(steps=int(steps), resolution=64, augmentation="flip-crop")
    start, data = time.monotonic(), TrainingData(train=LabelledSet.load(Path(path)))
    digest = hashlib.sha256()
    for step in fit_steps(find_arm("real", settings), data, settings=settings, seed=0, device="cpu"):
        digest.update(np.float64(step.loss).tobytes())
    taken = time.monotonic() - start
    for value in step.classifier.backbone.model.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return {"seconds": taken, "images": len(data.train), "sha256": digest.hexdigest()}


def _plan(count: str, folder: str) -> dict[str, Any]:
    train = load_splits(DataSettings(source="digits"), seed=0).train
    planner = Planner(
        train=train,
        generator=load_generator(GeneratorSettings(name="mini"), device="cpu"),
        settings=DrawSettings(),
        prompt_names=train.class_names,
        seed=0,
    )
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    ends = np.full(train.num_classes, int(count) // train.num_classes)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        planner.check(np.zeros_like(ends), ends)
        paths = write_parts(planner.rows(np.zeros_like(ends), ends), Path(place), part_size=1000)
        read = sum(map(num_rows, paths))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "read": read,
        "seconds": time.monotonic() - start,
        "before_mb": before / 1e3,
        "beyond_mb": (after - before) / 1e3,
    }


def _preview(folder: str) -> dict[str, Any]:
    from understudy.commands.measuring import measure
    from understudy.recipes import PRESETS
    from understudy.settings import build

    settings = build(PRESETS["quick"], {"data": {"source": folder}, "draw": {"times": 1.0}})
    start = time.monotonic()
    few = draw_a_few(settings, device="cpu")
    measured = measure(settings, few, device="cpu")
    rows = dict(measured.estimate(settings).rows())
    return {
        "reading": measured.reading,
        "rest": time.monotonic() - start - measured.reading,
        "estimate": rows,
    }


def _copies(drawn: str, train: str, number: str) -> dict[str, Any]:
    """Every tenth drawn image is a train image, moved, mirrored and paler."""

    rng = np.random.default_rng(int(number))
    x, y = (zoom(rng.random((int(count), 8, 8), np.float32), (1, 4, 4), order=1) for count in (drawn, train))
    copied = rng.choice(len(y), len(x) // 10, replace=False)
    x[::10] = 0.2 + 0.7 * np.roll(y[copied], rng.integers(-4, 5, 2), axis=(1, 2))[:, :, ::-1]
    nearest, seconds = {}, {}
    ways = {"all": compare_all, "index": through_index}
    for way in [*ways][:: (-1) ** int(number)]:
        start = time.monotonic()
        nearest[way], _ = nearest_copies(x, y, search=ways[way])
        seconds[f"seconds_{way}"] = time.monotonic() - start
    return {
        **seconds,
        "copies_found": float((nearest["index"][::10] == copied).mean()),
        "same_nearest": float((nearest["index"] == nearest["all"]).mean()),
    }


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """What the issue of growth asks of these parts."""
    made = list[Claim]()
    indexed = [row for row in rows if row["part"] == "index"]
    for classes in sorted({row["classes"] for row in indexed}):
        where = f"index, check and split {_LARGE:,} images of {classes:,} classes"
        of = {
            (row["round"], row["images"], row["cores"]): row for row in indexed if row["classes"] == classes
        }
        rounds = sorted({number for number, _, _ in of})
        peak = max(of[number, _LARGE, 2]["peak_mb"] for number in rounds)
        made.append(_at_most(f"{where}: memory in MB", peak, 2000))
        times = [of[n, _LARGE, 2]["ms_per_image"] / of[n, _SMALL, 2]["ms_per_image"] for n in rounds]
        made.append(
            repeated(
                f"{where}: time of an image, over that of {_SMALL:,} images",
                times,
                target="at most 1.2",
                most=1.2,
            )
        )
        gains = [of[n, _LARGE, 1]["seconds"] / of[n, _LARGE, 2]["seconds"] for n in rounds]
        made.append(repeated(f"{where}: two cores over one", gains, target="at least 1.7", least=1.7))
    searched = [row for row in rows if row["part"] == "copies"]
    if searched:
        made += _copies_claims(searched)
    trained = [row for row in rows if row["part"] == "training"]
    if trained:
        made += _training_claims(trained)
    for row in rows:
        if row["part"] == "plan":
            what = f"plan of {row['rows']:,} rows: memory in MB beyond that before it"
            made.append(_at_most(what, row["beyond_mb"], 500))
        if row["part"] == "preview":
            what = f"preview of {row['images']:,} images of {row['classes']:,} classes: seconds but reading"
            made.append(_at_most(what, row["rest"], 60))
    return made


def _at_most(claim: str, value: float, most: float) -> Claim:
    return Claim.single(claim, value, target=f"at most {most:g}", met=value <= most)


def _copies_claims(searched: Sequence[Mapping[str, Any]]) -> list[Claim]:
    what = f"copies of {searched[0]['train']:,} images among {searched[0]['drawn']:,}, through an index"
    found, same = ([100 * row[name] for row in searched] for name in ("copies_found", "same_nearest"))
    times = [row["seconds_index"] / row["seconds_all"] for row in searched]
    return [
        repeated(f"{what}: percent of copies found", found, target="reported"),
        repeated(f"{what}: percent with the nearest image of comparing all", same, target="reported"),
        repeated(f"{what}: time, over that of comparing all", times, target="reported"),
    ]


def _training_claims(trained: Sequence[Mapping[str, Any]]) -> list[Claim]:
    seconds = {(row["round"], row["way"]): row["seconds"] for row in trained}
    ratios = [
        seconds[number, "limited"] / seconds[number, "in memory"]
        for number in sorted({key[0] for key in seconds})
    ]
    different = len({row["sha256"] for row in trained}) - 1
    peak = max(row["peak_mb"] for row in trained if row["way"] == "limited")
    what = f"train on {trained[0]['images']:,} images with {_LIMIT:g} GB for decoded ones"
    return [
        Claim.single(
            f"{what}: trainings that differ in a loss or weight", different, target="0", met=different == 0
        ),
        repeated(f"{what}: time, over that with all in memory", ratios, target="at most 1.2", most=1.2),
        _at_most(f"{what}: memory in MB", peak, 1500),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=list(PARTS))
    parser.add_argument("arguments", nargs="*")
    asked = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    works: Mapping[str, Callable[..., dict[str, Any]]] = {
        "index": _index,
        "training": _training,
        "plan": _plan,
        "preview": _preview,
        "copies": _copies,
    }
    print(json.dumps(works[asked.work](*asked.arguments)))
