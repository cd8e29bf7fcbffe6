"""Pretrain on Tiny-ImageNet: ``python -m benchmarks.natural_pretrain --data FOLDER --out FOLDER [--smoke]``.

A source domain of natural images for benchmarks whose target is, say, a few images of each class of CIFAR-10:
the networks of ``understudy.generators.mini.pretrain``, of the same kinds and about the same sizes, trained
on photographs of 202 classes at 32 x 32 pixels. It takes about an hour on one CPU core; the same command
continues an interrupted run. In the end ``FOLDER`` holds::

    pipeline/    what ``StableDiffusionPipeline.from_pretrained`` reads, with a grid of samples
    resnet/      what ``timm.create_model("local-dir:...")`` and ``TrainedClassifier.load`` read
    figures/     what each step measured; a step is finished once its file exists
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor
from transformers import CLIPTokenizer

from understudy.data.decoding import decode
from understudy.data.sources.columns import class_label_names, hub_features
from understudy.functional.augment import flip_crop
from understudy.generators.mini.data import CaptionedImages
from understudy.generators.mini.files import (
    save_classifier,
    save_clip,
    save_part,
    write_pipeline,
    write_samples,
)
from understudy.generators.mini.networks import (
    Encoders,
    accuracy,
    train_classifier,
    train_clip,
    train_unet,
    train_vae,
    zero_shot_similarity,
)
from understudy.generators.mini.optimise import Budget
from understudy.generators.mini.pretrain import run_step
from understudy.generators.mini.tokenizer import MAX_LENGTH, train_tokenizer

BUDGET = Budget(
    vae_steps=3_000,
    clip_steps=600,
    unet_steps=2_500,
    classifier_steps=5_000,
    batch_size=64,
    checkpoint_every=500,
    unet_channels=(48, 128),
    unet_peak_lr=1e-3,
)
# These words get a token each although some occur in no caption: otherwise prompts about the target would
# be spelt letter by letter.
TARGET_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHOWN = (
    "goldfish",
    "bullfrog",
    "tabby",
    "golden retriever",
    "lion",
    "school bus",
    "sports car",
    "lemon",
    "pizza",
    "seashore",
)


@dataclass(frozen=True, kw_only=True)
class SourceImages:
    """Photographs, each with the caption "a photo of NAME", and the class names by label."""

    images: CaptionedImages
    class_names: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train.parquet and test.parquet, 32 x 32 pixels"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write; an interrupted run continues there"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--unet-steps",
        type=int,
        help="other than planned; with the steps of the checkpoint, its averaged weights are the result",
    )
    parser.add_argument("--smoke", action="store_true", help="a few steps of everything on a few images")
    arguments = parser.parse_args()
    budget = BUDGET.smoke() if arguments.smoke else BUDGET
    if arguments.unet_steps:
        budget = replace(budget, unet_steps=arguments.unet_steps)
    most = 512 if arguments.smoke else None
    train, held_out = (
        read_images(arguments.data / f"{split}.parquet", most=most) for split in ("train", "test")
    )
    pretrain(
        train, held_out, arguments.out, budget, seed=arguments.seed, device=torch.device(arguments.device)
    )


def pretrain(
    train: SourceImages, held_out: SourceImages, out: Path, budget: Budget, *, seed: int, device: torch.device
) -> None:
    """Run every unfinished step; the UNet, by far the longest, comes last.

    Args:
        train: images to learn from.
        held_out: images to measure on.
        out: folder to write to.
        budget: steps and sizes.
        seed: seed of the initial weights.
        device: where to train.
    """
    pipeline, names = out / "pipeline", train.class_names
    both_ways, test = with_mirror_images(train.images), held_out.images
    step = partial(run_step, out, seed=seed)

    def vae_step() -> tuple[Any, dict[str, float]]:
        vae, figures = train_vae(both_ways, test, budget, device)
        return vae, {**figures, "steps": budget.vae_steps}

    def clip_step() -> tuple[Any, dict[str, float]]:
        clip = train_clip(both_ways, natural_tokenizer(names), budget, device)
        named = zero_shot_similarity(clip, test.images, names, device).argmax(1)
        right = (named == test.labels).float().mean().item()
        return clip, {"zero_shot_accuracy": right, "held_out_images": len(named), "steps": budget.clip_steps}

    def classifier_step() -> tuple[Any, dict[str, float]]:
        images, labels = train.images.images, train.images.labels
        model = train_classifier(images, labels, budget, device, num_classes=len(names), augment=flip_crop)
        right = accuracy(model, test.images, test.labels, device)
        return model, {
            "held_out_accuracy": right,
            "held_out_images": len(test.images),
            "steps": budget.classifier_steps,
        }

    def unet_step() -> tuple[Any, dict[str, float]]:
        encoders = Encoders.load(pipeline, device)
        unet, figures = train_unet(both_ways, test, encoders, budget, out / "unet.ckpt")
        return unet, {**figures, "steps": budget.unet_steps}

    step("vae", vae_step, lambda vae: save_part(vae, pipeline / "vae"))
    step("clip", clip_step, lambda clip: save_clip(clip, pipeline))
    step("classifier", classifier_step, partial(save_classifier, out / "resnet", class_names=names))
    step("unet", unet_step, lambda unet: save_part(unet, pipeline / "unet"))
    write_pipeline(pipeline)
    write_samples(pipeline, [f"a photo of {name}" for name in SHOWN], seed)


def read_images(parquet: Path, *, most: int | None = None) -> SourceImages:
    """All images of a Parquet file in the Hugging Face layout, or ``most`` of them, evenly spread over the
    file.
    """
    table = pq.read_table(parquet, columns=["image", "label"])
    declared = class_label_names(hub_features(table.schema.metadata).get("label"), str(parquet))
    assert declared is not None, f"{parquet} does not name its classes"
    names = tuple(name.split(",")[0].lower() for name in declared)
    rows = table.take(
        np.linspace(0, len(table) - 1, min(most or len(table), len(table))).astype(int)
    ).to_pylist()
    pixels = np.stack([np.asarray(decode(row["image"]["bytes"])) for row in rows])
    labels = torch.tensor([row["label"] for row in rows])
    return SourceImages(
        images=CaptionedImages(
            images=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
            captions=[f"a photo of {names[label]}" for label in labels.tolist()],
            labels=labels,
        ),
        class_names=names,
    )


def with_mirror_images(data: CaptionedImages) -> CaptionedImages:
    """Every image, followed by every image mirrored: a mirrored photograph still fits its caption."""
    return CaptionedImages(
        images=_twice(data.images), captions=[*data.captions, *data.captions], labels=data.labels.repeat(2)
    )


def _twice(images: Tensor) -> Tensor:
    return torch.cat([images, images.flip(3)])


def natural_tokenizer(names: Sequence[str]) -> CLIPTokenizer:
    """A tokenizer with one token for every word of the class names, and for the class names of the target."""
    tokenizer = train_tokenizer([f"a photo of {name}" for name in (*names, *TARGET_NAMES)], num_merges=4_000)
    longest = max(
        len(tokenizer(f"a photo of {name} in the style of {name} y").input_ids)
        for name in (*names, *TARGET_NAMES)
    )
    assert longest <= MAX_LENGTH, f"a prompt takes {longest} tokens of {MAX_LENGTH}"
    return tokenizer


if __name__ == "__main__":
    main()
