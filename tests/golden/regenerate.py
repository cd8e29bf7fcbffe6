"""Golden figures: results of short trainings. ``python tests/golden/regenerate.py [NAME ...]`` writes them.

Regenerate only for a change that is meant to change figures, and say in the changelog what changed and why.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from tiny import save_tiny_pipeline, two_classes  # noqa: E402

from understudy.adaptation.fit import adapt  # noqa: E402
from understudy.adaptation.inputs import AdaptData  # noqa: E402
from understudy.adaptation.settings import AdaptSettings  # noqa: E402
from understudy.data.labelled_set import LabelledSet  # noqa: E402
from understudy.generators.stable_diffusion import StableDiffusionGenerator  # noqa: E402
from understudy.training.data import TrainingData  # noqa: E402
from understudy.training.fit import fit_steps  # noqa: E402
from understudy.training.settings import CompareSettings  # noqa: E402


@contextmanager
def double_precision() -> Iterator[None]:
    """Networks with 64 bits, whose rounding does not show after a few steps, whatever the processor."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def classifier_losses() -> list[float]:
    """20 steps of the arm ``bridged`` on random images, from random weights."""
    rng = np.random.default_rng(0)
    train, synthetic = (
        LabelledSet.from_images(
            rng.integers(0, 256, (24, 3, 32, 32), dtype=np.uint8),
            np.arange(24) % 3,
            class_names=("a", "b", "c"),
            split=split,
        )
        for split in ("train", "synthetic")
    )
    settings = CompareSettings(
        backbone="test_resnet", pretrained=False, resolution=32, steps=20, batch_size=8, learning_rate=5e-4
    )
    data = TrainingData(train=train, synthetic=synthetic)
    with double_precision():
        return [step.loss for step in fit_steps("bridged", data, settings=settings, seed=0, device="cpu")]


def adaptation_losses() -> list[float]:
    """20 steps of low-rank adaptation of a tiny random pipeline, then its validation losses."""
    settings = AdaptSettings(
        method="lora", steps=20, batch_size=4, rank=2, validate_every=10, validation_pairs=16
    )
    with tempfile.TemporaryDirectory() as folder:
        save_tiny_pipeline(Path(folder) / "pipeline")
        generator = StableDiffusionGenerator.load(str(Path(folder) / "pipeline"))
        train, val = two_classes(), two_classes(4, split="val", seed=1)
        data = AdaptData(train=train, val=val, prompt_names=train.class_names)
        steps = adapt(generator, data, settings=settings, seed=0, folder=Path(folder) / "adapter")
        records = list(steps)
    return [step.loss for step in records] + [step.val_loss for step in records if step.val_loss is not None]


GOLDEN: dict[str, Callable[[], list[float]]] = {
    "adaptation_losses": adaptation_losses,
    "classifier_losses": classifier_losses,
}


def main() -> None:
    """Write the named files, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        default=list(GOLDEN),
        metavar="NAME",
        help=f"of {', '.join(GOLDEN)}; all if not given",
    )
    torch.set_num_threads(1)  # as in the tests
    for name in parser.parse_args().names:
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(GOLDEN[name](), indent=1) + "\n")
        print(f"wrote {path}")  # noqa: T201


if __name__ == "__main__":
    main()
