"""The files of pretraining: networks, the pipeline folder, samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from understudy.core.files import write_json
from understudy.generators.mini.networks import (
    CLASSIFIER_ARCHITECTURE,
    CLASSIFIER_ARGS,
    Clip,
    noise_scheduler,
)


def save_part(model: Any, folder: Path) -> None:
    """Write one network of the pipeline in half precision."""
    model.half().save_pretrained(folder, safe_serialization=True)


def save_clip(clip: Clip, out: Path) -> None:
    """Write both encoders, in half precision, and the tokenizer to their folders of the pipeline."""
    text, vision, tokenizer = clip
    text.half().save_pretrained(out / "text_encoder")
    vision.half().save_pretrained(out / "image_encoder")
    tokenizer.save_pretrained(out / "tokenizer")


def save_classifier(folder: Path, model: Any, *, size: int = 32, class_names: Sequence[str] = ()) -> None:
    """Write a folder for ``timm.create_model``; with class names, also for ``TrainedClassifier.load``.

    Args:
        folder: to write.
        model: trained on images of ``size`` pixels.
        size: width and height.
        class_names: by label.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors")
    classes = model.num_classes
    config = {
        "architecture": CLASSIFIER_ARCHITECTURE,
        "num_classes": classes,
        "num_features": CLASSIFIER_ARGS["channels"][-1],
        **({"label_names": list(class_names)} if class_names else {}),
        "model_args": CLASSIFIER_ARGS,
        "pretrained_cfg": {
            "input_size": [3, size, size],
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "num_classes": classes,
            "first_conv": "conv1.0",
            "classifier": "fc",
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_pipeline(out: Path) -> None:
    """Complete the folder as diffusers writes it: one folder per part, and ``model_index.json``."""
    vae = AutoencoderKL.from_pretrained(out / "vae")
    size = vae.config.sample_size
    processor = CLIPImageProcessor(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel.from_pretrained(out / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(out / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(out / "unet"),
        scheduler=noise_scheduler(),
        safety_checker=None,
        feature_extractor=processor,
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(out / "image_encoder"),
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(out, safe_serialization=True)
    for path in out.rglob("config.json"):
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)  # diffusers notes the folder that a part was loaded from
        if "dtype" in config:  # transformers loads in the noted precision, diffusers in float32
            config["dtype"] = "float32"
        write_json(path, config)


@torch.inference_mode()
def write_samples(out: Path, prompts: Sequence[str], seed: int) -> None:
    """Draw a grid of images, one column per prompt."""
    pipeline = StableDiffusionPipeline.from_pretrained(out, torch_dtype=torch.float32)
    pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    rows = []
    for row in range(6):
        images = pipeline(
            list(prompts),
            num_inference_steps=20,
            guidance_scale=2.0,
            generator=[
                torch.Generator().manual_seed(seed + 1000 * row + column) for column in range(len(prompts))
            ],
            output_type="np",
        ).images
        rows.append(np.concatenate(list(images), axis=1))
    grid = Image.fromarray((np.concatenate(rows) * 255).round().astype(np.uint8))
    grid = grid.resize((grid.width * 2, grid.height * 2), Image.Resampling.NEAREST)
    grid.save(out / "samples.png", optimize=True)
