"""Pretrain ``mini``: ``python -m understudy.generators.mini.pretrain --out FOLDER [--smoke]``.

Trains, one after the other, on printed glyphs (``glyphs.py``):

1. the autoencoder (reconstruction and a light Kullback-Leibler term);
2. text and vision encoders (contrastive, as CLIP), whose text projection is the identity, so that the pooled text
   state and the projected image live in one space of the text width;
3. the UNet (min-SNR weighted noise prediction, 10% of captions empty, weights averaged);
4. a small ResNet that tells printed letters apart, the stand-in for an ImageNet classifier.

Every step writes its own folder when it is complete; the UNet also writes checkpoints. The same command goes on
where it was stopped. In the end ``FOLDER`` is laid out as this package folder::

    pipeline/          what ``StableDiffusionPipeline.from_pretrained`` reads, with model card and samples
    letters_resnet/    what ``timm.create_model("local-dir:...")`` reads
    figures/           what each step measured; a step whose file is there is finished

The steps take any captioned images, not only glyphs.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from understudy.core.files import write_json, write_text
from understudy.functional.contrastive import contrastive_loss
from understudy.functional.denoising import (
    add_noise,
    min_snr_weight,
    signal_to_noise_ratio,
    weighted_denoising_loss,
)
from understudy.generators.mini import glyphs
from understudy.generators.mini.card import model_card
from understudy.generators.mini.tokenizer import MAX_LENGTH, train_tokenizer

WIDTH = 128  # of the text encoder and of the projected image: equal, as in Stable Diffusion 1.5 with CLIP ViT-L/14
CLASSIFIER_ARCHITECTURE = "resnet10t"
CLASSIFIER_ARGS: dict[str, Any] = {"channels": (32, 64, 128, 256), "stem_width": 16}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much is spent on each step.

    Attributes:
        images: printed glyphs to train on; a tenth as many, drawn with another seed, are held out.
        vae_steps, clip_steps, unet_steps, classifier_steps: optimisation steps.
        batch_size: images per step.
        checkpoint_every: UNet steps between checkpoints.
        vae_channels, unet_channels: widths by resolution, finest first.
        unet_peak_lr: learning rate of the UNet after warm-up.
    """

    images: int = 80_000
    vae_steps: int = 2_000
    clip_steps: int = 3_000
    unet_steps: int = 8_000
    classifier_steps: int = 2_000
    batch_size: int = 128
    checkpoint_every: int = 1_000
    vae_channels: tuple[int, int, int] = (16, 32, 64)
    unet_channels: tuple[int, int] = (32, 96)
    unet_peak_lr: float = 1.5e-3


SMOKE = Budget(
    images=512, vae_steps=4, clip_steps=4, unet_steps=6, classifier_steps=4, batch_size=16, checkpoint_every=3
)


@dataclass(frozen=True, kw_only=True)
class CaptionedImages:
    """Images uint8 (N, 3, 32, 32), one caption and one class each; of glyphs, the class is the index into ``glyphs.CHARACTERS``."""

    images: Tensor
    captions: list[str]
    labels: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write; an interrupted run goes on in it"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the glyphs and of the initial weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--smoke", action="store_true", help="a few steps of everything, in under a minute")
    arguments = parser.parse_args()
    pretrain(
        arguments.out,
        SMOKE if arguments.smoke else Budget(),
        seed=arguments.seed,
        device=torch.device(arguments.device),
    )


def pretrain(out: Path, budget: Budget, *, seed: int, device: torch.device) -> None:
    """Run every step that ``out`` does not hold yet, then write the model card's figures.

    Args:
        out: folder to write.
        budget: steps and images.
        seed: of the glyphs and of the initial weights.
        device: where to train.
    """
    out.mkdir(parents=True, exist_ok=True)
    train = printed_glyphs(budget.images, seed=seed)
    held_out = printed_glyphs(max(64, budget.images // 10), seed=seed + 1_000_003)
    step = partial(run_step, out, seed=seed)

    pipeline = out / "pipeline"

    step(
        "vae",
        lambda: train_vae(train, held_out, budget, device),
        lambda vae: save_part(vae, pipeline / "vae"),
    )
    vae = AutoencoderKL.from_pretrained(pipeline / "vae").to(device).eval()
    step(
        "clip",
        lambda: _train_glyph_clip(train, held_out, budget, device),
        lambda clip: save_clip(clip, pipeline),
    )
    text = CLIPTextModel.from_pretrained(pipeline / "text_encoder", dtype=torch.float32).to(device).eval()
    tokenizer = CLIPTokenizer.from_pretrained(pipeline / "tokenizer")
    unet_step = partial(train_unet, train, held_out, vae, text, tokenizer, budget, device, out / "unet.ckpt")
    step("unet", unet_step, lambda unet: save_part(unet, pipeline / "unet"))
    step(
        "classifier",
        lambda: _train_letters(train, held_out, budget, device),
        partial(save_classifier, out / "letters_resnet"),
    )
    write_pipeline(pipeline)
    write_samples(
        pipeline, [f"a photo of {glyphs.name_of(character)}" for character in "0123456789aAbBgGqQrR"], seed
    )
    _write_card(out, budget, seed)


def printed_glyphs(num_images: int, *, seed: int) -> CaptionedImages:
    """Random glyphs with captions; image i depends on (seed, i) alone."""
    images, captions, labels = [], [], []
    for index in range(num_images):
        rng = np.random.default_rng([seed, index])
        glyph = glyphs.random_glyph(rng)
        images.append(glyphs.render(glyph))
        captions.append(glyphs.caption(glyph, rng))
        labels.append(glyphs.CHARACTERS.index(glyph.character))
    return CaptionedImages(
        images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        captions=captions,
        labels=torch.tensor(labels),
    )


def train_vae(
    train: CaptionedImages, held_out: CaptionedImages, budget: Budget, device: torch.device
) -> tuple[nn.Module, dict[str, float]]:
    """Autoencoder with 4 x 8 x 8 latents of zero mean and unit variance in every channel, so its scaling factor is 1."""
    vae = AutoencoderKL(
        scaling_factor=1.0,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=budget.vae_channels,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=32,
    ).to(device)

    def loss(index: Tensor, rng: torch.Generator) -> Tensor:
        x = _to_unit(train.images[index], device)
        with torch.autocast(
            device.type, torch.bfloat16
        ):  # a third faster here; of the four networks only this one gains
            posterior = vae.encode(x).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=rng).to(device)
            x_hat: Tensor = vae.decode(posterior.mean + posterior.std * noise).sample.float()
        divergence: Tensor = posterior.kl().mean() / posterior.mean[0].numel()
        return F.mse_loss(x_hat, x) + 1e-4 * divergence

    _optimise(
        vae.parameters(),
        loss,
        len(train.images),
        steps=budget.vae_steps,
        batch_size=budget.batch_size // 2,
        peak_lr=2e-3,
        name="vae",
    )
    vae.eval()
    with torch.no_grad():
        _standardise_latents(vae, _encode(vae, train.images[:10_000], device))
        latents = _encode(vae, held_out.images, device)
        x = _to_unit(held_out.images[:1000], device)
        error = F.mse_loss(vae.decode(latents[:1000].to(device)).sample, x).item()
    return vae, {
        "held_out_mse": error,
        "latent_std": latents.std().item(),
        "latent_mean": latents.mean().item(),
    }


def train_clip(
    train: CaptionedImages, tokenizer: CLIPTokenizer, budget: Budget, device: torch.device
) -> tuple[CLIPTextModel, CLIPVisionModelWithProjection, CLIPTokenizer]:
    """Text and vision encoders in one space of width ``WIDTH``."""
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    shape = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "projection_dim": WIDTH,
    }
    text = CLIPTextModel(
        CLIPTextConfig(vocab_size=len(tokenizer), max_position_embeddings=MAX_LENGTH, **shape, **ends)
    ).to(device)
    vision = CLIPVisionModelWithProjection(CLIPVisionConfig(image_size=32, patch_size=8, **shape)).to(device)
    log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07), device=device))
    tokens = _tokens(tokenizer, train.captions)

    def loss(index: Tensor, rng: torch.Generator) -> Tensor:
        image_features = vision(pixel_values=_to_unit(train.images[index], device)).image_embeds
        text_features = text(input_ids=tokens[index].to(device)).pooler_output
        return contrastive_loss(image_features, text_features, log_scale.exp().clamp(max=100))

    parameters = [*text.parameters(), *vision.parameters(), log_scale]
    _optimise(
        parameters,
        loss,
        len(train.images),
        steps=budget.clip_steps,
        batch_size=budget.batch_size,
        peak_lr=1e-3,
        name="clip",
    )
    return text.eval(), vision.eval(), tokenizer


def _train_glyph_clip(
    train: CaptionedImages, held_out: CaptionedImages, budget: Budget, device: torch.device
) -> tuple[tuple[CLIPTextModel, CLIPVisionModelWithProjection, CLIPTokenizer], dict[str, float]]:
    """Encoders of glyphs, and how well they name held-out ones, among all characters and among digits alone."""
    clip = train_clip(train, train_tokenizer(train.captions[:20_000]), budget, device)
    similarity = zero_shot_similarity(
        clip, held_out.images, [glyphs.name_of(character) for character in glyphs.CHARACTERS], device
    )
    digits = held_out.labels < len(glyphs.DIGITS)
    right = similarity.argmax(1) == held_out.labels
    right_digits = similarity[digits][:, : len(glyphs.DIGITS)].argmax(1) == held_out.labels[digits]
    return clip, {
        "zero_shot_accuracy_62": right.float().mean().item(),
        "zero_shot_accuracy_digits": right_digits.float().mean().item(),
        "held_out_images": len(right),
    }


def train_unet(
    train: CaptionedImages,
    held_out: CaptionedImages,
    vae: AutoencoderKL,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    budget: Budget,
    device: torch.device,
    checkpoint: Path,
) -> tuple[nn.Module, dict[str, float]]:
    """Noise prediction in latent space with the text encoder's states; returns the averaged weights."""
    unet = UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=budget.unet_channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,  # despite its name, diffusers reads it as the number of heads
        norm_num_groups=16,
    ).to(device)
    average = AveragedModel(unet, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    alpha_bar = _scheduler().alphas_cumprod.to(device)
    latents, text_states, no_text = _frozen_inputs(train, vae, text, tokenizer, device)

    def loss(index: Tensor, rng: torch.Generator) -> Tensor:
        x0 = latents[index].to(device)
        states = text_states[index].float().to(device)
        states = torch.where((torch.rand(len(index), 1, 1, generator=rng) < 0.1).to(device), no_text, states)
        return _denoising_loss(unet, x0, states, alpha_bar, rng)

    saved = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else None
    if saved:
        unet.load_state_dict(saved["unet"]), average.load_state_dict(saved["average"])

    def after_step(step: int, optimizer: torch.optim.Optimizer) -> None:
        average.update_parameters(unet)
        if step % budget.checkpoint_every == 0:
            state = {
                "unet": unet.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").rename(checkpoint)

    _optimise(
        unet.parameters(),
        loss,
        len(latents),
        steps=budget.unet_steps,
        batch_size=budget.batch_size,
        peak_lr=budget.unet_peak_lr,
        name="unet",
        after_step=after_step,
        resume=saved,
    )
    held_latents, held_states, _ = _frozen_inputs(held_out, vae, text, tokenizer, device)
    with torch.inference_mode():
        rng = torch.Generator().manual_seed(0)
        parts = zip(held_latents.split(500), held_states.split(500), strict=True)
        losses = [
            _denoising_loss(average.module, x0.to(device), s.float().to(device), alpha_bar, rng).item()
            for x0, s in parts
        ]
    return average.module, {"held_out_loss": float(np.mean(losses)), "held_out_images": len(held_latents)}


def train_classifier(
    images: Tensor,
    labels: Tensor,
    budget: Budget,
    device: torch.device,
    *,
    num_classes: int,
    augment: Callable[[Tensor, torch.Generator], Tensor] = lambda x, rng: x,
) -> nn.Module:
    """A small ResNet, ``CLASSIFIER_ARCHITECTURE``, for images uint8 (N, 3, 32, 32) and labels (N,)."""
    model: nn.Module = timm.create_model(
        CLASSIFIER_ARCHITECTURE, num_classes=num_classes, **CLASSIFIER_ARGS
    ).to(device)

    def loss(index: Tensor, rng: torch.Generator) -> Tensor:
        return F.cross_entropy(model(augment(_to_unit(images[index], device), rng)), labels[index].to(device))

    _optimise(
        model.parameters(),
        loss,
        len(images),
        steps=budget.classifier_steps,
        batch_size=budget.batch_size,
        peak_lr=3e-3,
        name="classifier",
    )
    return model.eval()


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, device: torch.device) -> float:
    """Share of images uint8 (N, 3, 32, 32) that a classifier gives its label."""
    predicted = torch.cat([model(_to_unit(part, device)).argmax(1).cpu() for part in images.split(1000)])
    return (predicted == labels).float().mean().item()


def _train_letters(
    train: CaptionedImages, held_out: CaptionedImages, budget: Budget, device: torch.device
) -> tuple[nn.Module, dict[str, float]]:
    """A ResNet for the 26 letters, upper and lower case as one class; it never sees a digit."""
    first = len(glyphs.DIGITS)
    keep, keep_held_out = train.labels >= first, held_out.labels >= first
    model = train_classifier(
        train.images[keep], (train.labels[keep] - first) % 26, budget, device, num_classes=26
    )
    share = accuracy(
        model, held_out.images[keep_held_out], (held_out.labels[keep_held_out] - first) % 26, device
    )
    return model, {"held_out_letter_accuracy": share, "held_out_images": int(keep_held_out.sum())}


def _optimise(
    parameters: Any,
    loss: Callable[[Tensor, torch.Generator], Tensor],
    num_images: int,
    *,
    steps: int,
    batch_size: int,
    peak_lr: float,
    name: str,
    after_step: Callable[[int, torch.optim.Optimizer], None] = lambda step, optimizer: None,
    resume: dict[str, Any] | None = None,
) -> None:
    """AdamW with a short warm-up and a cosine to zero; the batch of step i depends on i alone."""
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=peak_lr, weight_decay=0.01)
    first = 0
    if resume:
        optimizer.load_state_dict(resume["optimizer"])
        first = resume["step"]
    start, recent = time.monotonic(), []
    for step in range(first, steps):
        rng = torch.Generator().manual_seed(step)
        warm, done = min(1.0, (step + 1) / min(200, steps)), step / steps
        for group in optimizer.param_groups:
            group["lr"] = peak_lr * warm * 0.5 * (1 + math.cos(math.pi * done))
        value = loss(torch.randint(num_images, (batch_size,), generator=rng), rng)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        recent.append(value.item())
        after_step(step + 1, optimizer)
        if (step + 1) % 100 == 0 or step + 1 == steps:
            print(
                f"{name} {step + 1}/{steps} loss {np.mean(recent[-100:]):.4f} {time.monotonic() - start:.0f}s",
                flush=True,
            )


def _denoising_loss(
    unet: nn.Module, x0: Tensor, states: Tensor, alpha_bar: Tensor, rng: torch.Generator
) -> Tensor:
    eps = torch.randn(x0.shape, generator=rng).to(x0.device)
    t = torch.randint(len(alpha_bar), (len(x0),), generator=rng).to(x0.device)
    residual = unet(add_noise(x0, eps, alpha_bar, t), t, encoder_hidden_states=states).sample - eps
    return weighted_denoising_loss(residual, min_snr_weight(signal_to_noise_ratio(alpha_bar, t), gamma=5.0))


@torch.inference_mode()
def _frozen_inputs(
    data: CaptionedImages,
    vae: AutoencoderKL,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    device: torch.device,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scaled latents (N, 4, 8, 8), text states (N, L, WIDTH) in half precision, and the states of no text (1, L, WIDTH)."""
    latents = _encode(vae, data.images, device) * vae.config.scaling_factor
    parts = [
        text(input_ids=part.to(device)).last_hidden_state.half().cpu()
        for part in _tokens(tokenizer, data.captions).split(1000)
    ]
    no_text = text(input_ids=_tokens(tokenizer, [""]).to(device)).last_hidden_state
    return latents.clone(), torch.cat(parts), no_text.clone()


@torch.inference_mode()
def zero_shot_similarity(
    clip: tuple[CLIPTextModel, CLIPVisionModelWithProjection, CLIPTokenizer],
    images: Tensor,
    names: Sequence[str],
    device: torch.device,
) -> Tensor:
    """Cosine similarity of images uint8 (N, 3, 32, 32) with a plain prompt for each name, (N, num_names)."""
    text, vision, tokenizer = clip
    tokens = _tokens(tokenizer, [f"a photo of {name}" for name in names])
    text_features = F.normalize(text(input_ids=tokens.to(device)).pooler_output, dim=1).cpu()
    parts = [vision(pixel_values=_to_unit(part, device)).image_embeds.cpu() for part in images.split(1000)]
    return F.normalize(torch.cat(parts), dim=1) @ text_features.T


def _standardise_latents(vae: AutoencoderKL, latents: Tensor) -> None:
    """Move each channel's mean and standard deviation from the latents into the two 1 x 1 convolutions around them."""
    mean, std = latents.mean(dim=(0, 2, 3)).to(vae.device), latents.std(dim=(0, 2, 3)).to(vae.device)
    before, after = vae.quant_conv, vae.post_quant_conv
    before.weight[:4] /= std.view(-1, 1, 1, 1)
    before.bias[:4] = (before.bias[:4] - mean) / std
    before.bias[4:] -= 2 * std.log()  # the other half predicts log variances
    after.bias += after.weight.flatten(1) @ mean
    after.weight *= std.view(1, -1, 1, 1)


@torch.inference_mode()
def _encode(vae: AutoencoderKL, images: Tensor, device: torch.device) -> Tensor:
    return torch.cat(
        [vae.encode(_to_unit(part, device)).latent_dist.mean.cpu() for part in images.split(500)]
    )


def _tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    encoded = tokenizer(
        captions, padding="max_length", max_length=MAX_LENGTH, truncation=True, return_tensors="pt"
    )
    tokens: Tensor = encoded.input_ids
    return tokens


def _to_unit(images: Tensor, device: torch.device) -> Tensor:
    """uint8 to float in [-1, 1]."""
    return images.to(device).float() / 127.5 - 1


def _scheduler() -> DDPMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )


def run_step(
    out: Path,
    name: str,
    train: Callable[[], tuple[Any, dict[str, float]]],
    save: Callable[[Any], None],
    *,
    seed: int,
) -> None:
    """Train and save one part unless its figures, written last, are there."""
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


def save_part(model: Any, folder: Path) -> None:
    """One network of the pipeline, in half precision."""
    model.half().save_pretrained(folder, safe_serialization=True)


def save_clip(clip: tuple[CLIPTextModel, CLIPVisionModelWithProjection, CLIPTokenizer], out: Path) -> None:
    """Both encoders, in half precision, and the tokenizer, each in its folder of the pipeline."""
    text, vision, tokenizer = clip
    text.half().save_pretrained(out / "text_encoder")
    vision.half().save_pretrained(out / "image_encoder")
    tokenizer.save_pretrained(out / "tokenizer")


def save_classifier(folder: Path, model: Any, *, class_names: Sequence[str] = ()) -> None:
    """A folder for ``timm.create_model("local-dir:FOLDER")``; with names, for ``TrainedClassifier.load`` too."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    save_file(
        {name: value.contiguous().cpu() for name, value in weights.items()}, folder / "model.safetensors"
    )
    preprocessing = {
        "input_size": [3, 32, 32],
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
    }
    classes = model.num_classes
    config = {
        "architecture": CLASSIFIER_ARCHITECTURE,
        "num_classes": classes,
        "num_features": CLASSIFIER_ARGS["channels"][-1],
    }
    config |= {"label_names": list(class_names)} if class_names else {}
    config |= {
        "model_args": CLASSIFIER_ARGS,
        "pretrained_cfg": preprocessing
        | {"num_classes": classes, "first_conv": "conv1.0", "classifier": "fc"},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_pipeline(out: Path) -> None:
    """The folder as diffusers writes it: every part beside one ``model_index.json``."""
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(out / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(out / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(out / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(out / "unet"),
        scheduler=_scheduler(),
        safety_checker=None,
        feature_extractor=CLIPImageProcessor(
            size={"shortest_edge": 32},
            crop_size={"height": 32, "width": 32},
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        ),
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(out / "image_encoder"),
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(out, safe_serialization=True)
    for path in out.rglob("config.json"):
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)  # diffusers notes the folder that a part was loaded from
        if (
            "dtype" in config
        ):  # transformers loads in the noted precision, diffusers in float32: the parts must agree
            config["dtype"] = "float32"
        write_json(path, config)


@torch.inference_mode()
def write_samples(out: Path, prompts: Sequence[str], seed: int) -> None:
    """A grid of drawn images, one column per prompt."""
    pipeline = StableDiffusionPipeline.from_pretrained(out, torch_dtype=torch.float32)
    pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    rows = []
    for row in range(6):
        generators = [
            torch.Generator().manual_seed(seed + 1000 * row + column) for column in range(len(prompts))
        ]
        images = pipeline(
            list(prompts), num_inference_steps=20, guidance_scale=2.0, generator=generators, output_type="np"
        ).images
        rows.append(np.concatenate(list(images), axis=1))
    grid = Image.fromarray((np.concatenate(rows) * 255).round().astype(np.uint8))
    grid.resize((grid.width * 2, grid.height * 2), Image.Resampling.NEAREST).save(
        out / "samples.png", optimize=True
    )


def _write_card(out: Path, budget: Budget, seed: int) -> None:
    figures = {
        name: json.loads((out / "figures" / f"{name}.json").read_text())
        for name in ("vae", "clip", "unet", "classifier")
    }
    parameters = sum(
        value.numel()
        for path in (out / "pipeline").rglob("*.safetensors")
        for value in load_file(path).values()
    )
    card = model_card(figures, asdict(budget), seed=seed, parameters=parameters, fonts=len(glyphs.fonts()))
    write_text(out / "pipeline" / "README.md", card)


if __name__ == "__main__":
    main()
