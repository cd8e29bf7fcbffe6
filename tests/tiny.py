"""Tiny instances of the real things, for tests and golden figures."""

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from understudy.data import LabelledSet
from understudy.generators.mini.tokenizer import train_tokenizer


def save_tiny_pipeline(folder):
    """A Stable Diffusion pipeline with random weights: every part of the real class, a few thousand parameters each."""
    tokenizer = train_tokenizer(["a photo of a cat", "a photo of a dog"], num_merges=8)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer), max_position_embeddings=24, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                num_attention_heads=2, projection_dim=16, **ends,
            )
        )  # fmt: skip
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, block_out_channels=(8, 8),
            norm_num_groups=4, latent_channels=4, sample_size=16,
        )  # fmt: skip
        unet = UNet2DConditionModel(
            sample_size=8, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4, cross_attention_dim=16, attention_head_dim=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        )  # fmt: skip
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)


def two_classes(num_images=8, *, split="train", seed=0, size=16):
    """Noisy images: class cat is bright on the left, class dog on the right."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 80, (num_images, 3, size, size), dtype=np.uint8)
    labels = np.arange(num_images) % 2
    for image, label in zip(pixels, labels, strict=True):
        image[:, :, (size // 2) * label : size // 2 + (size // 2) * label] += 120
    return LabelledSet.from_images(
        pixels, labels, class_names=["cat", "dog"], split=split, ids=[f"{split}-{seed}-{i}" for i in range(num_images)]
    )
