"""Are photographs that a pretrained pipeline draws recognisable? The last step of ``natural_pretrain``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler
from PIL import Image

from benchmarks.photo_network import batches, imagenet_places
from understudy.generators.mini.data import CaptionedImages
from understudy.training.photo_network import photo_network

RECOGNISED = (
    *("goldfish", "bullfrog", "tabby", "golden retriever", "lion"),
    *("school bus", "sports car", "lemon", "pizza", "seashore"),
    *("boa constrictor", "black widow", "koala", "jellyfish", "king penguin"),
    *("chihuahua", "tarantula", "snail", "goose", "american alligator"),
)
"""Classes, by ImageNet's words, of which images are drawn for the network of ``understudy[photo]``."""
_DRAWN_OF_EACH = 10


@torch.inference_mode()
def recognised(
    folder: Path, held_out: CaptionedImages, names: Sequence[str], device: torch.device, *, seed: int
) -> dict[str, float]:
    """The share of drawn and of real images of ``RECOGNISED`` that a network for ImageNet tells apart.

    It chooses among these classes. Half right is the least with which drawn images count as recognisable.

    Args:
        folder: of the pipeline.
        held_out: real images.
        names: of the classes, by label.
        device: torch device.
        seed: of the drawn images.
    """
    places = imagenet_places()
    network = photo_network(None, setting="this script").eval().to(device)

    def right(images: Sequence[Image.Image], labels: Sequence[int]) -> float:
        columns = [places[name] for name in RECOGNISED]
        scores = torch.cat([network((2 * x - 1).to(device))[:, columns].cpu() for x in batches(images)])
        return (scores.argmax(dim=1) == torch.tensor(labels)).float().mean().item()

    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32).to(device)
    pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    drawn: list[Image.Image] = []
    for number, name in enumerate(RECOGNISED):
        generators = [
            torch.Generator().manual_seed(seed + _DRAWN_OF_EACH * number + index)
            for index in range(_DRAWN_OF_EACH)
        ]
        prompts = [f"a photo of {name}"] * _DRAWN_OF_EACH
        drawn += pipeline(prompts, num_inference_steps=20, guidance_scale=2.0, generator=generators).images
    labels = [names[label] for label in held_out.labels.tolist()]
    real = [index for index, name in enumerate(labels) if name in RECOGNISED]
    pixels = held_out.images[real].permute(0, 2, 3, 1).numpy()
    return {
        "drawn": right(drawn, [label for label in range(len(RECOGNISED)) for _ in range(_DRAWN_OF_EACH)]),
        "real": right(
            [Image.fromarray(each) for each in pixels], [RECOGNISED.index(labels[index]) for index in real]
        ),
        "drawn_images": len(drawn),
        "real_images": len(real),
    }
