"""Every benchmark with a few steps, two at a time: ``python -m benchmarks.smallest FOLDER``.

Each benchmark has a process of its own, but the libraries are imported once for all.
"""

from __future__ import annotations

import multiprocessing
import runpy
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

_OPTIONS = {
    "growth": ["--only", "plan", "copies", "preview"],  # the parts that start few processes, and need no Ray
    "speed": ["--only", "imports"],
}
_WITHOUT_RUNS = ("speed", "speed_gpu")
"""Benchmarks that take no folder for runs."""
BENCHMARKS = (
    "other_looks",
    "matching_studies",
    "main_job",
    "controls",
    "matching",
    "proof",
    "growth",
    "real_fake",
    "other_writers",
    "style_inversion",
    "bridged_transfer",
    "photographs",
    "content_gap",
    "content_gap_class_conditional",
    "photograph_steps",
    "demo_runs",
    "longer_trainings",
    "speed",
    "changed_copies",
    "natural_images",
    "content_gap_cifar10",
    "shadow_ensembles",
    "speed_gpu",
    "domain_check",
    "photo_network",
)
"""The longest ones first, so that both processes end together."""
_IMPORTED = ["benchmarks.growth", "understudy.commands.preview", "understudy.report.html"]


def smoke(name: str, folder: Path) -> float:
    """Do one benchmark in this process; returns its seconds."""
    runs = [] if name in _WITHOUT_RUNS else ["--runs", str(folder / name)]
    start = time.monotonic()
    sys.argv = [name, "--smoke", "--out", str(folder / f"{name}.json"), *runs, *_OPTIONS.get(name, [])]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)
    return time.monotonic() - start


def main(folder: Path) -> None:
    """Do the benchmarks; the first that fails ends all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    with ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as pool:
        begun = {pool.submit(smoke, name, folder): name for name in BENCHMARKS}
        try:
            for one in as_completed(begun):
                print(f"{begun[one]}: {one.result():.0f} s", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
