"""Times of drawing against the loop that a user of diffusers would write: for :mod:`benchmarks.speed`.

Both draw the same images with the bundled generator: same prompts, seeds, solver and steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from understudy.generators.generator import Generator, PlanRow
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.sampling.plan import batches
from understudy.sampling.settings import DrawSettings

_USUAL_BATCH = 8
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def compared(
    count: int, repeats: int, guidance_scale: float
) -> Iterator[tuple[str, list[float], list[float], float]]:
    """Time our drawing in float32 and with ``draw.precision=auto`` against the plain loop.

    Args:
        count: images.
        repeats: rounds; in each, all three ways follow each other.
        guidance_scale: of all images.

    Yields:
        For each of our ways: its name, CPU seconds of the plain loop and of ours, and the mean difference of
        their images in grey levels.
    """
    torch.set_num_threads(1)
    generator = load_generator(GeneratorSettings(), device="cpu")
    rows = [_row(number, guidance_scale) for number in range(count)]
    ways: dict[str, list[PlanRow]] = {
        "float32": rows,
        "auto (bfloat16)": [replace(row, precision="bfloat16") for row in rows],
    }
    plain: list[float] = []
    ours: dict[str, list[float]] = {name: [] for name in ways}
    pipeline = _plain_pipeline(generator)
    _plainly(pipeline, rows[:_USUAL_BATCH])  # the first call pays for set-up
    for _ in range(repeats):
        seconds, expected = _timed(lambda: _plainly(pipeline, rows))
        plain.append(seconds)
        drawn = {}
        for name, way in ways.items():
            seconds, drawn[name] = _timed(lambda way=way: _ours(generator, way))
            ours[name].append(seconds)
    for name in ways:
        difference = np.abs(drawn[name].astype(int) - expected).mean()
        yield name, plain, ours[name], float(difference)


def _timed(work: Any) -> tuple[float, np.ndarray]:
    start = time.process_time()
    images = work()
    return time.process_time() - start, images


def _row(number: int, guidance_scale: float) -> PlanRow:
    """Row ``number`` of a plan with 20 UniPC steps."""
    draw, word = DrawSettings(), _WORDS[number % len(_WORDS)]
    return PlanRow.from_noise(
        f"the digit {word}",
        sampler=draw.sampler,
        steps=draw.steps,
        guidance_scale=guidance_scale,
        seed=number,
    )


def _ours(generator: Generator, rows: Sequence[PlanRow]) -> np.ndarray:
    parts = [generator.draw(batch, None) for batch in batches(rows, DrawSettings().batch_size)]
    return np.concatenate(parts)


def _plain_pipeline(generator: Any) -> Any:
    pipeline = generator._assemble(generator.from_text, generator._solver(DrawSettings().sampler))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _plainly(pipeline: Any, rows: Sequence[PlanRow]) -> np.ndarray:
    """As the documentation of diffusers shows it, eight prompts at a time."""
    images = []
    for batch in batches(rows, _USUAL_BATCH):
        images += pipeline(
            [row.prompt for row in batch],
            num_inference_steps=batch[0].steps,
            guidance_scale=batch[0].guidance_scale,
            generator=[torch.Generator().manual_seed(row.seed) for row in batch],
        ).images
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])
