"""A diffusers pipeline with what belongs to it, loaded, checked and on its device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from understudy.generators.autoencoders import replace_autoencoder
from understudy.generators.image_features import ImageFeatures, image_encoder_of
from understudy.generators.memory import Offload, check_memory_settings, place, safe_autoencoder
from understudy.generators.pipeline_checks import Layout, check_safety_checker, image_size_of, load_complete
from understudy.generators.settings import GeneratorSettings


@final
@dataclass(frozen=True, kw_only=True)
class Parts:
    """A pipeline and what is used with it.

    Attributes:
        pipeline: plain diffusers pipeline, on its device.
        vae: its autoencoder, or a float32 copy if it would overflow in half precision.
        image_size: width and height of drawn images in pixels.
        features: image encoder, or None.
        offload: networks that wait in CPU memory, or None.
    """

    pipeline: Any
    vae: Any
    image_size: int
    features: ImageFeatures | None
    offload: Offload | None


def load_parts(
    pipeline_class: Any,
    layout: Layout,
    settings: GeneratorSettings,
    *,
    device: torch.device,
    options: dict[str, Any],
    vae_may_overflow: bool,
) -> Parts:
    """Load a pipeline.

    Args:
        pipeline_class: of diffusers.
        layout: of its denoiser.
        settings: what to load, and how.
        device: device of the networks.
        options: additional arguments of ``from_pretrained``.
        vae_may_overflow: whether there are such pipelines with autoencoders that overflow in float16.

    Raises:
        InputError: if it cannot be loaded, or a setting does not fit.
    """
    check_memory_settings(settings, device)
    dtype = getattr(torch, settings.precision)
    # A checkpoint in a single file holds no image encoder.
    of_file = {"config": settings.config, "image_encoder": None}
    of_folder = {"variant": settings.variant, "revision": settings.revision}
    source = of_file if Path(settings.name).is_file() else of_folder
    every_option = {"dtype": dtype, "adapters": settings.adapters, **source, **options}
    pipeline = load_complete(pipeline_class, layout, settings.name, every_option)
    check_safety_checker(pipeline, settings)
    size = image_size_of(pipeline, layout, settings)  # which FLUX.1 states in its own autoencoder alone
    if settings.autoencoder is not None:
        replace_autoencoder(pipeline, settings.autoencoder, dtype)
    features = image_encoder_of(pipeline, settings.image_encoder, dtype)
    vae = safe_autoencoder(pipeline.vae, may_overflow=vae_may_overflow)
    others = [vae, features.encoder] if features else [vae]
    offload = place(pipeline, others, layout.part, device, offload=settings.cpu_offload)
    return Parts(pipeline=pipeline, vae=vae, image_size=size, features=features, offload=offload)
