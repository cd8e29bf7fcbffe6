"""What executors cost and save: trainings, drawing, killed actors, runs of a study; ratios side by side.

``python -m benchmarks.growth`` needs two idle cores for about four hours, and the extra ``ray``;
``--only PART ...`` does some parts, and the others stay in the result file. Every ratio compares both ways of
working in turn.

- ``trainings``: the twelve trainings of the quick demo, in two processes against one after the other with two
  threads each;
- ``drawing``: 20,000 images with the bundled generator in two solver steps. What the package itself needs
  for each image is the time of drawing, from the plan to the loaded set, less that of the network. Rates of
  workers are those from their first parts on;
- ``kills``: 5,000 such images, while one actor of Ray is killed every five seconds, against the images that
  this process draws; every attempt at a part of the plan leaves a mark, so that those drawn again
  are counted;
- ``study``: six runs, two at a time on Ray against one after the other;
- ``index``, ``training``, ``plan``, ``preview`` and ``copies``: sets that do not fit into memory
  (:mod:`benchmarks.large_sets`).
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import torch

from benchmarks import large_sets
from benchmarks.attempts import attempts, marked
from benchmarks.claims import Claim, command_line, repeated, write
from understudy.commands.study import run_study
from understudy.core.executors.do import do_jobs
from understudy.core.executors.executor import Terms
from understudy.core.executors.job import Job
from understudy.core.progress import Silent
from understudy.core.settings import ComputeSettings
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.recipes import PRESETS
from understudy.sampling import draw
from understudy.sampling.plan import num_rows, quotas
from understudy.settings import Settings, build

_WORKERS = 2
_ARMS = ("real", "synthetic", "mixed", "bridged")
_ONE_AFTER_THE_OTHER = "one after the other"


def _settings(*changes: Mapping[str, Any], smoke: bool) -> Settings:
    demo = {"data": {"source": "digits", "shots": 5}, "compare": {"arms": _ARMS}, "compute": {"threads": 1}}
    few = {"adapt": {"steps": 4}, "draw": {"per_class": 4}, "compare": {"steps": 4}, "data": {"shots": 3}}
    return build(PRESETS["quick"], demo, few if smoke else {}, *changes)


def _executor(name: str, workers: int | None = None) -> dict[str, Any]:
    return {"compute": {"executor": name, "workers": workers, "threads": 1}}


def trainings(runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """Seconds of the trainings of ``compare``."""
    folder = runs / "trainings"
    run(_settings(smoke=smoke), folder, until="curate")
    found = Run(RunFolder.find(folder), "cpu", Silent())

    def seconds(way: str) -> float:
        arms = [found.training(name, f"measured-{way}") for name in _ARMS]
        jobs = [job for arm in arms for job in arm.jobs]
        start = time.monotonic()
        if way == _ONE_AFTER_THE_OTHER:
            _with_threads(jobs, _WORKERS)
        else:
            compute = ComputeSettings(executor="processes", workers=_WORKERS)
            do_jobs(jobs, Terms(root=folder.absolute(), compute=compute, device="cpu"))
        taken = time.monotonic() - start
        shutil.rmtree(folder / "arms" / f"measured-{way}")
        return taken

    return _in_turn("trainings", (_ONE_AFTER_THE_OTHER, "processes"), seconds, repeats=1 if smoke else 3)


def _with_threads(jobs: Sequence[Job], number: int) -> None:
    torch.set_num_threads(number)
    for job in jobs:
        for _ in job.steps():
            pass


def drawing(runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """Own seconds per image in this process, and images per second of workers."""
    count = 40 if smoke else 20_000
    settings = _large(count, smoke=smoke)
    rows = []
    for way, workers in (("local", None), ("processes", 1), ("processes", 2), ("ray", 1), ("ray", 2)):
        folder = runs / f"drawing-{way}-{workers}"
        shutil.rmtree(folder, ignore_errors=True)
        with _timed_network() as network:
            found = _drawn(settings, folder, _executor(way, workers))
        rows.append(
            {
                "part": "drawing",
                "way": f"{way}, {workers or 0} workers",
                "images": count,
                "seconds": found["seconds"],
                "own_ms_per_image": 1000 * (found["seconds"] - network[0]) / count
                if way == "local"
                else None,
                "images_per_second": _rate(folder, parts_before=2 * (workers or 1)),
            }
        )
    return rows


def _large(count: int, *, smoke: bool) -> Settings:
    large = {
        "adapt": {"method": "none"},
        "draw": {"per_class": count // 10, "steps": 2, "part_size": 4 if smoke else 128},
    }
    return _settings(large, smoke=smoke)


def _drawn(settings: Settings, folder: Path, executor: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the images of a new run; returns them, and the seconds from the plan to the loaded set."""
    run(build(settings.model_dump(exclude_unset=True), executor), folder, until="adapt")
    found = Run(RunFolder.find(folder), "cpu", Silent())
    start = time.monotonic()
    images = found.sets.first(found.settings, quotas(found.train, found.settings.draw))
    return {"seconds": time.monotonic() - start, "images": images}


@contextmanager
def _timed_network() -> Iterator[list[float]]:
    """Adds up the seconds that generators of this process draw for."""
    seconds, plain = [0.0], draw.draw_rows

    def timed(*arguments: Any, **options: Any) -> np.ndarray:
        start = time.monotonic()
        pixels = plain(*arguments, **options)
        seconds[0] += time.monotonic() - start
        return pixels

    with mock.patch.object(draw, "draw_rows", timed):
        yield seconds


def _rate(folder: Path, *, parts_before: int) -> float:
    """Images per second after the first parts, which wait for workers to start."""
    parts = sorted(folder.glob("synthetic/images/*/*.parquet"), key=lambda path: path.stat().st_mtime)
    plans = [folder / "synthetic" / "plan" / part.parent.name / part.name for part in parts]
    times = [part.stat().st_mtime for part in parts]
    images = sum(num_rows(plan) for plan in plans[parts_before:])
    return float(images / (times[-1] - times[parts_before - 1]))


def kills(runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """Images lost or changed, and parts drawn again, if an actor is killed every five seconds."""
    count, every, most = (80, 0.5, 2) if smoke else (5_000, 5.0, 10_000)
    settings, killed, marks = _large(count, smoke=smoke), [0], (runs / "kills-marks").absolute()
    for name in ("local", "ray", "marks"):
        shutil.rmtree(runs / f"kills-{name}", ignore_errors=True)
    drawn = [_drawn(settings, runs / "kills-local", _executor("local"))["images"]]
    with _killer(killed, runs / "kills-ray", every=every, most=most), marked(marks):
        drawn.append(_drawn(settings, runs / "kills-ray", _executor("ray", _WORKERS))["images"])
    here, there = ({name: each.encoded(i) for i, name in enumerate(each.ids)} for each in drawn)
    begun = attempts(marks)
    return [
        {
            "part": "kills",
            "way": "ray, an actor killed every 5 s",
            "images": len(there),
            "kills": killed[0],
            "lost": len(set(here) - set(there)),
            "changed": sum(there.get(name) not in (None, content) for name, content in here.items()),
            "parts": len(begun),
            "attempts": begun.total(),
            "most_attempts": max(begun.values()),
        }
    ]


@contextmanager
def _killer(killed: list[int], folder: Path, *, every: float, most: int) -> Iterator[None]:
    """Kill the oldest actor that works every so many seconds, once the first images are there.

    One that works has one part in flight. Actors of other programs are left alone.
    """
    is_over, driver = threading.Event(), psutil.Process()

    def kill() -> None:
        while not is_over.wait(every) and killed[0] < most:
            try:
                family = driver.children(recursive=True)
                actors = [one for one in family if "RayWorker.do" in one.name()]
                if actors and any(folder.glob("synthetic/images/*/*.parquet")):
                    min(actors, key=psutil.Process.create_time).kill()
                    killed[0] += 1
            except psutil.NoSuchProcess:  # it ended by itself meanwhile
                continue

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def study(runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """Seconds of six runs of a study."""

    def seconds(way: str) -> float:
        folder = runs / f"study-{way.replace(' ', '-')}"
        shutil.rmtree(folder, ignore_errors=True)
        executor = _executor("ray", _WORKERS) if way == "ray" else _executor("local")
        start = time.monotonic()
        run_study(
            "shots",
            _settings({"data": {"shots": None}}, executor, smoke=smoke),
            folder,
            points=[2, 5],
            repeats=3,
        )
        return time.monotonic() - start

    return _in_turn("study", (_ONE_AFTER_THE_OTHER, "ray"), seconds, repeats=1 if smoke else 2)


def _in_turn(
    part: str, ways: tuple[str, str], seconds: Callable[[str], float], *, repeats: int
) -> list[dict[str, Any]]:
    """Measure both ways in turn; each round begins with the other one."""
    rows = []
    for number in range(repeats):
        taken = {way: seconds(way) for way in ways[:: (-1) ** number]}
        rows.append(
            {"part": part, "round": number, "seconds": taken, "ratio": taken[ways[0]] / taken[ways[1]]}
        )
    return rows


PARTS: dict[str, Callable[[Path, bool], list[dict[str, Any]]]] = {
    "trainings": trainings,
    "drawing": drawing,
    "kills": kills,
    "study": study,
    **large_sets.PARTS,
}
"""Each part measures one kind of work."""


def main(out: Path, runs: Path, smoke: bool, only: Sequence[str] | None = None) -> None:
    """Do the parts, then write rows and claims; parts that are not done again keep their rows."""
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"] if out.exists() else []
    for part in PARTS if only is None else only:
        rows = [row for row in rows if row["part"] != part] + PARTS[part](runs, smoke)
        settings = {"all parts": {"command": ["python", "-m", "benchmarks.growth"]}}
        write(out, settings=settings, rows=rows, claims=[] if smoke else _claims(rows))


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    def of(part: str) -> list[Mapping[str, Any]]:
        return [row for row in rows if row["part"] == part]

    claims = [
        repeated(claim, [row["ratio"] for row in of(part)], target="at least 1.6", least=1.6)
        for part, claim in (
            ("trainings", "twelve trainings: two processes over one after the other with two threads"),
            ("study", "six runs of a study: two actors of Ray over one after the other"),
        )
        if of(part)
    ]
    drawn = {row["way"]: row for row in of("drawing")}
    if drawn:
        own = drawn["local, 0 workers"]["own_ms_per_image"]
        claims.append(
            Claim.single("own time for each of 20,000 images, in ms", own, target="at most 1", met=own <= 1)
        )
        for way in ("processes", "ray"):
            ratio = (
                drawn[f"{way}, 2 workers"]["images_per_second"]
                / drawn[f"{way}, 1 workers"]["images_per_second"]
            )
            claims.append(
                Claim.single(
                    f"images per second with {way}: two workers over one",
                    ratio,
                    target="at least 1.6",
                    met=ratio >= 1.6,
                    why="one measurement of each",
                )
            )
    for row in of("kills"):
        wrong = row["lost"] + row["changed"]
        claim = f"images lost or changed among {row['images']:,}, with {row['kills']} actors killed"
        claims.append(Claim.single(claim, wrong, target="0", met=wrong == 0 and row["kills"] > 0))
        again, flying = row["attempts"] - row["parts"], row["kills"]
        claim = f"parts drawn again among {row['parts']}, with {flying} actors killed"
        target = f"at most {flying}, the parts in flight"
        claims.append(Claim.single(claim, again, target=target, met=again <= flying and flying > 0))
    return claims + large_sets.claims(rows)


if __name__ == "__main__":
    command_line("growth", main, doc=__doc__ or "", parts=tuple(PARTS))
