"""Stable Diffusion 3 and 3.5."""

from __future__ import annotations

from typing import Any, ClassVar, cast, final

from diffusers import StableDiffusion3Img2ImgPipeline, StableDiffusion3Pipeline
from torch import Tensor

from understudy.generators.diffusers_generator import AbstractDiffusersGenerator
from understudy.generators.generator import Conditioning
from understudy.generators.pipeline_index import read_index
from understudy.generators.schedules import FlowSchedule, Schedule
from understudy.generators.settings import GeneratorSettings

_MAX_T5_TOKENS = 256  # the default of diffusers' pipelines; T5 itself has no limit


@final
class StableDiffusion3Generator(AbstractDiffusersGenerator):
    """Two CLIP text encoders, T5 where it is loaded, and a transformer trained by flow matching. Esser et al. 2024 (arXiv:2403.03206).

    The states are those of CLIP followed by those of T5, or by zeros in their place. A token takes the last position of all, which is
    padding of T5.
    """

    from_text: ClassVar[Any] = StableDiffusion3Pipeline
    from_image: ClassVar[Any] = StableDiffusion3Img2ImgPipeline
    part = "transformer"
    draw_options: ClassVar[dict[str, Any]] = {}

    @classmethod
    def read_schedule(cls, config: Any) -> Schedule:
        """Flow matching."""
        return FlowSchedule(config)

    @property
    def token_width(self) -> int:
        """D of the states, to which those of CLIP are padded."""
        return int(self.pipeline.transformer.config.joint_attention_dim)

    @classmethod
    def _loading(cls, settings: GeneratorSettings) -> dict[str, Any]:
        # A pipeline saved without T5 can only be loaded by saying so.
        index = read_index(settings.name)
        return {part: None for part in ("text_encoder_3", "tokenizer_3") if index.get(part, (None, None))[0] is None}

    def _patch_size(self) -> int:
        return int(self.pipeline.transformer.config.patch_size)

    def _encode(self, prompts: list[str]) -> Conditioning:
        states, _, pooled, _ = self.pipeline.encode_prompt(
            prompts, None, None, device=self.device, do_classifier_free_guidance=False, max_sequence_length=_MAX_T5_TOKENS
        )
        return Conditioning(states, pooled)

    def _predict(self, x_t: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        transformer = self.pipeline.transformer
        answer = transformer(
            hidden_states=x_t, timestep=time, encoder_hidden_states=conditioning.states, pooled_projections=conditioning.pooled
        )
        return cast("Tensor", answer.sample)

    def _token_limits(self) -> list[tuple[Any, int]]:
        # diffusers cuts for both CLIP encoders where the first one must.
        limit = self.pipeline.tokenizer.model_max_length
        clip = [(self.pipeline.tokenizer, limit), (self.pipeline.tokenizer_2, limit)]
        return clip + ([(self.pipeline.tokenizer_3, _MAX_T5_TOKENS)] if self.pipeline.text_encoder_3 is not None else [])

    def _from_image_options(self, strength: float, steps: int) -> dict[str, Any]:
        # This pipeline rounds the executed steps up where the others round down.
        executed = int(steps * strength)
        return {"strength": (executed - 0.5) / steps, "height": self.image_size, "width": self.image_size}
