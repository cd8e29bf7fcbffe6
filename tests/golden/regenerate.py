"""Golden figures: what short trainings gave when their files were written. ``python tests/golden/regenerate.py [NAME ...]``.

Regenerate only for a change that is meant to change figures, and say in the changelog what changed and why.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from understudy.data import LabelledSet
from understudy.settings import CompareSettings
from understudy.training import fit_arm

FOLDER = Path(__file__).parent


def classifier_losses() -> list[float]:
    """20 steps of the arm ``bridged`` on random images, from random weights."""
    rng = np.random.default_rng(0)
    train, synthetic = (
        LabelledSet.from_images(
            rng.integers(0, 256, (24, 3, 32, 32), dtype=np.uint8), np.arange(24) % 3, class_names=("a", "b", "c"), split=split
        )
        for split in ("train", "synthetic")
    )
    settings = CompareSettings(backbone="test_resnet", pretrained=False, resolution=32, steps=20, batch_size=8, learning_rate=5e-4)
    losses: list[float] = []
    fit_arm(
        "bridged", train=train, synthetic=synthetic, settings=settings, seed=0, device="cpu", on_step=lambda step: losses.append(step.loss)
    )
    return losses


GOLDEN: dict[str, Callable[[], list[float]]] = {
    "classifier_losses": classifier_losses,
}


def main() -> None:
    """Write the named files, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(GOLDEN), metavar="NAME", help=f"of {', '.join(GOLDEN)}; all if not given")
    for name in parser.parse_args().names:
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(GOLDEN[name](), indent=1) + "\n")
        print(f"wrote {path}")  # noqa: T201


if __name__ == "__main__":
    main()
