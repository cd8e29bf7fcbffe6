"""What ``understudy preview`` says of a set as large as ImageNet-1K and a pipeline of the size of SD 1.5.

Part ``preview`` of :mod:`benchmarks.growth`. The command draws one image of 256 pixels with random weights on
this CPU, without adaptation, of which a few steps would take hours here. It measures the machine on which it
is called, so it cannot be asked about eight GPUs of another one. What it would say there is computed by its
own functions from a stated pace, an eighth of the seconds that one H100 took for
``benchmarks/results/speed/gpu.json``. Those images had 512 pixels, so drawing and adapting take less; the
losses on validation images are left out. Disk and memory are those of this machine.
"""

from __future__ import annotations

import io
import json
import os
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.speed_gpu_models import stable_diffusion_pipeline
from understudy import cli
from understudy.commands import validate
from understudy.commands.cost import AdaptationPace, Pace, estimate
from understudy.commands.pipeline_defaults import pipeline_defaults
from understudy.commands.room_for_run import what_does_not_fit
from understudy.data.load import Splits, load_splits
from understudy.generators.load import mini_folder
from understudy.settings import Settings, build

GPUS = 8
_MEASURED = Path(__file__).parent / "results" / "speed" / "gpu.json"
_DRAW = ("draw 512 px, 20 steps, guidance 2, batch 32", "bfloat16")
_ADAPT = ("adapt lora, 512 px, batch 8, augmentation affine", "now")
_TRAIN = ("train resnet50 224 px, batch 256, flip-crop", "now")
_PREDICT = ("predict resnet50 224 px", "now")
_PIXELS, _INPUT = 256, 224
_CLASSIFIER_BYTES = 102e6  # weights of resnet50


def previewed(folder: str, runs: str, smoke: str) -> dict[str, Any]:
    """What the command said, and what follows from the stated pace; seconds are those after reading."""
    pipeline = mini_folder() if smoke else _pipeline(Path(runs) / "stable-diffusion")
    splits, found = _command(
        folder,
        *("--generator", str(pipeline), "--to", str(Path(runs) / "preview.png"), "--device", "cpu"),
        *("--images", "1", "--set", "adapt.method=none", "--set", "draw.min_per_class=1"),
        *(("--preset", "quick") if smoke else ("--set", f"generator.resolution={_PIXELS}")),
    )
    settings = build(
        pipeline_defaults(str(pipeline)),
        {
            "data": {"source": folder},
            "generator": {"name": str(pipeline), "resolution": None if smoke else _PIXELS},
            "draw": {"min_per_class": 1},
            "compare": {"backbone": "resnet50", "resolution": _INPUT},
        },
    )
    return found | _from_stated_pace(settings, splits)


def _pipeline(folder: Path) -> Path:
    """A pipeline folder of the size of SD 1.5 with random weights in 16 bits, which is made once."""
    if not folder.exists():
        temporary = folder.with_suffix(".tmp")
        stable_diffusion_pipeline("cpu", precision="float16").save_pretrained(temporary)
        temporary.rename(folder)
    return folder


def _command(*words: str) -> tuple[Splits, dict[str, Any]]:
    """Call ``understudy preview``; returns the real images, the seconds, and the lines that it printed."""
    kept: list[Splits] = []
    reading, told = 0.0, io.StringIO()

    def load(*arguments: Any, **options: Any) -> Splits:
        nonlocal reading
        start = time.monotonic()
        kept.append(load_splits(*arguments, **options))
        reading = time.monotonic() - start
        return kept[-1]

    os.environ["COLUMNS"] = "200"  # no sentence is broken into lines
    start = time.monotonic()
    with mock.patch.object(validate, "load_splits", load), redirect_stdout(told):
        try:
            cli.main(["preview", *words])
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"preview ended with {end.code}") from end
    rest = time.monotonic() - start - reading
    lines = [line.strip(" │┃") for line in told.getvalue().splitlines()]
    said = [line for line in lines if any(map(str.isalnum, line))]  # without the borders of the table
    return kept[0], {"reading": reading, "rest": rest, "told": said}


def _from_stated_pace(settings: Settings, splits: Splits) -> dict[str, Any]:
    start, pace = time.monotonic(), _stated_pace(settings)
    found = estimate(settings, splits, pace, strength=1.0)
    decoded = 3 * _INPUT**2 * (len(splits.train) + found.images) / 1e6
    room = what_does_not_fit(found, decoded_mb=decoded, processes=GPUS)
    return {
        "stated_rest": time.monotonic() - start,
        "stated_images": found.images,
        "stated_hours": {stage: seconds / 3600 for stage, seconds in found.seconds.items()},
        "stated_disk_gb": (found.disk_mb + found.real_mb) / 1000,
        "stated_decoded_gb": decoded / 1000,
        "stated_room": room,
    }


def _stated_pace(settings: Settings) -> Pace:
    """Eight GPUs, each as fast as the H100 of the result file; one of them adapts and predicts."""
    rows = json.loads(_MEASURED.read_text(encoding="utf-8"))["rows"]
    rates = {(row["part"], row["way"]): row["median"] for row in rows}
    return Pace(
        adaptations=AdaptationPace(step=1 / rates[_ADAPT]).seconds(settings.adapt),
        images=1 / rates[_DRAW] / GPUS,
        steps=settings.compare.batch_size / rates[_TRAIN] / GPUS,
        private_steps=0.0,
        predictions=1 / rates[_PREDICT],
        corruptions=0.0,
        image_bytes=3 * _PIXELS**2,  # the most that a PNG takes
        classifier_bytes=_CLASSIFIER_BYTES,
    )
