"""Memory and time of measuring the fidelity of 50,000 images against 50,000, with 768 features.

The features are random: ten classes, each Gaussian around its centre in 64 of the 768 directions, plus a
little noise in all of them. The synthetic features are the same but shifted, so the true Fréchet distance is
the squared length of the shift.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from typing import Any

import numpy as np

from benchmarks.claims import Claim, print_part
from understudy.evaluation.fidelity import EncodedImages, measure_fidelity
from understudy.evaluation.settings import FidelitySettings

_CLASSES = 10
_INNER = 64
_NOISE = 0.05
_SHIFT = 0.1
_SIZES = {"real": 50_000, "held_out": 50_000, "synthetic": 50_000, "width": 768}
_SMOKE = {"real": 400, "held_out": 400, "synthetic": 400, "width": 96}
_TARGET_GB = 2.0
_TRUTH = _INNER * _SHIFT**2
_TOLERANCE = 0.1


def measure(*, smoke: bool, resamples: int = 20) -> tuple[list[dict[str, Any]], list[Claim]]:
    """One row, and the claim about memory. Measured in a separate process, because the peak memory of this
    one may come from earlier work.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        row = pool.apply(_row, (_SMOKE if smoke else _SIZES, resamples))
    distance = row["measures"]["frechet_distance"]
    above = distance["value"]["mean"] - distance["floor"]["mean"]
    sizes = (
        f"{row['synthetic']:,} images against {row['real']:,} with {row['width']} features, "
        f"{row['held_out']:,} held out"
    )
    return [row], [
        Claim.single(
            f"peak memory (GB) of measuring the fidelity of {sizes}, everything included",
            row["peak_gb"],
            target=f"under {_TARGET_GB:g} GB",
            met=row["peak_gb"] < _TARGET_GB,
            why=f"one measurement, {row['seconds']:.0f} s on {row['threads']} threads with "
            f"{row['resamples']} resamples",
        ),
        Claim.single(
            f"Fréchet distance above its floor, of distributions at {_TRUTH:g}, over that",
            above / _TRUTH,
            target=f"within {_TOLERANCE:.0%} of 1",
            met=abs(above / _TRUTH - 1) <= _TOLERANCE,
            why="value and floor have one bias, which their difference has not; one measurement",
        ),
    ]


def _row(sizes: dict[str, int], resamples: int) -> dict[str, Any]:
    import torch

    settings = FidelitySettings(resamples=resamples)
    rng = np.random.default_rng(0)
    centres, basis = (
        rng.normal(size=(_CLASSES, _INNER)),
        np.linalg.qr(rng.normal(size=(sizes["width"], _INNER)))[0],
    )
    real, held_out, synthetic = (
        _images(sizes[name], centres, basis, rng, synthetic=name == "synthetic")
        for name in ("real", "held_out", "synthetic")
    )
    start = time.perf_counter()
    found = measure_fidelity(
        real,
        held_out,
        synthetic,
        class_names=[str(label) for label in range(_CLASSES)],
        neighbours=settings.neighbours,
        num_resamples=settings.resamples,
        max_bytes=settings.memory_gb * 1e9,
        seed=0,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "recipe": "fidelity-size",
        **sizes,
        "resamples": settings.resamples,
        "memory_gb": settings.memory_gb,
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - start, 1),
        "peak_gb": round(peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9, 3),
        "measures": {
            name: {role: measured[role] for role in ("value", "floor")}
            for name, measured in found["measures"].items()
        },
        "warnings": found["warnings"],
    }


def _images(
    num: int, centres: np.ndarray, basis: np.ndarray, rng: np.random.Generator, *, synthetic: bool
) -> EncodedImages:
    labels = np.arange(num) % _CLASSES
    features = np.empty((num, len(basis)), dtype=np.float32)
    for start in range(0, num, 1000):
        part = slice(start, start + 1000)
        inner = (
            rng.normal(size=(len(labels[part]), _INNER))
            + centres[labels[part]]
            + (_SHIFT if synthetic else 0)
        )
        features[part] = inner @ basis.T + _NOISE * rng.normal(size=(len(inner), len(basis)))
    return EncodedImages(features, labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity_size", description=__doc__)
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="a few hundred images, to check that it works; the numbers mean nothing",
    )
    parser.add_argument("--resamples", type=int, default=20, help="bootstrap resamples")
    options = parser.parse_args()
    print_part(*measure(**vars(options)))
