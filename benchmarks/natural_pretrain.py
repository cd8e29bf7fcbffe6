"""Pretrain on photographs: ``python -m benchmarks.natural_pretrain --data FOLDER... --out FOLDER [--smoke]``.

A source domain of natural images for benchmarks whose target is, say, a few images of each class of CIFAR-10:
the networks of ``understudy.generators.mini.pretrain``, of the same kinds and about the same sizes, trained
on the 202 classes of Tiny-ImageNet at 32 x 32 pixels. It takes about an hour on one CPU core; the same
command continues an interrupted run, also on another device.

``--size 64`` trains larger networks on 64 x 64 pixels, for instance of ``tiny-imagenet-64`` and
``caltech101``. It needs a GPU, and has been run with ``--smoke`` only. At the end it measures how many of the
images that it draws of 20 classes are named right by the network of ``understudy[photo]``, beside held-out
real images. In the end ``FOLDER`` holds::

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
from PIL import Image, ImageOps
from torch import Tensor
from transformers import CLIPTokenizer

from benchmarks.natural_recognised import recognised
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
BUDGETS = {
    32: BUDGET,
    64: Budget(  # networks of at most 16 MB each in half precision
        vae_steps=6_000,
        clip_steps=3_000,
        unet_steps=20_000,
        classifier_steps=5_000,
        batch_size=256,
        checkpoint_every=500,
        vae_channels=(32, 64, 128),
        unet_channels=(96, 176),
        unet_peak_lr=6e-4,
    ),
}
"""By width and height in pixels."""
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
        "--data",
        type=Path,
        required=True,
        nargs="+",
        help="folders with train.parquet and test.parquet; classes of one name are joined",
    )
    parser.add_argument("--size", type=int, default=32, choices=BUDGETS, help="width and height in pixels")
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
    budget = BUDGETS[arguments.size]
    if arguments.smoke:
        budget = budget.smoke()
    if arguments.unet_steps:
        budget = replace(budget, unet_steps=arguments.unet_steps)
    most = 512 if arguments.smoke else None
    train, held_out = (
        joined(
            [read_images(folder / f"{split}.parquet", arguments.size, most=most) for folder in arguments.data]
        )
        for split in ("train", "test")
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
    size = test.images.shape[-1]
    save_resnet = partial(save_classifier, out / "resnet", size=size, class_names=names)
    step("classifier", classifier_step, save_resnet)
    step("unet", unet_step, lambda unet: save_part(unet, pipeline / "unet"))
    write_pipeline(pipeline)
    write_samples(pipeline, [f"a photo of {name}" for name in SHOWN], seed)
    if size > 32:  # the network of ImageNet cannot tell smaller pictures
        found = partial(recognised, pipeline, held_out.images, names, device, seed=seed)
        step("recognised", lambda: (None, found()), lambda _: None)


def read_images(parquet: Path, size: int, *, most: int | None = None) -> SourceImages:
    """Images of a Parquet file in the Hugging Face layout, resized and cropped.

    Args:
        parquet: the file, which names its classes.
        size: width and height in pixels.
        most: how many to read, evenly spread over the file; all if not given.
    """
    table = pq.read_table(parquet, columns=["image", "label"])
    declared = class_label_names(hub_features(table.schema.metadata).get("label"), str(parquet))
    assert declared is not None, f"{parquet} does not name its classes"
    names = tuple(name.split(",")[0].lower().replace("_", " ") for name in declared)
    rows = table.take(
        np.linspace(0, len(table) - 1, min(most or len(table), len(table))).astype(int)
    ).to_pylist()
    pixels = np.stack([_square(row["image"]["bytes"], size) for row in rows])
    labels = torch.tensor([row["label"] for row in rows])
    return SourceImages(
        images=CaptionedImages(
            images=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
            captions=[f"a photo of {names[label]}" for label in labels.tolist()],
            labels=labels,
        ),
        class_names=names,
    )


def _square(file: bytes, size: int) -> np.ndarray:
    """Pixels of an image that has this size, or is resized and cropped to it, uint8 (size, size, 3)."""
    image = decode(file)
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def joined(parts: Sequence[SourceImages]) -> SourceImages:
    """The images of several sets; classes of the same name become one."""
    names = tuple(dict.fromkeys(name for part in parts for name in part.class_names))
    labels = [
        torch.tensor([names.index(name) for name in part.class_names])[part.images.labels] for part in parts
    ]
    return SourceImages(
        images=CaptionedImages(
            images=torch.cat([part.images.images for part in parts]),
            captions=[caption for part in parts for caption in part.images.captions],
            labels=torch.cat(labels),
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
