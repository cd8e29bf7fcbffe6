"""The model card of ``mini``, with the figures that pretraining measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import torch

_TEMPLATE = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# mini

A Stable Diffusion pipeline of {parameters:.1f} million parameters that draws printed characters at 32 x 32 pixels, with CLIP text and
vision encoders of equal width, and a small ResNet that tells printed letters apart. It is the default generator of understudy, and its
laboratory: small enough for a laptop, and built of the same classes as the real thing.

```python
from diffusers import StableDiffusionPipeline

pipeline = StableDiffusionPipeline.from_pretrained("understudy/generators/mini/pipeline")
pipeline("a photo of digit 3, bold serif", num_inference_steps=20, guidance_scale=2.0).images[0]
```

![drawn samples, one column per character](samples.png)

Samples: `a photo of digit 0` to `9`, then letters a A b B g G q Q r R; UniPC, 20 steps, guidance 2; six seeds, not selected.

## Parts

| part | class | trained on | steps | batch | seconds | held out |
|---|---|---|---|---|---|---|
| autoencoder, 4 x 8 x 8 latents | AutoencoderKL | squared error, KL weight 1e-4 | {vae_steps} | {vae_batch} | {vae[seconds]} | squared error {vae[held_out_mse]:.5f} (pixels in -1 to 1) |
| text and vision encoder, width 128 | CLIPTextModel, CLIPVisionModelWithProjection | contrastive | {clip_steps} | {batch_size} | {clip[seconds]} | zero-shot accuracy {clip[zero_shot_accuracy_62]:.1%} among 62 characters, {clip[zero_shot_accuracy_digits]:.1%} among digits |
| UNet | UNet2DConditionModel | noise prediction, min-SNR 5, 10% empty captions, averaged weights | {unet_steps} | {batch_size} | {unet[seconds]} | loss {unet[held_out_loss]:.4f} |
| `../letters_resnet` | timm resnet10t, narrow | 26 letters, no digit | {classifier_steps} | {batch_size} | {classifier[seconds]} | accuracy {classifier[held_out_letter_accuracy]:.1%} |

Data: {images:,} printed glyphs, held out {held_out:,} more: digits and letters in the {fonts} text fonts that matplotlib bundles, with random
weight, slant, size, place, blur, contrast and, for one in five, colour; captions such as "a photo of digit 3, bold serif". Nothing else:
no handwriting, no photographs. Seed {seed}. Machine: {machine}. Made by
`python -m understudy.generators.mini.pretrain --out FOLDER`.
{notes}
## Use and limits

For tests, demonstrations and method studies on small character-like images. It knows no natural images; asked for a cat it draws
letters. The text encoder accepts 24 tokens.
"""


def model_card(
    figures: Mapping[str, Mapping[str, Any]],
    budget: Mapping[str, int],
    *,
    seed: int,
    parameters: int,
    fonts: int,
    withheld: str = "",
) -> str:
    """Write the card in Markdown.

    Args:
        figures: measurements of the steps ``vae``, ``clip``, ``unet`` and ``classifier``.
        budget: steps, images and batch size.
        seed: seed of the training.
        parameters: number of parameters of the whole pipeline.
        fonts: number of fonts in the data.
        withheld: characters of which no network saw an image or a caption.
    """
    notes = [f"- {name}: {step['note']}" for name, step in figures.items() if "note" in step]
    if withheld:
        notes.append(f"- withheld: no image and no caption of {', '.join(withheld)} was seen")
    return _TEMPLATE.format(
        **figures,
        **budget,
        vae_batch=budget["batch_size"] // 2,
        held_out=max(64, budget["images"] // 10),
        seed=seed,
        parameters=parameters / 1e6,
        fonts=fonts,
        machine=f"{os.cpu_count()} CPU cores, {platform.machine()}, torch {torch.__version__}",
        notes="\n" + "\n".join(notes) + "\n" if notes else "",
    )
