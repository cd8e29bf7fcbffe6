"""FLUX.1: dev, whose guidance is distilled, and schnell, which draws in few steps without guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast, final

import torch
from diffusers import FluxImg2ImgPipeline, FluxPipeline
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from understudy.core.errors import InputError
from understudy.generators.diffusers_generator import AbstractDiffusersGenerator
from understudy.generators.generator import Conditioning, PlanRow
from understudy.generators.pipeline_checks import Layout
from understudy.generators.schedules import FlowSchedule, Schedule

_MAX_T5_TOKENS = {True: 512, False: 256}
"""With guidance as an input of the transformer (dev) and without (schnell), as they were trained."""


@final
class FluxGenerator(AbstractDiffusersGenerator):
    """T5, the pooled state of CLIP, and a transformer trained by flow matching (Black Forest Labs 2024).

    The states are those of T5, padding included; a token replaces the last one. Only the pooled state of CLIP
    is used, so a prompt may be longer than CLIP reads.

    The transformer of ``dev`` has guidance as an input: it was distilled from classifier-free guidance (Meng
    et al. 2023, arXiv:2210.03142). ``guidance_scale`` sets this input, which costs no time, and there are no
    negative prompts. 1 means no guidance, as for all generators, and is what adaptation trains with, because
    its loss compares predictions with real images, not with guided ones. The authors draw with 3.5.

    A transformer without this input, such as that of ``schnell``, is guided in the ordinary way, with
    negative prompts; ``schnell`` itself was trained to draw in 1 to 4 steps without guidance.

    The transformer joins 2 x 2 latent pixels. If the scheduler shifts noise by the size of images, as that of
    ``dev``, the shift is that of the generator's resolution, for adapting and for drawing.
    """

    from_text: ClassVar[Any] = FluxPipeline
    from_image: ClassVar[Any] = FluxImg2ImgPipeline
    layout: ClassVar[Layout] = Layout("transformer", "joint_attention_dim", ("text_encoder_2",), packing=2)
    rounds_steps_up: ClassVar[bool] = True

    @classmethod
    def _schedule_of(cls, pipeline: Any, image_size: int) -> Schedule:
        patch = pipeline.vae_scale_factor * cls.layout.packing
        num_patches = (image_size // patch) ** 2
        return FlowSchedule(pipeline.scheduler.config, num_patches=num_patches, even_steps=True)

    @property
    def _is_guidance_distilled(self) -> bool:
        return bool(self.pipeline.transformer.config.guidance_embeds)

    def _encode(self, prompts: list[str]) -> Conditioning:
        states, pooled, _ = self.pipeline.encode_prompt(
            prompts,
            None,
            device=self.device,
            max_sequence_length=_MAX_T5_TOKENS[self._is_guidance_distilled],
        )
        return Conditioning(states, pooled)

    def _predict(self, x_t: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        states, device = conditioning.states, x_t.device
        # Each position of the image has its row and column; those of the text have none.
        rows, columns = (torch.arange(side / self.layout.packing, device=device) for side in x_t.shape[-2:])
        places = torch.cartesian_prod(torch.zeros(1, device=device), rows, columns)
        answer = self.pipeline.transformer(
            hidden_states=self._pack(x_t),
            timestep=time.to(x_t.dtype) / 1000,
            guidance=torch.ones(len(x_t), device=device) if self._is_guidance_distilled else None,
            pooled_projections=conditioning.pooled,
            encoder_hidden_states=states,
            txt_ids=torch.zeros(states.shape[1], 3, device=device),
            img_ids=places,
        )
        return self._unpack(cast("Tensor", answer.sample))

    def _token_limits(self) -> list[tuple[Any, int]]:
        return [(self.pipeline.tokenizer_2, _MAX_T5_TOKENS[self._is_guidance_distilled])]

    def _guidance(self, rows: Sequence[PlanRow]) -> dict[str, Any]:
        scale = rows[0].guidance_scale
        if not self._is_guidance_distilled:
            guidance = super()._guidance(rows)
            return {"true_cfg_scale": guidance.pop("guidance_scale"), **guidance}
        negative = [row.negative_prompt for row in rows if row.negative_prompt]
        if scale > 1 and negative:
            raise InputError(
                "draw.negative_prompt must be empty for a pipeline with distilled guidance, as FLUX.1 dev, "
                f"got {negative[0]!r}: its transformer takes one prompt; set draw.negative_prompt=\"''\""
            )
        return {"guidance_scale": scale}

    def _pack(self, latents: Tensor) -> Tensor:
        return pixel_unshuffle(latents, self.layout.packing).flatten(2).transpose(1, 2)

    def _unpack(self, latents: Tensor) -> Tensor:
        size = round(latents.shape[1] ** 0.5)
        return pixel_shuffle(latents.transpose(1, 2).unflatten(2, (size, size)), self.layout.packing)
