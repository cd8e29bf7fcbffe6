"""Sana."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar, cast, final

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SanaPipeline
from torch import Tensor

from understudy.core.errors import InputError
from understudy.generators.diffusers_generator import AbstractDiffusersGenerator
from understudy.generators.generator import Conditioning, PlanRow, encode_distinct
from understudy.generators.pipeline_checks import Layout
from understudy.generators.schedules import FlowSchedule, Schedule
from understudy.generators.settings import GeneratorSettings

_MAX_TOKENS = 300  # default of diffusers' pipeline; Gemma itself takes more


@final
class SanaGenerator(AbstractDiffusersGenerator):
    """Gemma 2, an autoencoder that reduces images by 32, and a linear transformer trained by flow matching.

    Xie et al. 2025 (arXiv:2410.10629). As in diffusers' pipeline, prompts are put into small letters, and an
    instruction to describe the image in detail precedes them, except empty and negative ones. The transformer
    does not attend to padding; a token replaces the last state, and is attended to.

    The autoencoder is deterministic. diffusers has no pipeline that starts from an image, so the latents of
    the image are noised here, and its pipeline takes the remaining steps.
    """

    from_text: ClassVar[Any] = SanaPipeline
    from_image: ClassVar[Any] = SanaPipeline
    layout: ClassVar[Layout] = Layout("transformer", "caption_channels", size_unit=32)

    @classmethod
    def _loading(cls, settings: GeneratorSettings) -> dict[str, Any]:
        if settings.precision == "float16":
            raise InputError(
                "generator.precision must be float32 or bfloat16 for Sana, got float16, which cannot hold "
                "the numbers of its text encoder Gemma 2: set generator.precision=bfloat16"
            )
        return {}

    @classmethod
    def _schedule_of(cls, pipeline: Any, image_size: int) -> Schedule:
        config = pipeline.scheduler.config
        if config.get("use_flow_sigmas") and config.get("prediction_type") == "flow_prediction":
            # DPM-Solver++ on the same path, with which Sana is published
            pipeline.scheduler = FlowMatchEulerDiscreteScheduler(
                num_train_timesteps=config["num_train_timesteps"], shift=config["flow_shift"]
            )
        return FlowSchedule(pipeline.scheduler.config)

    def _encode(self, prompts: list[str]) -> Conditioning:
        written = torch.tensor([prompt != "" for prompt in prompts])
        if not written.any():
            return self._encode_as_written(prompts)
        instructed = self._encode_as_written(prompts, instruction=_instruction())
        return instructed if written.all() else instructed.where(written, self._encode_as_written([""]))

    def _encode_negative(self, prompts: list[str]) -> Conditioning:
        with torch.no_grad():
            conditioning = encode_distinct(self._encode_as_written, prompts)
        self._park()
        return conditioning

    def _encode_as_written(self, prompts: list[str], instruction: list[str] | None = None) -> Conditioning:
        states, attended, _, _ = self.pipeline.encode_prompt(
            prompts,
            do_classifier_free_guidance=False,
            device=self.device,
            max_sequence_length=_MAX_TOKENS,
            complex_human_instruction=instruction,
        )
        return Conditioning(states, attended=attended)

    def _predict(self, x_t: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        transformer = self.pipeline.transformer
        answer = transformer(
            x_t,
            encoder_hidden_states=conditioning.states.to(x_t.dtype),
            encoder_attention_mask=conditioning.attended,
            timestep=time * transformer.config.timestep_scale,
        )
        return cast("Tensor", answer.sample)

    def _token_limits(self) -> list[tuple[Any, int]]:
        return [(self.pipeline.tokenizer, _MAX_TOKENS - 1)]  # the last word of the instruction is a state too

    def _written_out(self, prompt: str) -> str:
        return prompt.lower().strip()

    def _guidance(self, rows: Sequence[PlanRow]) -> dict[str, Any]:
        # Every size is drawn as it is, rather than in the nearest size that the model was trained for.
        return super()._guidance(rows) | {"negative_prompt": None, "use_resolution_binning": False}

    def _start(self, pixels: Tensor, rows: Sequence[PlanRow], solver: Any) -> dict[str, Any]:
        _, steps, _, strength, _ = rows[0].shared
        left = np.linspace(solver.sigma_max, solver.sigma_min, steps)[steps - int(steps * strength) :]
        solver.set_timesteps(sigmas=left)
        sigma = float(solver.sigmas[0])
        x0 = self.encode_images(pixels).float()
        latents = (1 - sigma) * x0 + sigma * self._noise(rows)
        return {"latents": latents, "sigmas": left, "height": self.image_size, "width": self.image_size}

    def _images(self, pipeline: Any, call: dict[str, Any]) -> np.ndarray:
        # As the pipeline decodes. But if memory runs out, it only warns, and then fails for want of images;
        # here the error gets out, and fewer images are drawn at once.
        vae = pipeline.vae
        latents = pipeline(**call, output_type="latent").images.to(vae.dtype)
        decoded = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
        return cast("np.ndarray", pipeline.image_processor.postprocess(decoded, output_type="np"))


def _instruction() -> list[str]:
    """What Sana says to its text encoder before each prompt: the default of diffusers' pipeline."""
    parameters = inspect.signature(SanaPipeline.__call__).parameters
    return cast("list[str]", parameters["complex_human_instruction"].default)
