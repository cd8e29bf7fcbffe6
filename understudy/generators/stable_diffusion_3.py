"""Stable Diffusion 3 and 3.5."""

from __future__ import annotations

from typing import Any, ClassVar, cast, final

from diffusers import StableDiffusion3Img2ImgPipeline, StableDiffusion3Pipeline
from torch import Tensor

from understudy.generators.diffusers_generator import AbstractDiffusersGenerator
from understudy.generators.generator import Conditioning
from understudy.generators.pipeline_checks import Layout
from understudy.generators.pipeline_index import read_index
from understudy.generators.schedules import FlowSchedule, Schedule
from understudy.generators.settings import GeneratorSettings

_MAX_T5_TOKENS = 256  # default of diffusers' pipelines; T5 itself has no limit


@final
class StableDiffusion3Generator(AbstractDiffusersGenerator):
    """Two CLIP text encoders, optionally T5, and a transformer trained by flow matching.

    Esser et al. 2024 (arXiv:2403.03206). The states of CLIP, padded to the width of T5, come first, followed
    by those of T5, or by zeros without T5. A token replaces the last state, which is padding of T5.
    """

    from_text: ClassVar[Any] = StableDiffusion3Pipeline
    from_image: ClassVar[Any] = StableDiffusion3Img2ImgPipeline
    layout: ClassVar[Layout] = Layout("transformer", "joint_attention_dim", encoders=())
    rounds_steps_up: ClassVar[bool] = True

    @classmethod
    def _loading(cls, settings: GeneratorSettings) -> dict[str, Any]:
        # diffusers loads a pipeline that was saved without T5 only if its parts are passed as None.
        index = read_index(settings.config or settings.name, settings.revision)
        return {
            part: None
            for part in ("text_encoder_3", "tokenizer_3")
            if index.get(part, (None, None))[0] is None
        }

    @classmethod
    def _schedule_of(cls, pipeline: Any, image_size: int) -> Schedule:
        patch = pipeline.vae_scale_factor * pipeline.transformer.config.patch_size
        return FlowSchedule(pipeline.scheduler.config, num_patches=(image_size // patch) ** 2)

    def _encode(self, prompts: list[str]) -> Conditioning:
        states, _, pooled, _ = self.pipeline.encode_prompt(
            prompts,
            None,
            None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=_MAX_T5_TOKENS,
        )
        return Conditioning(states, pooled)

    def _predict(self, x_t: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        answer = self.pipeline.transformer(
            hidden_states=x_t,
            timestep=time,
            encoder_hidden_states=conditioning.states,
            pooled_projections=conditioning.pooled,
        )
        return cast("Tensor", answer.sample)

    def _token_limits(self) -> list[tuple[Any, int]]:
        # diffusers cuts for both CLIP encoders at the limit of the first.
        limit = self.pipeline.tokenizer.model_max_length
        limits = [(self.pipeline.tokenizer, limit), (self.pipeline.tokenizer_2, limit)]
        if self.pipeline.text_encoder_3 is not None:
            limits.append((self.pipeline.tokenizer_3, _MAX_T5_TOKENS))
        return limits
