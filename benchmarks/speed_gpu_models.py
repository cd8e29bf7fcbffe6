"""What ``benchmarks/speed_gpu.py`` measures with: a pipeline of the size of SD 1.5, and sets of images."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from understudy.data.labelled_set import LabelledSet
from understudy.generators.load import load_generator
from understudy.generators.mini.tokenizer import train_tokenizer
from understudy.generators.pipeline_checks import image_size_of
from understudy.generators.pipeline_parts import Parts
from understudy.generators.settings import GeneratorSettings
from understudy.generators.stable_diffusion import StableDiffusionGenerator

# The values of Stable Diffusion 1.5's configuration files that differ from the classes' defaults.
_UNET: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
}
_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "sample_size": 512,
    "latent_channels": 4,
}
_TEXT: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
}


def stable_diffusion(
    device: str, *, is_tiny: bool, precision: str = "float32", compiled: bool = False
) -> StableDiffusionGenerator:
    """A generator of the size of SD 1.5 with random weights, made on the device; tiny: the bundled one.

    Nothing is downloaded. Weights in float16 and bfloat16 are multiplied as they are.
    """
    settings = GeneratorSettings(precision=cast("Any", precision), compile=compiled)
    if is_tiny:
        return cast("StableDiffusionGenerator", load_generator(settings, device=device))
    pipeline = stable_diffusion_pipeline(device, precision=precision)
    size = image_size_of(pipeline, StableDiffusionGenerator.layout, settings)
    parts = Parts(pipeline=pipeline, vae=pipeline.vae, image_size=size, features=None, offload=None)
    return StableDiffusionGenerator(parts, settings)


def stable_diffusion_pipeline(device: str, *, precision: str) -> Any:
    """The pipeline of :func:`stable_diffusion`, with random weights."""
    tokenizer = train_tokenizer(["a photo of a cat", "a photo of a dog"], num_merges=8)
    tokenizer.model_max_length = _TEXT["max_position_embeddings"]
    config = CLIPTextConfig(
        vocab_size=49408,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **_TEXT,
    )
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        encoder, vae, unet = CLIPTextModel(config), AutoencoderKL(**_VAE), UNet2DConditionModel(**_UNET)
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(device, getattr(torch, precision))


def few_images(count: int, *, split: Any, size: int) -> LabelledSet:
    """Images of noise, two classes in turn; 8 different ones, which are repeated."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (min(8, count), 3, size, size), dtype=np.uint8)
    made = LabelledSet.from_images(
        pixels, np.arange(len(pixels)) % 2, class_names=["cat", "dog"], split=split
    )
    encoded = [made.encoded(number % len(made)) for number in range(count)]
    return LabelledSet.from_images(encoded, np.arange(count) % 2, class_names=["cat", "dog"], split=split)
