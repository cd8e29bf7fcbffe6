"""Stable Diffusion XL."""

from __future__ import annotations

from typing import Any, ClassVar, cast, final

import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from torch import Tensor

from understudy.generators.diffusers_generator import AbstractDiffusersGenerator
from understudy.generators.generator import Conditioning
from understudy.generators.pipeline_checks import Layout


@final
class StableDiffusionXLGenerator(AbstractDiffusersGenerator):
    """Two CLIP text encoders side by side, and a UNet conditioned on image sizes.

    Podell et al. 2023 (arXiv:2307.01952). A token replaces the last of the joined states. In adaptation and
    in drawing, the UNet gets the sizes of uncropped images at the set resolution. If the configuration of the
    pipeline says so, the states of an empty prompt are zeros, as in pre-training.
    """

    from_text: ClassVar[Any] = StableDiffusionXLPipeline
    from_image: ClassVar[Any] = StableDiffusionXLImg2ImgPipeline
    layout: ClassVar[Layout] = Layout(encoders=("text_encoder", "text_encoder_2"))
    vae_may_overflow: ClassVar[bool] = True
    # Classifiers would learn the watermark.
    draw_options: ClassVar[dict[str, Any]] = {"add_watermarker": False}

    def _encode(self, prompts: list[str]) -> Conditioning:
        states, _, pooled, _ = self.pipeline.encode_prompt(
            prompts, device=self.device, do_classifier_free_guidance=False
        )
        if self.pipeline.config.force_zeros_for_empty_prompt:
            written = torch.tensor([prompt != "" for prompt in prompts], device=states.device)
            states, pooled = states * written.view(-1, 1, 1), pooled * written.view(-1, 1)
        return Conditioning(states, pooled)

    def _predict(self, x_t: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        height, width = (side * self.pipeline.vae_scale_factor for side in x_t.shape[-2:])
        # Original size, top left corner of the crop, target size: the defaults of diffusers' pipelines.
        sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=x_t.dtype, device=x_t.device)
        added = {"text_embeds": conditioning.pooled, "time_ids": sizes.repeat(len(x_t), 1)}
        answer = self.pipeline.unet(
            x_t, time, encoder_hidden_states=conditioning.states, added_cond_kwargs=added
        )
        return cast("Tensor", answer.sample)

    def _token_limits(self) -> list[tuple[Any, int]]:
        tokenizers = (self.pipeline.tokenizer, self.pipeline.tokenizer_2)
        return [(tokenizer, tokenizer.model_max_length) for tokenizer in tokenizers]
