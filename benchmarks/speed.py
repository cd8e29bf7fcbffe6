"""Times of this version against another one, side by side.

``python -m benchmarks.speed --base WORKTREE`` measures both versions in turn, so that other work on the
machine meets both, and reports ratios: how many times as fast this version is. The other version stands in a
git worktree (``git worktree add ../before COMMIT``). The result file is written after each part and keeps the
parts that are not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.claims import Claim, repeated, t_interval, write
from benchmarks.speed_drawing import compared
from benchmarks.speed_quadratic import copy_seconds, leak_seconds, report_seconds, split_seconds

HERE = Path(__file__).parents[1]
_COMMAND = ["python", "-m", "benchmarks.speed"]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What the parts share.

    Attributes:
        base: source tree of the version before.
        work: an empty folder.
        is_smoke: whether to do a few steps of everything only.
        repeats: measurements of each version.
    """

    base: Path
    work: Path
    is_smoke: bool
    repeats: int

    @property
    def trees(self) -> dict[str, Path]:
        """Source trees, the version before first."""
        return {"before": self.base, "after": HERE}


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Measurements of both versions in the same unit; entries with the same number belong together.

    Attributes:
        what: the work.
        before, after: of the version before and of this one.
        unit: such as ``s`` or ``CPU s``.
        least: the ratio that is aimed at; None if it is only reported.
    """

    what: str
    before: Sequence[float]
    after: Sequence[float]
    unit: str = "s"
    least: float | None = None

    def row(self, part: str) -> dict[str, Any]:
        """Both figures, their ratio, the number of pairs, and the machine."""
        ratios = (np.array(self.before) / np.array(self.after)).tolist()
        return {
            "part": part,
            "what": self.what,
            "unit": self.unit,
            "before": float(np.median(self.before)),
            "after": float(np.median(self.after)),
            "ratio": t_interval(ratios)[0],
            "ratios": ratios,
            "n": len(ratios),
            "least": self.least,
            "machine": {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "processor": _processor()},
        }


Part = Callable[[Bench], list[Timing]]


def _processor() -> str:
    """The processor's name, where Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def call(tree: Path, *words: object, limit: float | None = None) -> tuple[float, float]:
    """Run Python on ``words`` with the package of a source tree; returns wall and CPU seconds.

    Variables that set threads are dropped, so that each version has its own defaults.

    Raises:
        subprocess.TimeoutExpired: after ``limit`` seconds.
    """
    threads = ("OMP_", "GOMP_", "MKL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(threads)}
    environment = kept | {"PYTHONPATH": str(tree), "PYTHONWARNINGS": "ignore"}
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=tree,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=limit,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - start, cpu


def understudy(tree: Path, *words: object, limit: float | None = None) -> tuple[float, float]:
    """As :func:`call`, for the command line of understudy."""
    return call(tree, "-m", "understudy.cli", *words, limit=limit)


def in_turn(bench: Bench, measure: Callable[[str, Path], float]) -> tuple[list[float], list[float]]:
    """Measure both versions in turn, as often as wanted; each round begins with the other one.

    Args:
        bench: both versions.
        measure: gets a name for what it writes and a source tree.
    """
    found: dict[str, list[float]] = {name: [] for name in bench.trees}
    for number in range(bench.repeats):
        for name in list(bench.trees)[:: (-1) ** number]:
            found[name].append(measure(f"{name}{number}", bench.trees[name]))
    return found["before"], found["after"]


@contextmanager
def busy(processes: int = 2) -> Iterator[None]:
    """Keep cores busy with other processes while the block runs."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def _options(bench: Bench, *changes: str) -> list[str]:
    """Options of the quick demo, the same arms in both versions; with few steps in a smoke test."""
    few = ("adapt.steps=4", "draw.per_class=4", "compare.steps=4") if bench.is_smoke else changes
    shots = "3" if bench.is_smoke else "5"
    chosen = ["--shots", shots, "--preset", "quick", "--arms", "real,synthetic,mixed,bridged"]
    return [*chosen, *(word for one in few for word in ("--set", one))]


def waiting(bench: Bench) -> list[Timing]:
    """Steps of an adaptation, in which threads wait for each other all the time, idle and busy."""

    def measure(name: str, tree: Path) -> float:
        out, steps = bench.work / name, 4 if bench.is_smoke else 60
        understudy(tree, "adapt", "digits", *_options(bench), "--set", f"adapt.steps={steps}", "--out", out)
        record = json.loads((out / "stages" / "adapt.json").read_text(encoding="utf-8"))
        shutil.rmtree(out)
        return float(record["seconds"])

    idle = in_turn(bench, measure)
    with busy():
        loaded = in_turn(bench, measure)
    names = ("adaptation, 60 steps", "adaptation, 60 steps, beside two busy processes")
    return [
        Timing(what=what, before=pairs[0], after=pairs[1])
        for what, pairs in zip(names, (idle, loaded), strict=True)
    ]


def _demo_seconds(bench: Bench, name: str, tree: Path, *changes: str, limit: float | None = None) -> float:
    """Wall seconds of the quick demo; ``limit`` if it was stopped there."""
    out = bench.work / name
    try:
        seconds, _ = understudy(tree, "run", "digits", *_options(bench, *changes), "--out", out, limit=limit)
    except subprocess.TimeoutExpired as stopped:
        seconds = stopped.timeout
    shutil.rmtree(out)
    return seconds


def demo(bench: Bench) -> list[Timing]:
    """The whole demo on an idle machine."""
    before, after = in_turn(bench, lambda name, tree: _demo_seconds(bench, name, tree))
    return [Timing(what="quick demo", before=before, after=after, least=1.8)]


def busy_demo(bench: Bench) -> list[Timing]:
    """The demo with a fifth of its steps beside two busy processes.

    The version before is stopped after 6 times the seconds of this one.
    """
    steps = ("adapt.steps=60", "compare.steps=40")
    before: list[float] = []
    after: list[float] = []
    with busy():
        for number in range(bench.repeats):
            after.append(_demo_seconds(bench, f"after{number}", HERE, *steps))
            limit = 6 * after[-1]
            before.append(_demo_seconds(bench, f"before{number}", bench.base, *steps, limit=limit))
    what = "quick demo, a fifth of the steps, beside two busy processes"
    return [Timing(what=what, before=before, after=after, least=5.0)]


def _finished(bench: Bench, *, until: str) -> Path:
    """A run of the version before, done up to a stage."""
    out = bench.work / until
    if not out.exists():
        understudy(bench.base, until, "digits", *_options(bench), "--out", out)
    return out


def _stage_seconds(bench: Bench, stage: str, *, until: str, words: Sequence[str]) -> tuple[list[float], ...]:
    """Seconds of one stage, added by ``words`` to copies of the same run."""

    def measure(name: str, tree: Path) -> float:
        out = shutil.copytree(_finished(bench, until=until), bench.work / f"{stage}-{name}")
        understudy(tree, words[0], out, *words[1:])
        record = json.loads((out / "stages" / f"{stage}.json").read_text(encoding="utf-8"))
        shutil.rmtree(out)
        return float(record["seconds"])

    return in_turn(bench, measure)


def compare(bench: Bench) -> list[Timing]:
    """The stage ``compare`` of the demo: 4 arms with 3 seeds."""
    before, after = _stage_seconds(bench, "compare", until="curate", words=["compare"])
    return [Timing(what="compare: 4 arms x 3 seeds", before=before, after=after, least=1.6)]


def imports(bench: Bench) -> list[Timing]:
    """Short commands, nearly all of which is importing."""

    def timing(line: str, least: float) -> Timing:
        before, after = in_turn(bench, lambda _, tree: understudy(tree, *line.split())[1])
        return Timing(what=line, before=before, after=after, unit="CPU s", least=least)

    return [timing("validate digits", 3.0), timing("list", 2.0), timing("--help", 2.0)]


def shadows(bench: Bench) -> list[Timing]:
    """64 shadow models of the arm ``real``."""
    number = "8" if bench.is_smoke else "64"
    words = ["audit", "--of", "real", "--shadows", number, "--rates", "0.1"]
    before, after = _stage_seconds(bench, "membership", until="compare", words=words)
    return [Timing(what=f"{number} shadow models", before=before, after=after, least=2.0)]


def many_images(bench: Bench) -> list[Timing]:
    """What grew with the square of the images: near copies, splits, the search for copies; and the report."""
    large, small = (1_000, 500) if bench.is_smoke else (100_000, 5_000)
    page = bench.work / "report.html"
    work: list[tuple[str, Callable[[Path], float], float | None]] = [
        (f"near copies in {large:,} images", lambda tree: leak_seconds(tree, large), 10.0),
        (f"split of {large:,} images", lambda tree: split_seconds(tree, large, large // 100), None),
        (f"copies of {2 * small:,} images", lambda tree: copy_seconds(tree, 2 * small), None),
        (f"report of {2 * small:,} images", lambda tree: report_seconds(tree, page, 2 * small), None),
    ]
    found = []
    for what, seconds, least in work:
        before, after = in_turn(bench, lambda _, tree, seconds=seconds: seconds(tree))  # type: ignore[misc]
        found.append(Timing(what=what, before=before, after=after, unit="CPU s", least=least))
    return found


def drawing(bench: Bench) -> list[Timing]:
    """Images of the bundled generator against the plain loop of diffusers in batches of 8."""
    count = 8 if bench.is_smoke else 1_000
    least = {("float32", 1.0): 2.0, ("float32", 2.0): 1.5}
    return [
        Timing(
            what=f"{count:,} images at guidance {guidance:g}, {way}, {levels:.2f} grey levels apart",
            before=before,
            after=after,
            unit="CPU s",
            least=least.get((way, guidance), 3.0 if guidance == 1 else 2.0),
        )
        for guidance in (1.0, 2.0)
        for way, before, after, levels in compared(count, bench.repeats, guidance)
    ]


PARTS: dict[str, Part] = {
    "waiting": waiting,
    "demo": demo,
    "busy_demo": busy_demo,
    "compare": compare,
    "imports": imports,
    "shadows": shadows,
    "many_images": many_images,
    "drawing": drawing,
}
"""Each part measures one kind of work."""


def _claim(row: dict[str, Any]) -> Claim:
    least = row["least"]
    return repeated(
        f"{row['what']}: times as fast as before",
        row["ratios"],
        target="reported" if least is None else f"at least {least:g}",
        least=-np.inf if least is None else least,
    )


def _save(out: Path, rows: list[dict[str, Any]], base: str) -> None:
    columns = ["work", "before", "now", "ratio", "pairs"]
    table = [
        [
            row["what"],
            *(f"{row[name]:.3g} {row['unit']}" for name in ("before", "after")),
            f"{row['ratio']:.2f}",
            str(row["n"]),
        ]
        for row in rows
    ]
    write(
        out,
        settings={"speed": {"command": [*_COMMAND, "--base", "WORKTREE"], "base": base}},
        rows=rows,
        claims=[_claim(row) for row in rows],
        tables=[{"title": "Times of two versions in turn", "columns": columns, "rows": table}],
    )


def _commit(tree: Path) -> str:
    command = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def run(names: Sequence[str], base: Path, out: Path, *, is_smoke: bool, repeats: int) -> None:
    """Measure the parts, and write the result file after each."""
    for name in names:
        rows = json.loads(out.read_text(encoding="utf-8"))["rows"] if out.exists() else []
        with tempfile.TemporaryDirectory() as work:
            timings = PARTS[name](Bench(base=base, work=Path(work), is_smoke=is_smoke, repeats=repeats))
        kept = [row for row in rows if row["part"] != name]
        _save(out, [*kept, *(timing.row(name) for timing in timings)], _commit(base))


def main() -> None:
    """Parse the options, and measure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", type=Path, default=HERE, help="source tree of the version before")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/speed/cpu.json"), help="result file"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each version")
    parser.add_argument(
        "--smoke", action="store_true", help="a few steps of everything; the numbers mean nothing"
    )
    given = parser.parse_args()
    repeats = 1 if given.smoke else given.repeats
    run(given.only, given.base.resolve(), given.out, is_smoke=given.smoke, repeats=repeats)


if __name__ == "__main__":
    main()
