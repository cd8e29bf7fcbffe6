"""Speed on a GPU, before and after: training and prediction of classifiers, adaptation, drawing.

``python -m benchmarks.speed_gpu --out FILE`` takes at most eight minutes on an H100. "before" is the code as
it was until it used 16-bit arithmetic, copied into ``benchmarks/speed_gpu_before.py``; "now" is the package.
Both run in one process, and every figure is the median of several repeats with the device synchronised.
Weights are random, since speed does not depend on them. A part that fails is recorded with its traceback.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks import speed_gpu_before as before
from benchmarks.speed_gpu_models import few_images, stable_diffusion
from understudy.adaptation.fit import adapt
from understudy.adaptation.inputs import AdaptData
from understudy.adaptation.settings import AdaptSettings
from understudy.core.files import write_text
from understudy.generators.generator import PlanRow
from understudy.generators.stable_diffusion import StableDiffusionGenerator
from understudy.training.backbones import Backbone, build_backbone
from understudy.training.batches import Images
from understudy.training.classifier import TrainedClassifier
from understudy.training.loop import phase_rng, train_phase
from understudy.training.settings import CompareSettings, Phase

_DATASHEET = 989e12  # FLOP/s of an H100 SXM, dense bf16
_FP32 = "float32"
_FROM_HOST = "now, images in main memory"
_DECODED_AT_ONCE = 16  # more images of 512 pixels give layers of the autoencoder 2^31 values


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    backbone: str
    pixels: int
    batch_sizes: tuple[int, ...]
    pool: int
    mini_batch: int
    warm: int
    steps: int
    repeats: int
    matmul: int
    is_tiny: bool
    adapt_batch: int
    adapt_steps: int
    draw_batches: tuple[int, ...]
    draw_steps: int
    seconds: float


FULL = Sizes(
    backbone="resnet50",
    pixels=224,
    batch_sizes=(128, 256),
    pool=2048,
    mini_batch=64,
    warm=5,
    steps=8,
    repeats=5,
    matmul=8192,
    is_tiny=False,
    adapt_batch=8,
    adapt_steps=3,
    draw_batches=(8, 32),
    draw_steps=20,
    seconds=460.0,
)
SMOKE = Sizes(
    backbone="test_resnet",
    pixels=32,
    batch_sizes=(4,),
    pool=16,
    mini_batch=4,
    warm=1,
    steps=1,
    repeats=2,
    matmul=64,
    is_tiny=True,
    adapt_batch=2,
    adapt_steps=1,
    draw_batches=(2,),
    draw_steps=2,
    seconds=60.0,
)


@dataclass
class Bench:
    """The device, the sizes, and everything measured so far."""

    device: str
    sizes: Sizes
    out: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)

    def wait(self) -> None:
        """Wait until the device has done all its work."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def rate(self, steps: Iterator[Any], amount: int, *, steps_per_repeat: int | None = None) -> list[float]:
        """Amounts a second in each repeat of some steps; ``amount`` is what one step does."""
        each = steps_per_repeat or self.sizes.steps
        for _ in itertools.islice(steps, self.sizes.warm):
            pass
        found = []
        for _ in range(self.sizes.repeats):
            self.wait()
            begin = time.perf_counter()
            taken = sum(1 for _ in itertools.islice(steps, each))
            self.wait()
            found.append(amount * taken / (time.perf_counter() - begin))
        return found

    def add(self, part: str, way: str, repeats: list[float], unit: str, **more: Any) -> None:
        """Record the median of some repeats."""
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.device == "cuda" else None
        self.rows.append(
            {"part": part, "way": way, "median": statistics.median(repeats), "unit": unit}
            | {"repeats": repeats, "peak_gib": peak, "at_second": time.monotonic() - self.start}
            | more
        )
        self.write()

    def write(self) -> None:
        """Write all rows to the result file."""
        is_gpu = self.device == "cuda"
        content = {
            "device": torch.cuda.get_device_name() if is_gpu else "cpu",
            "torch": torch.__version__,
            "cuda": torch.version.cuda if is_gpu else None,
            "cudnn": torch.backends.cudnn.version() if is_gpu else None,
            "command": "python -m benchmarks.speed_gpu" + (" --smoke" if self.sizes.is_tiny else ""),
            "seconds": time.monotonic() - self.start,
            "rows": self.rows,
            "failures": self.failures,
        }
        write_text(self.out, json.dumps(content, indent=1))

    def attempt(self, part: str, run: Callable[[], Any]) -> Any:
        """Run a part; a failure is recorded and the next part goes on."""
        if time.monotonic() - self.start > self.sizes.seconds:
            self.failures.append({"part": part, "traceback": "left out: no time is left"})
            return None
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            return run()
        except Exception:  # noqa: BLE001  whatever a device, a driver or a library raises
            self.failures.append({"part": part, "traceback": traceback.format_exc()})
            print(f"FAILED {part}\n{self.failures[-1]['traceback']}", flush=True)
            return None
        finally:
            self.write()


# Ceilings


def matmul(bench: Bench) -> None:
    """FLOP/s of one large bf16 matrix product: the share of the datasheet that the chip gives at best."""
    size = bench.sizes.matmul
    a = torch.randn(size, size, device=bench.device, dtype=torch.bfloat16)

    def products() -> Iterator[None]:
        while True:
            torch.matmul(a, a)
            yield

    repeats = bench.rate(products(), 2 * size**3)
    bench.add("matmul", "bf16", repeats, "FLOP/s", share_of_datasheet=max(repeats) / _DATASHEET)


def flops_of_step(backbone: Backbone, batch_size: int, device: str) -> float:
    """FLOPs of the forward and backward pass of a batch."""
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.zeros(2, 3, backbone.input_size, backbone.input_size, device=device)
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(backbone.model(x).sum())
    return float(counter.get_total_flops()) / 2 * batch_size


# Classifiers


def classifier(bench: Bench, name: str, augmentation: str, batch_size: int) -> tuple[Any, Any, Any]:
    """A fresh network on the device, its settings, and a pool of random images in main memory."""
    sizes = bench.sizes
    is_mini = name == "mini"
    settings = CompareSettings(
        backbone=name,
        pretrained=is_mini,
        resolution=None if is_mini else sizes.pixels,
        augmentation=augmentation,
        batch_size=batch_size,
    )
    backbone = build_backbone(settings, 10 if is_mini or sizes.is_tiny else 1000, rng_seed=0)
    backbone.model.to(bench.device)
    size = backbone.input_size
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (sizes.pool, 3, size, size), dtype=torch.uint8, generator=rng)
    return backbone, settings, pixels


def train(bench: Bench, name: str, augmentation: str, batch_size: int, *, way: str) -> None:
    """Images a second in training."""
    backbone, settings, pixels = classifier(bench, name, augmentation, batch_size)
    labels = torch.arange(len(pixels)) % 10
    flops = flops_of_step(backbone, batch_size, bench.device)
    place = "cpu" if way == _FROM_HOST else bench.device
    images = Images(pixels.to(place), labels.to(bench.device), len(pixels))
    run = before.train_phase if way == "before" else train_phase
    total = bench.sizes.warm + bench.sizes.steps * bench.sizes.repeats
    steps = run(
        backbone,
        images,
        Phase(data="real"),
        settings=settings,
        num_steps=total + 1,
        rng=phase_rng(0, 0),
    )
    repeats = bench.rate(iter(steps), batch_size)
    bench.add(
        f"train {name} {backbone.input_size} px, batch {batch_size}, {augmentation}",
        way,
        repeats,
        "images/s",
        tflops=statistics.median(repeats) * flops / batch_size / 1e12,
        share_of_datasheet=statistics.median(repeats) * flops / batch_size / _DATASHEET,
    )


def predict(bench: Bench, name: str, *, way: str) -> None:
    """Images a second in prediction, images in main memory."""
    backbone, _, pixels = classifier(bench, name, "none", 2)
    size = backbone.input_size
    data = few_images(len(pixels), split="val", size=size)
    trained = TrainedClassifier(backbone, data.class_names, bench.device)
    trained.probabilities(data)  # decodes the images

    def passes() -> Iterator[Any]:
        while True:
            yield before.probabilities(trained, data) if way == "before" else trained.probabilities(data)

    repeats = bench.rate(passes(), len(data), steps_per_repeat=1)
    bench.add(f"predict {name} {size} px", way, repeats, "images/s")


# Adaptation


def adaptation(bench: Bench, method: str, augmentation: str, *, way: str) -> None:
    """Steps a second, from random weights of the size of Stable Diffusion 1.5."""
    sizes = bench.sizes
    generator = stable_diffusion(bench.device, is_tiny=sizes.is_tiny)
    size = generator.image_size
    data = AdaptData(
        train=few_images(32, split="train", size=size),
        val=few_images(2, split="val", size=size),
        prompt_names=("a cat", "a dog"),
    )
    settings = AdaptSettings(
        method=method,
        augmentation=cast("Any", augmentation),
        steps=10_000,
        batch_size=sizes.adapt_batch,
        validation_pairs=2,
        validate_every=10_000,
        checkpoint_every=10_000,
    )
    run = before.adapt if way == "before" else adapt
    folder = bench.out.parent / "speed_gpu_adapter"  # nothing is written before the last step
    steps = run(generator, data, settings=settings, seed=0, folder=folder)
    repeats = bench.rate(iter(steps), 1, steps_per_repeat=sizes.adapt_steps)
    part = f"adapt {method}, {size} px, batch {sizes.adapt_batch}, augmentation {augmentation}"
    bench.add(part, way, repeats, "steps/s")


# Drawing


def rows_of(count: int, steps: int) -> list[PlanRow]:
    """Rows of a plan with guidance 2."""
    return [
        PlanRow.from_noise("a photo of a cat", sampler="unipc", steps=steps, guidance_scale=2.0, seed=number)
        for number in range(count)
    ]


def draw(bench: Bench, generator: StableDiffusionGenerator, batch_size: int, *, way: str) -> None:
    """Images a second; the first call, with two steps, warms up and compiles, and its seconds are kept."""
    sizes = bench.sizes
    if batch_size > _DECODED_AT_ONCE:
        generator.pipeline.vae.enable_slicing()
    else:
        generator.pipeline.vae.disable_slicing()
    begin = time.perf_counter()
    generator.draw(rows_of(batch_size, 2))
    bench.wait()
    first = time.perf_counter() - begin
    repeats = []
    for _ in range(2 if way == _FP32 else 3):
        begin = time.perf_counter()
        generator.draw(rows_of(batch_size, sizes.draw_steps))
        bench.wait()
        repeats.append(batch_size / (time.perf_counter() - begin))
    part = f"draw {generator.image_size} px, {sizes.draw_steps} steps, guidance 2, batch {batch_size}"
    bench.add(part, way, repeats, "images/s", seconds_of_first_call=first)


def drawing(bench: Bench) -> None:
    """Every precision and batch size; the compiled one last, since it may take all the time that is left."""
    sizes = bench.sizes
    ways: list[tuple[str, bool]] = [(_FP32, False), ("float16", False), ("bfloat16", False)]
    for precision, compiled in [*ways, *([] if sizes.is_tiny else [("bfloat16", True)])]:
        generator = stable_diffusion(
            bench.device, is_tiny=sizes.is_tiny, precision=precision, compiled=compiled
        )
        way = f"{precision}, compiled" if compiled else precision
        for batch_size in sizes.draw_batches[:1] if precision == _FP32 else reversed(sizes.draw_batches):
            bench.attempt(
                f"draw {way} {batch_size}",
                partial(draw, bench, generator, batch_size, way=way),
            )
        del generator


def parts(bench: Bench) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The parts, the most important ones first."""
    sizes = bench.sizes
    yield "matmul", partial(matmul, bench)
    largest = sizes.batch_sizes[-1]
    jobs: list[tuple[Any, ...]] = [
        (sizes.backbone, "flip-crop", batch_size, way)
        for batch_size in sizes.batch_sizes
        for way in ("before", "now")
    ]
    jobs += [(sizes.backbone, "random-resized-crop", largest, way) for way in ("before", "now", _FROM_HOST)]
    jobs += [("mini", "affine", sizes.mini_batch, way) for way in ("before", "now")]
    jobs += [("mini", "affine", sizes.mini_batch * 8, way) for way in ("before", "now")]
    for name, augmentation, batch_size, way in jobs:
        yield (
            f"train {name} {augmentation} {batch_size} {way}",
            partial(train, bench, name, augmentation, batch_size, way=way),
        )
    for name, way in itertools.product((sizes.backbone, "mini"), ("before", "now")):
        yield f"predict {name} {way}", partial(predict, bench, name, way=way)
    for method, augmentation in (("lora", "affine"), ("full", "affine"), ("lora", "none")):
        for way in ("before", "now"):
            yield (
                f"adapt {method} {augmentation} {way}",
                partial(adaptation, bench, method, augmentation, way=way),
            )
    yield "drawing", partial(drawing, bench)


def table(rows: Iterable[dict[str, Any]]) -> str:
    """The figures as text, with the ratio to the way before."""
    lines, first = [], dict[str, float]()
    for row in rows:
        base = first.setdefault(row["part"], row["median"])
        memory = "" if row["peak_gib"] is None else f"{row['peak_gib']:7.1f} GiB"
        lines.append(
            f"{row['part']:62} {row['way']:28} {row['median']:12.4g} {row['unit']:9} "
            f"x{row['median'] / base:6.2f} {memory}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed_gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks") / "results" / "speed_gpu.json")
    parser.add_argument("--smoke", action="store_true", help="tiny networks on the CPU, to try the script")
    arguments = parser.parse_args()
    device = "cpu" if arguments.smoke else "cuda"
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    bench = Bench(device, SMOKE if arguments.smoke else FULL, arguments.out)
    for name, run in parts(bench):
        bench.attempt(name, run)
        print(f"{time.monotonic() - bench.start:6.0f} s  {name}", flush=True)
    print(table(bench.rows))
    for failure in bench.failures:
        print(f"failed: {failure['part']}: {failure['traceback'].strip().splitlines()[-1]}")
    if arguments.smoke and bench.failures:
        raise SystemExit("every part must pass a smoke test")


if __name__ == "__main__":
    main()
