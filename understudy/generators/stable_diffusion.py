"""Any Stable Diffusion-class pipeline of diffusers as a generator; ``mini`` is one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, final

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline, UNet2DConditionModel
from peft import get_peft_model_state_dict
from safetensors import SafetensorError
from torch import Tensor, nn

from understudy.data import LabelledSet
from understudy.errors import InputError
from understudy.functional.denoising import PredictionType, add_noise, denoising_target
from understudy.generators.samplers import build_sampler
from understudy.nouns import PlanRow


@final
class StableDiffusionGenerator:
    """A pipeline with autoencoder, CLIP text encoder and UNet, on one device.

    Attributes:
        pipeline: the plain diffusers pipeline.
    """

    def __init__(self, pipeline: StableDiffusionPipeline, *, resolution: int | None = None) -> None:
        self.pipeline = pipeline
        self.pipeline.set_progress_bar_config(disable=True)
        self._noise_schedule = pipeline.scheduler.config
        self._image_size = resolution or pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        unit = max(8, pipeline.vae_scale_factor)  # diffusers' pipelines insist on 8
        if self._image_size % unit:
            raise InputError(f"generator.resolution must be a multiple of {unit}, got {self._image_size}")
        for part in (pipeline.vae, pipeline.text_encoder, pipeline.unet):
            part.requires_grad_(requires_grad=False).eval()

    @classmethod
    def load(
        cls, name: str, *, device: str | torch.device = "cpu", precision: str = "float32", resolution: int | None = None
    ) -> StableDiffusionGenerator:
        """Load a pipeline.

        Args:
            name: a folder with ``model_index.json``, or a hub name.
            device: where to put the networks.
            precision: ``float32``, ``bfloat16`` or ``float16``.
            resolution: width and height of drawn images; the pipeline's own if not given.

        Raises:
            InputError: if it cannot be loaded, or the hub cannot be reached.
        """
        try:
            pipeline = StableDiffusionPipeline.from_pretrained(name, dtype=getattr(torch, precision), safety_checker=None)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise InputError(
                f"cannot load the generator {name!r}: {_first_line(error)}; give 'mini', a pipeline folder or a hub name"
            ) from error
        return cls(pipeline.to(device), resolution=resolution)

    @property
    def image_size(self) -> int:
        """Width and height of drawn images in pixels."""
        return int(self._image_size)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the weights of all networks, shortened."""
        digest = hashlib.sha256()
        for part in (self.pipeline.vae, self.pipeline.text_encoder, self.pipeline.unet):
            for name, value in part.state_dict().items():
                digest.update(name.encode())
                digest.update(value.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return torch.device(self.pipeline.device)

    @property
    def denoiser(self) -> nn.Module:
        """The UNet."""
        return cast("nn.Module", self.pipeline.unet)

    @property
    def alpha_bar(self) -> Tensor:
        """Cumulative signal power of the training schedule, float32 of shape (T,)."""
        return cast("Tensor", self.pipeline.scheduler.alphas_cumprod.to(self.device))

    @property
    def prediction_type(self) -> PredictionType:
        """What the UNet predicts."""
        return cast("PredictionType", self._noise_schedule.prediction_type)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """Images to scaled latents, the mean of the posterior.

        Args:
            pixels: uint8 of shape (B, 3, H, W).

        Returns:
            float of shape (B, C, H / f, W / f), f the autoencoder's reduction.
        """
        vae = self.pipeline.vae
        x = pixels.to(self.device, vae.dtype) / 127.5 - 1
        return cast("Tensor", vae.encode(x).latent_dist.mean * vae.config.scaling_factor)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Texts to the text encoder's last states, float of shape (B, L, D)."""
        states, _ = self.pipeline.encode_prompt(list(prompts), self.device, 1, do_classifier_free_guidance=False)
        return cast("Tensor", states)

    def denoising_residual(self, x0: Tensor, eps: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """Prediction minus target, with gradients to the UNet.

        Args:
            x0: clean latents, float of shape (B, C, h, w).
            eps: standard normal noise, as x0.
            t: timesteps, int64 of shape (B,).
            states: from :meth:`encode_prompts`, (B, L, D).

        Returns:
            float32, as x0.
        """
        x_t = add_noise(x0, eps, self.alpha_bar, t)
        prediction = self.pipeline.unet(x_t, t, encoder_hidden_states=states).sample
        target = denoising_target(x0, eps, self.alpha_bar, t, self.prediction_type)
        return cast("Tensor", prediction.float() - target.float())

    @torch.inference_mode()
    def draw(self, rows: Sequence[PlanRow], sources: LabelledSet | None = None) -> np.ndarray:
        """Draw one image per row.

        Args:
            rows: what to draw; all must share sampler, steps, guidance scale and strength, since they share a batch.
            sources: real train images, needed where rows start from one.

        Returns:
            uint8 of shape (N, 3, H, W). Row i decides image i, up to rounding that depends on the batch.

        Raises:
            ValueError: for rows that differ in a shared setting.
            InputError: if a row's source image is missing or is not a train image.
        """
        shared = {(row.sampler, row.steps, row.guidance_scale, row.strength) for row in rows}
        if len(shared) != 1:
            raise ValueError(f"rows of one batch must share sampler, steps, guidance scale and strength, got {sorted(shared)}")
        ((sampler, steps, guidance_scale, strength),) = shared
        parts = {name: part for name, part in self.pipeline.components.items() if name != "scheduler"}
        scheduler = build_sampler(sampler, self._noise_schedule)
        call: dict[str, Any] = {
            "prompt_embeds": self.encode_prompts([row.prompt for row in rows]),
            "negative_prompt_embeds": self.encode_prompts([row.negative_prompt for row in rows]) if guidance_scale > 1 else None,
            "num_inference_steps": steps,
            "guidance_scale": guidance_scale,
            "generator": [torch.Generator().manual_seed(row.seed) for row in rows],
            "output_type": "np",
        }
        if strength < 1:
            pipeline = StableDiffusionImg2ImgPipeline(**parts, scheduler=scheduler, requires_safety_checker=False)
            call |= {"image": self._source_images(rows, sources), "strength": strength}
        else:
            pipeline = StableDiffusionPipeline(**parts, scheduler=scheduler, requires_safety_checker=False)
            call |= {"height": self.image_size, "width": self.image_size}
        pipeline.set_progress_bar_config(disable=True)
        images = np.nan_to_num(pipeline(**call).images)  # a failed image comes out black and is rejected by its looks
        return cast("np.ndarray", np.round(images * 255).astype(np.uint8).transpose(0, 3, 1, 2))

    def save_adapter(self, folder: Path, *, method: str) -> None:
        """Write the adapted weights.

        Args:
            folder: ``lora`` writes a file for ``pipeline.load_lora_weights(folder)``, ``full`` writes ``folder/unet``
                for ``UNet2DConditionModel.from_pretrained``.
            method: ``lora`` or ``full``.
        """
        if method == "lora":
            # In peft's own key format: diffusers' older one loses the attention layers when convolutions are adapted too.
            StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=get_peft_model_state_dict(self.pipeline.unet))
        else:
            self.pipeline.unet.save_pretrained(folder / "unet")

    def load_adapter(self, folder: Path, *, method: str) -> None:
        """Apply what :meth:`save_adapter` wrote; low-rank updates are merged into the weights.

        Raises:
            InputError: if the folder holds no adapter of this method.
        """
        expected = folder / ("pytorch_lora_weights.safetensors" if method == "lora" else "unet")
        if not expected.exists():
            raise InputError(f"{folder} holds no {method} adapter: {expected.name} is missing")
        if method == "lora":
            self.pipeline.load_lora_weights(folder)
            self.pipeline.fuse_lora()
        else:
            adapted = UNet2DConditionModel.from_pretrained(folder / "unet", dtype=self.pipeline.unet.dtype)
            self.pipeline.unet.load_state_dict(adapted.state_dict())

    def _source_images(self, rows: Sequence[PlanRow], sources: LabelledSet | None) -> Tensor:
        if sources is None:
            raise InputError("drawing from real images (strength below 1) needs the train set")
        sources.require("train", purpose="drawing from real images")
        position = {name: index for index, name in enumerate(sources.ids)}
        missing = sorted({row.source_id for row in rows} - position.keys())
        if missing:
            raise InputError(f"the train set lacks the source images {', '.join(missing[:5])}: the plan was made for another set")
        pixels = sources.select([position[row.source_id] for row in rows]).pixels(self.image_size)
        return torch.from_numpy(pixels).to(self.device, self.pipeline.vae.dtype) / 255


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
