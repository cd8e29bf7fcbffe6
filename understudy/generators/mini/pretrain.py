"""Pretrain ``mini``: ``python -m understudy.generators.mini.pretrain --out FOLDER [--smoke]``.

Trains four networks on printed glyphs (``glyphs.py``), in this order:

1. the autoencoder (reconstruction and a light Kullback-Leibler term);
2. text and vision encoder (contrastive, as CLIP). The text projection is the identity, so that the
   pooled text state and the projected image share a space of the text width;
3. the UNet (min-SNR weighted noise prediction, 10% of captions empty, weights averaged);
4. a small ResNet that classifies printed letters, the stand-in for an ImageNet classifier.

Every step writes its folder when it is complete; the UNet also writes checkpoints. The same command resumes
an interrupted run. In the end, ``FOLDER`` has the layout of this package folder::

    pipeline/          for ``StableDiffusionPipeline.from_pretrained``, with model card and samples
    letters_resnet/    for ``timm.create_model("local-dir:...")``
    figures/           measurements of each step; a step whose file exists is finished

The steps work with any captioned images, not only with glyphs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from understudy.core.files import write_json, write_text
from understudy.generators.mini import glyphs
from understudy.generators.mini.card import model_card
from understudy.generators.mini.data import CaptionedImages, printed_glyphs
from understudy.generators.mini.files import (
    save_classifier,
    save_clip,
    save_part,
    write_pipeline,
    write_samples,
)
from understudy.generators.mini.networks import (
    Clip,
    Encoders,
    accuracy,
    train_classifier,
    train_clip,
    train_unet,
    train_vae,
    zero_shot_similarity,
)
from understudy.generators.mini.optimise import Budget
from understudy.generators.mini.tokenizer import train_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write; an interrupted run resumes in it"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the glyphs and of the initial weights")
    parser.add_argument(
        "--withhold", default="", metavar="CHARACTERS", help="characters that no network sees, as 358"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--smoke", action="store_true", help="a few steps of everything, in under a minute")
    arguments = parser.parse_args()
    budget = Budget().smoke() if arguments.smoke else Budget()
    device = torch.device(arguments.device)
    pretrain(arguments.out, budget, seed=arguments.seed, device=device, withhold=arguments.withhold)


def pretrain(out: Path, budget: Budget, *, seed: int, device: torch.device, withhold: str = "") -> None:
    """Run every unfinished step, then write the pipeline, samples and the model card.

    Args:
        out: folder to write.
        budget: steps and images.
        seed: seed of the glyphs and of the initial weights.
        device: torch device.
        withhold: characters of which no network sees an image or a caption.
    """
    out.mkdir(parents=True, exist_ok=True)
    characters = "".join(character for character in glyphs.CHARACTERS if character not in withhold)
    train = printed_glyphs(budget.images, seed=seed, characters=characters)
    held_out = printed_glyphs(max(64, budget.images // 10), seed=seed + 1_000_003, characters=characters)
    step = partial(run_step, out, seed=seed)
    pipeline = out / "pipeline"

    step(
        "vae",
        lambda: train_vae(train, held_out, budget, device),
        lambda vae: save_part(vae, pipeline / "vae"),
    )
    step(
        "clip",
        lambda: _train_glyph_clip(train, held_out, budget, device),
        lambda clip: save_clip(clip, pipeline),
    )
    encoders = Encoders.load(pipeline, device)
    step(
        "unet",
        lambda: train_unet(train, held_out, encoders, budget, out / "unet.ckpt"),
        lambda unet: save_part(unet, pipeline / "unet"),
    )
    step(
        "classifier",
        lambda: _train_letters(train, held_out, budget, device),
        partial(save_classifier, out / "letters_resnet"),
    )
    write_pipeline(pipeline)
    names = [glyphs.name_of(character) for character in "0123456789aAbBgGqQrR"]
    write_samples(pipeline, [f"a photo of {name}" for name in names], seed)
    _write_card(out, budget, seed, withhold)


def run_step(
    out: Path,
    name: str,
    train: Callable[[], tuple[Any, dict[str, float]]],
    save: Callable[[Any], None],
    *,
    seed: int,
) -> None:
    """Train and save one network, unless its figures exist, which are written last."""
    record = out / "figures" / f"{name}.json"
    if record.exists():
        return
    torch.manual_seed(seed)  # initial weights; this script owns its process
    start = time.monotonic()
    model, figures = train()
    save(model)
    figures = {**figures, "seconds": round(time.monotonic() - start)}
    print(name, figures, flush=True)
    write_json(record, figures)


def _train_glyph_clip(
    train: CaptionedImages, held_out: CaptionedImages, budget: Budget, device: torch.device
) -> tuple[Clip, dict[str, float]]:
    """Train encoders of glyphs, and measure how well they name held-out characters and digits."""
    clip = train_clip(train, train_tokenizer(train.captions[:20_000]), budget, device)
    names = [glyphs.name_of(character) for character in glyphs.CHARACTERS]
    similarity = zero_shot_similarity(clip, held_out.images, names, device)
    is_digit = held_out.labels < len(glyphs.DIGITS)
    right = similarity.argmax(1) == held_out.labels
    right_digits = similarity[is_digit][:, : len(glyphs.DIGITS)].argmax(1) == held_out.labels[is_digit]
    return clip, {
        "zero_shot_accuracy_62": right.float().mean().item(),
        "zero_shot_accuracy_digits": right_digits.float().mean().item(),
        "held_out_images": len(right),
    }


def _train_letters(
    train: CaptionedImages, held_out: CaptionedImages, budget: Budget, device: torch.device
) -> tuple[nn.Module, dict[str, float]]:
    """Train a ResNet on the 26 letters, upper and lower case as one class; it never sees a digit."""
    first = len(glyphs.DIGITS)
    keep, keep_held_out = train.labels >= first, held_out.labels >= first
    labels, held_out_labels = (train.labels[keep] - first) % 26, (held_out.labels[keep_held_out] - first) % 26
    model = train_classifier(train.images[keep], labels, budget, device, num_classes=26)
    share = accuracy(model, held_out.images[keep_held_out], held_out_labels, device)
    return model, {"held_out_letter_accuracy": share, "held_out_images": int(keep_held_out.sum())}


def _write_card(out: Path, budget: Budget, seed: int, withheld: str) -> None:
    figures = {
        name: json.loads((out / "figures" / f"{name}.json").read_text())
        for name in ("vae", "clip", "unet", "classifier")
    }
    weights = (load_file(path) for path in (out / "pipeline").rglob("*.safetensors"))
    parameters = sum(value.numel() for each in weights for value in each.values())
    card = model_card(
        figures,
        asdict(budget),
        seed=seed,
        parameters=parameters,
        fonts=len(glyphs.fonts()),
        withheld=withheld,
    )
    write_text(out / "pipeline" / "README.md", card)


if __name__ == "__main__":
    main()
