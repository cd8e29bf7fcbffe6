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

from benchmarks import large_copies, large_plans
from benchmarks.claims import Claim, repeated
from benchmarks.large_preview import GPUS, previewed
from understudy.core.host_memory import ImageMemory
from understudy.core.threads import use_threads
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import load_splits
from understudy.data.parquet_images import IMAGE
from understudy.data.settings import DataSettings
from understudy.training.arms import find_arm
from understudy.training.data import TrainingData
from understudy.training.fit import fit_steps
from understudy.training.settings import CompareSettings

_LARGE, _SMALL = 100_000, 10_000
_CLASSES = (10, 1000)
_LIMIT = 0.2  # GB of decoded images; all of them take 1.23 GB
_ROWS, _DRAWN_ROWS = 10_000_000, 1_000_000
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
    for number in range(1 if smoke else 5):
        ways = [("in memory", 100.0), ("limited", 1e-5 if smoke else _LIMIT)][:: (-1) ** number]
        for way, memory in ways:
            found = _measured("training", str(path), str(steps), str(memory), cores=1)
            rows.append({"part": "training", "round": number, "way": way, "gigabytes": memory, **found})
    return rows


def plan(runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """Memory of a plan, and of the set that is drawn from a smaller one."""
    runs.mkdir(parents=True, exist_ok=True)
    ways = {"planned": 1000 if smoke else _ROWS, "drawn": 1000 if smoke else _DRAWN_ROWS}
    return [
        {"part": "plan", "way": way, "rows": count, **_measured(way, str(count), str(runs), cores=1)}
        for way, count in ways.items()
    ]


def preview(runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """What ``understudy preview`` says of a set as large as ImageNet-1K, and when."""
    images, classes = (100, 5) if smoke else (_PREVIEWED, 1000)
    folder = _made_up(runs / "images", images, classes, size=16)
    found = _measured("preview", str(folder), str(runs), "smoke" if smoke else "", cores=2)
    return [{"part": "preview", "images": images, "classes": classes, **found}]


def copies(runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """Copies of train images among drawn ones and within a set, by comparing all and through an index."""
    drawn, train, images = (50, 300, 300) if smoke else (10_000, 50_000, 30_000)
    asked, rows = "smoke" if smoke else "", list[dict[str, Any]]()
    for number in range(1 if smoke else 3):
        row = {"part": "copies", "round": number}
        found = _measured("searched", str(drawn), str(train), str(number), asked, cores=1)
        rows.append({**row, "way": "drawn against train", "drawn": drawn, "train": train, **found})
        found = _measured("paired", str(images), str(number), cores=1)
        rows.append({**row, "way": "within a set", "images": images, **found})
    return rows


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
        for cores in (1, 2):
            peak = max(of[number, _LARGE, cores]["peak_mb"] for number in rounds)
            made.append(_at_most(f"{where}, cores used: {cores}: memory in MB", peak, 2000))
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
    trained = [row for row in rows if row["part"] == "training"]
    if trained:
        made += _training_claims(trained)
    for row in rows:
        if row["part"] == "preview":
            made += _preview_claims(row)
    made += large_plans.claims([row for row in rows if row["part"] == "plan"])
    return made + large_copies.claims([row for row in rows if row["part"] == "copies"])


def _at_most(claim: str, value: float, most: float, *, why: str = "") -> Claim:
    return Claim.single(claim, value, target=f"at most {most:g}", met=value <= most, why=why)


def _preview_claims(row: Mapping[str, Any]) -> list[Claim]:
    what = f"preview of {row['images']:,} images of {row['classes']:,} classes, SD 1.5 at 256 px"
    stated = f"{what}, from a stated pace of {GPUS} H100"
    cannot = "the command measures the machine on which it is called, and cannot be given a pace"
    reported = {
        **{f"hours of {stage}": hours for stage, hours in row["stated_hours"].items()},
        "disk in GB": row["stated_disk_gb"],
        "decoded images in GB": row["stated_decoded_gb"],
        "sentences about what would not fit here": len(row["stated_room"]),
    }
    return [
        _at_most(
            f"{what}, an image drawn on this CPU, not adapted: seconds but reading",
            row["rest"],
            60,
            why="drawing is done twice, once for the set-up, and a CPU is slow at this size",
        ),
        _at_most(f"{stated}: seconds but reading", row["stated_rest"], 60, why=cannot),
        *(
            Claim.single(f"{stated}: {name}", value, target="reported", met=True, why=cannot)
            for name, value in reported.items()
        ),
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
        _at_most(f"{what}: memory in MB", peak, 1500, why="libraries take about 900 MB of it"),
    ]


if __name__ == "__main__":
    works: Mapping[str, Callable[..., dict[str, Any]]] = {
        "index": _index,
        "training": _training,
        "planned": large_plans.planned,
        "drawn": large_plans.drawn,
        "preview": previewed,
        "searched": large_copies.searched,
        "paired": large_copies.paired,
    }
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=list(works))
    parser.add_argument("arguments", nargs="*")
    asked = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    print(json.dumps(works[asked.work](*asked.arguments)))
