"""Stable Diffusion XL."""

from __future__ import annotations

from typing import Any, ClassVar, cast, final

import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from torch import Tensor

from understudy.generators.diffusers_generator import AbstractDiffusersGenerator
from understudy.generators.generator import Conditioning
from understudy.generators.schedules import DiffusionSchedule, Schedule
from understudy.generators.settings import GeneratorSettings


@final
class StableDiffusionXLGenerator(AbstractDiffusersGenerator):
    """Two CLIP text encoders, side by side, and a UNet that is told image sizes. Podell et al. 2023 (arXiv:2307.01952).

    A token takes the last position of both encoders' joined states. Images are adapted on and drawn as uncropped ones of the set
    resolution. An empty prompt is all zeros where the pipeline says so, as in its own pre-training, when adapting as well as when drawing.
    """

    from_text: ClassVar[Any] = StableDiffusionXLPipeline
    from_image: ClassVar[Any] = StableDiffusionXLImg2ImgPipeline
    part = "unet"
    draw_options: ClassVar[dict[str, Any]] = {"add_watermarker": False}  # classifiers would learn the watermark

    @classmethod
    def read_schedule(cls, config: Any) -> Schedule:
        """Variance preserving."""
        return DiffusionSchedule(config)

    @property
    def token_width(self) -> int:
        """D of the states, both encoders' together."""
        return int(self.pipeline.unet.config.cross_attention_dim)

    @classmethod
    def _loading(cls, settings: GeneratorSettings) -> dict[str, Any]:
        return {}

    def _patch_size(self) -> int:
        return 1

    def _encode(self, prompts: list[str]) -> Conditioning:
        states, _, pooled, _ = self.pipeline.encode_prompt(prompts, device=self.device, do_classifier_free_guidance=False)
        if self.pipeline.config.force_zeros_for_empty_prompt:
            written = torch.tensor([prompt != "" for prompt in prompts], device=states.device)
            states, pooled = states * written.view(-1, 1, 1), pooled * written.view(-1, 1)
        return Conditioning(states, pooled)

    def _predict(self, x_t: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        height, width = (side * self.pipeline.vae_scale_factor for side in x_t.shape[-2:])
        # Original size, crop from the top left, target size: as the pipelines fill them in by default.
        time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=x_t.dtype, device=x_t.device).repeat(len(x_t), 1)
        added = {"text_embeds": conditioning.pooled, "time_ids": time_ids}
        return cast("Tensor", self.pipeline.unet(x_t, time, encoder_hidden_states=conditioning.states, added_cond_kwargs=added).sample)

    def _token_limits(self) -> list[tuple[Any, int]]:
        return [(tokenizer, tokenizer.model_max_length) for tokenizer in (self.pipeline.tokenizer, self.pipeline.tokenizer_2)]

    def _from_image_options(self, strength: float, steps: int) -> dict[str, Any]:
        return {"strength": strength}
