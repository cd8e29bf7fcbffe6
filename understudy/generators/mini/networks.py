"""The networks of ``mini`` and their training: autoencoder, text and vision encoder, UNet, classifier."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import timm
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from understudy.functional.contrastive import contrastive_loss
from understudy.functional.denoising import (
    add_noise,
    min_snr_weight,
    signal_to_noise_ratio,
    weighted_denoising_loss,
)
from understudy.generators.mini.data import CaptionedImages, to_unit, tokens_of
from understudy.generators.mini.optimise import Budget, Schedule, optimise
from understudy.generators.mini.tokenizer import MAX_LENGTH

# Width of the text encoder and of the projected image: equal, as in Stable Diffusion 1.5 with CLIP ViT-L/14.
WIDTH = 128
CLASSIFIER_ARCHITECTURE = "resnet10t"
CLASSIFIER_ARGS: dict[str, Any] = {"channels": (32, 64, 128, 256), "stem_width": 16}

Clip = tuple[CLIPTextModel, CLIPVisionModelWithProjection, CLIPTokenizer]
"""Text encoder, vision encoder and tokenizer, trained as a pair."""


def train_vae(
    train: CaptionedImages, held_out: CaptionedImages, budget: Budget, device: torch.device
) -> tuple[nn.Module, dict[str, float]]:
    """Train an autoencoder whose latents have 4 channels and a quarter of the images' width.

    Every channel of the latents has zero mean and unit variance, so the scaling factor is 1.

    Returns:
        The autoencoder, and its figures on held-out images.
    """
    vae = AutoencoderKL(
        scaling_factor=1.0,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=budget.vae_channels,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=train.images.shape[-1],
    ).to(device)

    def loss(index: Tensor, rng: torch.Generator) -> Tensor:
        x = to_unit(train.images[index], device)
        with torch.autocast(device.type, torch.bfloat16):  # a third faster; no other network here gains
            posterior = vae.encode(x).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=rng).to(device)
            x_hat: Tensor = vae.decode(posterior.mean + posterior.std * noise).sample.float()
        divergence: Tensor = posterior.kl().mean() / posterior.mean[0].numel()
        return F.mse_loss(x_hat, x) + 1e-4 * divergence

    schedule = Schedule(
        name="vae",
        num_images=len(train.images),
        steps=budget.vae_steps,
        batch_size=budget.batch_size // 2,
        peak_lr=2e-3,
    )
    optimise(vae.parameters(), loss, schedule)
    vae.eval()
    with torch.no_grad():
        _standardise_latents(vae, _latents(vae, train.images[:10_000], device))
        latents = _latents(vae, held_out.images, device)
        x = to_unit(held_out.images[:1000], device)
        error = F.mse_loss(vae.decode(latents[:1000].to(device)).sample, x).item()
    moments = {"latent_std": latents.std().item(), "latent_mean": latents.mean().item()}
    return vae, {"held_out_mse": error, **moments}


def _standardise_latents(vae: AutoencoderKL, latents: Tensor) -> None:
    """Move each channel's mean and deviation from the latents into the 1 x 1 convolutions around them."""
    mean, std = latents.mean(dim=(0, 2, 3)).to(vae.device), latents.std(dim=(0, 2, 3)).to(vae.device)
    before, after = vae.quant_conv, vae.post_quant_conv
    before.weight[:4] /= std.view(-1, 1, 1, 1)
    before.bias[:4] = (before.bias[:4] - mean) / std
    before.bias[4:] -= 2 * std.log()  # the other half predicts log variances
    after.bias += after.weight.flatten(1) @ mean
    after.weight *= std.view(1, -1, 1, 1)


@torch.inference_mode()
def _latents(vae: AutoencoderKL, images: Tensor, device: torch.device) -> Tensor:
    parts = images.split(500)
    return torch.cat([vae.encode(to_unit(part, device)).latent_dist.mean.cpu() for part in parts])


def train_clip(
    train: CaptionedImages, tokenizer: CLIPTokenizer, budget: Budget, device: torch.device
) -> Clip:
    """Train text and vision encoder contrastively, in one space of width ``WIDTH``."""
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
    text_config = CLIPTextConfig(
        vocab_size=len(tokenizer), max_position_embeddings=MAX_LENGTH, **shape, **ends
    )
    text = CLIPTextModel(text_config).to(device)
    # 16 patches of an image, whatever its size
    size = train.images.shape[-1]
    vision_config = CLIPVisionConfig(image_size=size, patch_size=size // 4, **shape)
    vision = CLIPVisionModelWithProjection(vision_config).to(device)
    log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07), device=device))
    tokens = tokens_of(tokenizer, train.captions)

    def loss(index: Tensor, rng: torch.Generator) -> Tensor:
        image_features = vision(pixel_values=to_unit(train.images[index], device)).image_embeds
        text_features = text(input_ids=tokens[index].to(device)).pooler_output
        return contrastive_loss(image_features, text_features, log_scale.exp().clamp(max=100))

    schedule = Schedule(
        name="clip",
        num_images=len(train.images),
        steps=budget.clip_steps,
        batch_size=budget.batch_size,
        peak_lr=1e-3,
    )
    optimise([*text.parameters(), *vision.parameters(), log_scale], loss, schedule)
    return text.eval(), vision.eval(), tokenizer


@torch.inference_mode()
def zero_shot_similarity(clip: Clip, images: Tensor, names: Sequence[str], device: torch.device) -> Tensor:
    """Cosine similarity of images, uint8 (N, 3, H, W), with a prompt for each name, (N, num_names)."""
    text, vision, tokenizer = clip
    tokens = tokens_of(tokenizer, [f"a photo of {name}" for name in names])
    text_features = F.normalize(text(input_ids=tokens.to(device)).pooler_output, dim=1).cpu()
    parts = [vision(pixel_values=to_unit(part, device)).image_embeds.cpu() for part in images.split(1000)]
    return F.normalize(torch.cat(parts), dim=1) @ text_features.T


@dataclass(frozen=True, eq=False)
class Encoders:
    """The finished networks that the UNet is trained between."""

    vae: AutoencoderKL
    text: CLIPTextModel
    tokenizer: CLIPTokenizer
    device: torch.device

    @classmethod
    def load(cls, pipeline: Path, device: torch.device) -> Self:
        """Load the parts of a pipeline folder in float32."""
        return cls(
            vae=AutoencoderKL.from_pretrained(pipeline / "vae").to(device).eval(),
            text=CLIPTextModel.from_pretrained(pipeline / "text_encoder", dtype=torch.float32)
            .to(device)
            .eval(),
            tokenizer=CLIPTokenizer.from_pretrained(pipeline / "tokenizer"),
            device=device,
        )

    @torch.inference_mode()
    def latents(self, data: CaptionedImages) -> Tensor:
        """Scaled latents of images, (N, 4, H / 4, W / 4), on the CPU."""
        latents: Tensor = _latents(self.vae, data.images, self.device) * self.vae.config.scaling_factor
        return latents.clone()

    @torch.inference_mode()
    def states(self, captions: Sequence[str]) -> Tensor:
        """Text states of captions, (N, L, WIDTH), in half precision on the CPU."""
        parts = tokens_of(self.tokenizer, captions).split(1000)
        return torch.cat([self._states(part).half().cpu() for part in parts])

    @torch.inference_mode()
    def no_text(self) -> Tensor:
        """The states of the empty caption, (1, L, WIDTH)."""
        return self._states(tokens_of(self.tokenizer, [""])).clone()

    def _states(self, tokens: Tensor) -> Tensor:
        return cast("Tensor", self.text(input_ids=tokens.to(self.device)).last_hidden_state)


def noise_scheduler() -> DDPMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )


@cache
def _alpha_bar() -> Tensor:
    return cast("Tensor", noise_scheduler().alphas_cumprod)


def train_unet(
    train: CaptionedImages, held_out: CaptionedImages, encoders: Encoders, budget: Budget, checkpoint: Path
) -> tuple[nn.Module, dict[str, float]]:
    """Train a UNet to predict noise in latents, conditioned on text states.

    Returns:
        The UNet with averaged weights, and its figures on held-out images.
    """
    device = encoders.device
    unet = UNet2DConditionModel(
        sample_size=train.images.shape[-1] // 4,
        layers_per_block=1,
        block_out_channels=budget.unet_channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,  # despite its name, diffusers reads it as the number of heads
        norm_num_groups=16,
    ).to(device)
    average = AveragedModel(unet, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    latents, states, no_text = encoders.latents(train), encoders.states(train.captions), encoders.no_text()

    def loss(index: Tensor, rng: torch.Generator) -> Tensor:
        given = states[index].float().to(device)
        is_empty = (torch.rand(len(index), 1, 1, generator=rng) < 0.1).to(device)
        return _denoising_loss(unet, latents[index].to(device), torch.where(is_empty, no_text, given), rng)

    saved = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else None
    if saved:
        unet.load_state_dict(saved["unet"])
        average.load_state_dict(saved["average"])

    def after_step(step: int, optimizer: torch.optim.Optimizer) -> None:
        average.update_parameters(unet)
        if step % budget.checkpoint_every == 0:
            weights = {"unet": unet.state_dict(), "average": average.state_dict()}
            torch.save(
                {**weights, "optimizer": optimizer.state_dict(), "step": step}, checkpoint.with_suffix(".tmp")
            )
            checkpoint.with_suffix(".tmp").rename(checkpoint)

    schedule = Schedule(
        name="unet",
        num_images=len(latents),
        steps=budget.unet_steps,
        batch_size=budget.batch_size,
        peak_lr=budget.unet_peak_lr,
    )
    optimise(unet.parameters(), loss, schedule, after_step=after_step, resume=saved)
    held_out_loss = _held_out_loss(average.module, held_out, encoders)
    return average.module, {"held_out_loss": held_out_loss, "held_out_images": len(held_out.images)}


def _denoising_loss(unet: nn.Module, x0: Tensor, states: Tensor, rng: torch.Generator) -> Tensor:
    alpha_bar = _alpha_bar().to(x0.device)
    eps = torch.randn(x0.shape, generator=rng).to(x0.device)
    t = torch.randint(len(alpha_bar), (len(x0),), generator=rng).to(x0.device)
    residual = unet(add_noise(x0, eps, alpha_bar, t), t, encoder_hidden_states=states).sample - eps
    weight = min_snr_weight(signal_to_noise_ratio(alpha_bar, t), gamma=5.0)
    return weighted_denoising_loss(residual, weight)


@torch.inference_mode()
def _held_out_loss(unet: nn.Module, held_out: CaptionedImages, encoders: Encoders) -> float:
    rng = torch.Generator().manual_seed(0)
    latents, states = encoders.latents(held_out), encoders.states(held_out.captions)
    parts = zip(latents.split(500), states.split(500), strict=True)
    device = encoders.device
    losses = [_denoising_loss(unet, x0.to(device), s.float().to(device), rng).item() for x0, s in parts]
    return float(np.mean(losses))


def train_classifier(
    images: Tensor,
    labels: Tensor,
    budget: Budget,
    device: torch.device,
    *,
    num_classes: int,
    augment: Callable[[Tensor, torch.Generator], Tensor] = lambda x, rng: x,
) -> nn.Module:
    """Train a small ResNet, ``CLASSIFIER_ARCHITECTURE``.

    Args:
        images: uint8 (N, 3, H, W).
        labels: int64 (N,).
        budget: steps and batch size.
        device: torch device.
        num_classes: number of classes.
        augment: changes a batch, float (B, 3, H, W) in [-1, 1].
    """
    model: nn.Module = timm.create_model(CLASSIFIER_ARCHITECTURE, num_classes=num_classes, **CLASSIFIER_ARGS)
    model.to(device)

    def loss(index: Tensor, rng: torch.Generator) -> Tensor:
        x = augment(to_unit(images[index], device), rng)
        return F.cross_entropy(model(x), labels[index].to(device))

    schedule = Schedule(
        name="classifier",
        num_images=len(images),
        steps=budget.classifier_steps,
        batch_size=budget.batch_size,
        peak_lr=3e-3,
    )
    optimise(model.parameters(), loss, schedule)
    return model.eval()


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, device: torch.device) -> float:
    """Share of images, uint8 (N, 3, H, W), that a classifier labels correctly."""
    predicted = torch.cat([model(to_unit(part, device)).argmax(1).cpu() for part in images.split(1000)])
    return (predicted == labels).float().mean().item()
