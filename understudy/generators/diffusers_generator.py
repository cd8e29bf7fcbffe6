"""What all pipelines of diffusers have in common as generators; a file per family says what differs."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from peft import get_peft_model_state_dict
from safetensors import SafetensorError
from torch import Tensor, nn

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.functional.denoising import PredictionType, num_steps_from_snr, strength_of
from understudy.generators.generator import Conditioning, PlanRow
from understudy.generators.image_features import ImageFeatures, load_image_encoder, pipeline_image_encoder
from understudy.generators.learned_tokens import TOKENS_FILE
from understudy.generators.memory import Offload, check_memory_settings, save_memory
from understudy.generators.pipeline_index import cannot_load
from understudy.generators.samplers import build_sampler
from understudy.generators.schedules import Schedule
from understudy.generators.settings import GeneratorSettings
from understudy.generators.sources import shared_by, source_pixels


class AbstractDiffusersGenerator(ABC):
    """A pipeline with autoencoder, text encoders and a denoiser, on one device.

    Args:
        pipeline: the plain diffusers pipeline, on its device.
        vae: its autoencoder, or a copy of it in float32 where that of the pipeline would overflow.
        schedule: its training timesteps.
        settings: resolution and what saves memory.
        features: image encoder, if there is one.
        offload: networks that wait elsewhere, if any do.

    Attributes:
        pipeline: the same.
        from_text, from_image: pipeline classes of the family.
        part: the denoiser's name among the pipeline's components.
        draw_options: further arguments of these classes when drawing.
    """

    from_text: ClassVar[Any]
    from_image: ClassVar[Any]
    part: ClassVar[str]
    draw_options: ClassVar[dict[str, Any]]

    def __init__(
        self,
        pipeline: Any,
        vae: Any,
        schedule: Schedule,
        settings: GeneratorSettings,
        *,
        features: ImageFeatures | None,
        offload: Offload | None,
    ) -> None:
        self.pipeline = pipeline
        self.pipeline.set_progress_bar_config(disable=True)
        self._vae = vae
        self._schedule = schedule
        self._features = features
        self._offload = offload
        self._image_size = settings.resolution or cast("Any", self.denoiser).config.sample_size * pipeline.vae_scale_factor
        unit = max(8, pipeline.vae_scale_factor * self._patch_size())  # diffusers' pipelines insist on 8
        if self._image_size % unit:
            raise InputError(f"generator.resolution must be a multiple of {unit}, got {self._image_size}")
        for network in (*self._networks(), vae):
            network.requires_grad_(requires_grad=False).eval()
        save_memory(pipeline, self.denoiser, settings)

    @classmethod
    @abstractmethod
    def read_schedule(cls, config: Any) -> Schedule:
        """The training timesteps that a scheduler's configuration describes.

        Raises:
            InputError: if they are not those of the family.
        """

    @classmethod
    @abstractmethod
    def _loading(cls, settings: GeneratorSettings) -> dict[str, Any]:
        """Further arguments of ``from_pretrained``."""

    @abstractmethod
    def _patch_size(self) -> int:
        """Latent pixels that the denoiser joins."""

    @abstractmethod
    def _encode(self, prompts: list[str]) -> Conditioning:
        """Texts to what the denoiser takes."""

    @abstractmethod
    def _predict(self, x_t: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        """The denoiser's answer, as x_t (B, C, h, w), at times as it takes them, (B,)."""

    @abstractmethod
    def _token_limits(self) -> list[tuple[Any, int]]:
        """Tokenizers and how many tokens, with begin and end, each passes on."""

    @abstractmethod
    def _from_image_options(self, strength: float, steps: int) -> dict[str, Any]:
        """Arguments with which the image-to-image pipeline executes int(steps * strength) steps."""

    @property
    @abstractmethod
    def token_width(self) -> int:
        """D of the states."""

    @classmethod
    def load(cls, name: str, *, device: str | torch.device = "cpu", **settings: Any) -> Self:
        """Load a pipeline of this family.

        Args:
            name: a folder with ``model_index.json``, or a hub name.
            device: where to put the networks.
            settings: further fields of :class:`understudy.generators.settings.GeneratorSettings`.

        Raises:
            InputError: if it cannot be loaded, the hub cannot be reached, or a setting does not fit.
        """
        return cls.from_settings(GeneratorSettings(name=name, **settings), device=device)

    @classmethod
    def from_settings(cls, settings: GeneratorSettings, *, device: str | torch.device) -> Self:
        """As :meth:`load`, from settings."""
        check_memory_settings(settings, torch.device(device))
        dtype = getattr(torch, settings.precision)
        options = cls._loading(settings)
        try:
            pipeline = cls.from_text.from_pretrained(settings.name, dtype=dtype, **options)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise cannot_load(settings.name, error) from error
        if settings.safety_checker and pipeline.components.get("safety_checker") is None:
            raise InputError(f"generator.safety_checker must be false, got true: the pipeline {settings.name} has no safety checker")
        schedule = cls.read_schedule(pipeline.scheduler.config)
        if settings.image_encoder is None:
            features = pipeline_image_encoder(pipeline)
        else:
            features = load_image_encoder(settings.image_encoder, dtype)
            pipeline.register_modules(image_encoder=features.encoder)
        vae = _safe_autoencoder(pipeline.vae)
        offload = cls._place(pipeline, vae, torch.device(device), offload=settings.cpu_offload)
        return cls(pipeline, vae, schedule, settings, features=features, offload=offload)

    @classmethod
    def _place(cls, pipeline: Any, vae: nn.Module, device: torch.device, *, offload: bool) -> Offload | None:
        if not offload:
            pipeline.to(device)
            vae.to(device)
            return None
        networks = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
        networks.pop(cls.part).to(device)
        pipeline._exclude_from_cpu_offload = [cls.part]  # so that diffusers asks another part where to compute
        return Offload([*networks.values(), *([vae] if vae is not pipeline.vae else [])], device)

    @property
    def image_size(self) -> int:
        """Width and height of drawn images in pixels."""
        return int(self._image_size)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the weights of all networks, shortened."""
        digest = hashlib.sha256()
        for network in self._networks():
            for name, value in network.state_dict().items():
                digest.update(name.encode())
                digest.update(value.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def device(self) -> torch.device:
        """Where the denoiser is, and where everything is computed."""
        return next(self.denoiser.parameters()).device

    @property
    def denoiser(self) -> nn.Module:
        """The UNet or transformer."""
        return cast("nn.Module", self.pipeline.components[self.part])

    @property
    def snr(self) -> Tensor:
        """Signal power over noise power at each training timestep, decreasing, float32 (T,)."""
        return self._schedule.snr.to(self.device)

    @property
    def prediction_type(self) -> PredictionType:
        """What the denoiser predicts."""
        return self._schedule.prediction_type

    @property
    def feature_width(self) -> int:
        """F of :meth:`encode_features`.

        Raises:
            InputError: if there is no image encoder.
        """
        return self.image_encoder().width

    def available(self, class_names: Sequence[str]) -> np.ndarray | None:
        """Any number of images of each class: None."""
        return None

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """Images to scaled latents, the mean of the posterior.

        Args:
            pixels: uint8 of shape (B, 3, H, W).

        Returns:
            float of shape (B, C, H / f, W / f), f the autoencoder's reduction.
        """
        x = pixels.to(self.device, self._vae.dtype) / 127.5 - 1
        latents = (self._vae.encode(x).latent_dist.mean - self._latent_shift()) * self._vae.config.scaling_factor
        self._park()
        return cast("Tensor", latents.to(self._dtype()))

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) to pixels, float32 (B, 3, H, W), about -1 to 1, with gradients to the latents."""
        latents = latents / self._vae.config.scaling_factor + self._latent_shift()
        return cast("Tensor", self._vae.decode(latents.to(self._vae.dtype)).sample.float())

    def encode_features(self, pixels: Tensor) -> Tensor:
        """Pixels, float (B, 3, H, W) in [-1, 1], to projected image features, float32 (B, F), with gradients.

        Raises:
            InputError: if there is no image encoder.
        """
        return self.image_encoder()(pixels, device=self.device)

    def check_prompts(self, prompts: Sequence[str], *, keep_last: bool) -> None:
        """Refuse prompts that a tokenizer would cut.

        Args:
            prompts: texts.
            keep_last: the last position is needed for an image feature and must be padding.

        Raises:
            InputError: naming the first prompt that is too long, its tokens and the limit.
        """
        for tokenizer, limit in self._token_limits():
            allowed = limit - keep_last
            reason = ", of which the last is needed for the image feature" if keep_last else ""
            for prompt in dict.fromkeys(prompts):
                count = len(tokenizer(self._written_out(prompt), verbose=False).input_ids)
                if count > allowed:
                    raise InputError(
                        f"a prompt must have at most {allowed} tokens, begin and end included, got {count} for {prompt!r}: shorten the "
                        f"prompt or the caption; the text encoder takes {limit}{reason}"
                    )

    def encode_prompts(self, prompts: Sequence[str], *, gradients: bool = False) -> Conditioning:
        """Texts to the last states of the text encoders, float (B, L, D), and pooled ones where the denoiser takes them.

        Args:
            prompts: B texts.
            gradients: to the learned tokens, unless gradients are switched off.
        """
        with torch.set_grad_enabled(gradients and torch.is_grad_enabled()):
            conditioning = self._encode(list(prompts))
        self._park()
        return conditioning

    def learn_classes(self, words: Sequence[str], *, seed: int) -> None:  # noqa: B027  nothing to do in any family
        """Nothing to do: prompts may say anything."""

    def learn_tokens(self, names: Sequence[str], *, num_vectors: int, initial_word: str) -> list[nn.Parameter]:
        """Add tokens that prompts may then use, and whose embeddings can be trained.

        Args:
            names: of the tokens.
            num_vectors: embeddings behind each.
            initial_word: with whose embedding they begin.

        Returns:
            A parameter per token, float32 (num_vectors, D).

        Raises:
            InputError: if the family has no learned tokens, a name is taken, or the initial word is empty.
        """
        raise self._no_tokens()

    def denoising_residual(self, x0: Tensor, eps: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """Prediction minus target, with gradients to the denoiser.

        Args:
            x0: clean latents, float of shape (B, C, h, w).
            eps: standard normal noise, as x0.
            t: timesteps, int64 of shape (B,).
            conditioning: from :meth:`encode_prompts`, B rows.

        Returns:
            float32, as x0.
        """
        x_t = self._schedule.noised(x0, eps, t)
        prediction = self._predict(x_t.to(self._dtype()), self._schedule.network_time(t), conditioning)
        return prediction.float() - self._schedule.target(x0, eps, t).float()

    def strength_at(self, snr: float, *, sampler: str, steps: int) -> float:
        """The strength at which drawing starts at the point of the solver's grid nearest to an SNR, in (0, 1].

        Raises:
            InputError: for a sampler that is unknown or does not fit the generator.
        """
        solver = self._solver(sampler)
        solver.set_timesteps(steps)
        return strength_of(num_steps_from_snr(self._schedule.grid_snr(solver), snr), steps)

    @torch.inference_mode()
    def draw(self, rows: Sequence[PlanRow], sources: LabelledSet | None = None, tokens: Tensor | None = None) -> np.ndarray:
        """Draw one image per row.

        Args:
            rows: what to draw; all must share sampler, steps, guidance scale and strength, since they share a batch.
            sources: real train images, needed where rows start from one.
            tokens: image features, float (N, D), which take the last position of the prompts' states but not of the negative ones.

        Returns:
            uint8 of shape (N, 3, H, W). Row i and token i decide image i, up to rounding that depends on the batch.

        Raises:
            ValueError: for rows that differ in a shared setting, or tokens of another shape.
            InputError: if a row's source image is missing or is not a train image, or the sampler does not fit.
        """
        sampler, steps, guidance_scale, strength = shared_by(rows)
        conditional = self._encode_distinct([row.prompt for row in rows])
        if tokens is not None:
            conditional = conditional.with_last(tokens)
        negative = self._encode_distinct([row.negative_prompt for row in rows]) if guidance_scale > 1 else None
        call: dict[str, Any] = {
            **_embeddings(conditional, prefix=""),
            **(_embeddings(negative, prefix="negative_") if negative is not None else {}),
            "num_inference_steps": steps,
            "guidance_scale": guidance_scale,
            "generator": [torch.Generator().manual_seed(row.seed) for row in rows],
            "output_type": "np",
        }
        if strength < 1:
            pipeline_class = self.from_image
            sources_01 = source_pixels(rows, sources, self.image_size).to(self.device, self.pipeline.vae.dtype) / 255
            call |= {"image": sources_01, **self._from_image_options(strength, steps)}
        else:
            pipeline_class = self.from_text
            call |= {"height": self.image_size, "width": self.image_size, **self._spread_noise(rows)}
        images = np.nan_to_num(self._assemble(pipeline_class, sampler)(**call).images)  # a failed image is black: rejected by its looks
        self._park()
        return cast("np.ndarray", np.round(images * 255).astype(np.uint8).transpose(0, 3, 1, 2))

    def save_adapter(self, folder: Path, *, method: str) -> None:
        """Write the adapted weights.

        Args:
            folder: ``lora`` writes a file for ``pipeline.load_lora_weights(folder)``, ``full`` writes ``folder/unet`` or
                ``folder/transformer`` for ``from_pretrained`` of the denoiser's class; the others, which learn tokens, a file of
                embeddings by token for ``pipeline.load_textual_inversion``.
            method: of adaptation.
        """
        denoiser = cast("Any", self.denoiser)
        if method not in ("lora", "full"):
            self._save_tokens(folder)
            return
        if method == "full":
            denoiser.save_pretrained(folder / self.part)
            return
        # In peft's own key format: diffusers' older one loses the attention layers when convolutions are adapted too. Without the
        # configuration beside it, diffusers takes the scale alpha / rank to be 1.
        config = denoiser.peft_config["default"].to_dict()
        layers = {
            f"{self.part}_lora_layers": get_peft_model_state_dict(denoiser),
            # A set, whose order differs from process to process: the same weights are to give the same file.
            f"{self.part}_lora_adapter_metadata": config | {"target_modules": sorted(config["target_modules"])},
        }
        self.from_text.save_lora_weights(folder, **layers)

    def load_adapter(self, folder: Path, *, method: str, scale: float = 1.0) -> None:
        """Apply what :meth:`save_adapter` wrote; low-rank updates are merged into the weights.

        Args:
            folder: of the adapter.
            method: of adaptation.
            scale: how much of it: the weights move this share of the way from where they are to the adapted ones; 1 for learned tokens.

        Raises:
            InputError: if the folder holds no adapter of this method, or tokens shall be there in part.
        """
        expected = folder / {"lora": "pytorch_lora_weights.safetensors", "full": self.part}.get(method, TOKENS_FILE)
        if not expected.exists():
            raise InputError(f"{folder} holds no {method} adapter: {expected.name} is missing")
        if method not in ("lora", "full"):
            if scale != 1:
                raise InputError(f"draw.adapter_scale must be 1 for learned tokens, got {scale}: a token is there or not")
            self._load_tokens(folder)
            return
        if method == "lora":
            self.pipeline.load_lora_weights(folder)
            self.pipeline.fuse_lora(components=[self.part], lora_scale=scale)
            return
        denoiser = cast("Any", self.denoiser)
        adapted = type(denoiser).from_pretrained(folder / self.part, dtype=denoiser.dtype).to(self.device).state_dict()
        denoiser.load_state_dict({name: torch.lerp(base, adapted[name], scale) for name, base in denoiser.state_dict().items()})

    def _written_out(self, prompt: str) -> str:
        """The prompt as the text encoder gets it: a token of several embeddings takes several places."""
        return prompt

    def _save_tokens(self, folder: Path) -> None:
        raise self._no_tokens()

    def _load_tokens(self, folder: Path) -> None:
        raise self._no_tokens()

    def _no_tokens(self) -> InputError:
        return InputError(
            f"a learned token needs a pipeline with one text encoder, Stable Diffusion 1.x, 2.x or mini, got {type(self.pipeline).__name__}"
            ": choose another adapt.method"
        )

    def _encode_distinct(self, prompts: list[str]) -> Conditioning:
        """Each distinct prompt is encoded once; one row per prompt."""
        distinct = list(dict.fromkeys(prompts))
        index = torch.tensor([distinct.index(prompt) for prompt in prompts], device=self.device)
        return self.encode_prompts(distinct).select(index)

    def _assemble(self, pipeline_class: Any, sampler: str) -> Any:
        parts = {name: part for name, part in self.pipeline.components.items() if name != "scheduler"}
        pipeline = pipeline_class(**parts, scheduler=self._solver(sampler), **self.draw_options)
        pipeline._exclude_from_cpu_offload = self.pipeline._exclude_from_cpu_offload
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _solver(self, sampler: str) -> Any:
        return build_sampler(sampler, self.pipeline.scheduler.config, kind="flow matching" if self._schedule.is_flow else "diffusion")

    def _networks(self) -> list[nn.Module]:
        """All that decide an image, in a fixed order."""
        names = ("vae", "text_encoder", "text_encoder_2", "text_encoder_3", self.part)
        networks = [self.pipeline.components.get(name) for name in names]
        return [network for network in networks if network is not None] + ([self._features.encoder] if self._features else [])

    def image_encoder(self) -> ImageFeatures:
        """What makes image features.

        Raises:
            InputError: if there is none.
        """
        if self._features is None:
            raise InputError(
                f"image features need an image encoder, which {type(self.pipeline).__name__} here has none of: set generator.image_encoder "
                "to a CLIP vision model with projection"
            )
        return self._features

    def _latent_shift(self) -> float:
        return float(self._vae.config.shift_factor or 0.0)

    def _dtype(self) -> torch.dtype:
        return cast("torch.dtype", cast("Any", self.denoiser).dtype)

    def _park(self) -> None:
        if self._offload is not None:
            self._offload.park()

    def _spread_noise(self, rows: Sequence[PlanRow]) -> dict[str, Tensor]:
        """The noise that rows start from, where it is not as the pipeline would draw it."""
        if all(row.noise_scale == 1 for row in rows):
            return {}
        size = self.image_size // self.pipeline.vae_scale_factor
        shape = (1, self.pipeline.vae.config.latent_channels, size, size)
        noise = [row.noise_scale * torch.randn(shape, generator=torch.Generator().manual_seed(row.seed)) for row in rows]
        return {"latents": torch.cat(noise).to(self.device, self._dtype())}


def _safe_autoencoder(vae: Any) -> Any:
    """A float32 copy where its own class says that it overflows in float16, otherwise itself.

    Pipelines cast theirs there and back, which must not happen between a forward and its backward pass.
    """
    if vae.dtype == torch.float16 and vae.config.force_upcast:
        return copy.deepcopy(vae).float()
    if vae.dtype == torch.float32:
        vae.register_to_config(force_upcast=False)  # Stable Diffusion XL would cast float32 to float32, and warn
    return vae


def _embeddings(conditioning: Conditioning, *, prefix: str) -> dict[str, Tensor]:
    pooled = {} if conditioning.pooled is None else {f"{prefix}pooled_prompt_embeds": conditioning.pooled}
    return {f"{prefix}prompt_embeds": conditioning.states, **pooled}
