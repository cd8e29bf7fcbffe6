"""Stable Diffusion 1.x and 2.x; ``mini`` is one of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, cast, final

from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from torch import Tensor, nn

from understudy.generators.diffusers_generator import AbstractDiffusersGenerator
from understudy.generators.generator import Conditioning
from understudy.generators.learned_tokens import learn_tokens, load_tokens, save_tokens
from understudy.generators.settings import GeneratorSettings


@final
class StableDiffusionGenerator(AbstractDiffusersGenerator):
    """One CLIP text encoder and a UNet. Rombach et al. 2022 (arXiv:2112.10752)."""

    from_text: ClassVar[Any] = StableDiffusionPipeline
    from_image: ClassVar[Any] = StableDiffusionImg2ImgPipeline
    draw_options: ClassVar[dict[str, Any]] = {"requires_safety_checker": False}

    def learn_tokens(
        self, names: Sequence[str], *, num_vectors: int, initial_word: str
    ) -> list[nn.Parameter]:
        """See the base class."""
        if self._offload is not None:
            self._offload.keep(self.pipeline.text_encoder)
        return learn_tokens(self.pipeline, names, num_vectors=num_vectors, initial_word=initial_word)

    def _save_tokens(self, folder: Path) -> None:
        save_tokens(self.pipeline, folder)

    def _load_tokens(self, folder: Path) -> None:
        with nullcontext() if self._offload is None else self._offload.lifted():
            load_tokens(self.pipeline, folder)

    def _written_out(self, prompt: str) -> str:
        return str(self.pipeline.maybe_convert_prompt(prompt, self.pipeline.tokenizer))

    @classmethod
    def _loading(cls, settings: GeneratorSettings) -> dict[str, Any]:
        return {} if settings.safety_checker else {"safety_checker": None}

    def _encode(self, prompts: list[str]) -> Conditioning:
        states, _ = self.pipeline.encode_prompt(prompts, self.device, 1, do_classifier_free_guidance=False)
        return Conditioning(states)

    def _predict(self, x_t: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        unet = self.pipeline.unet
        return cast("Tensor", unet(x_t, time, encoder_hidden_states=conditioning.states).sample)

    def _token_limits(self) -> list[tuple[Any, int]]:
        return [(self.pipeline.tokenizer, self.pipeline.tokenizer.model_max_length)]
