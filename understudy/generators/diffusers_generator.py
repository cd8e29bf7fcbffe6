"""The common part of all generators that are diffusers pipelines; each family has a file for the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.functional.denoising import PredictionType
from understudy.generators.autoencoders import moments
from understudy.generators.denoiser_files import load_denoiser, save_denoiser
from understudy.generators.exemplar_guidance import ExemplarGuidance, guide
from understudy.generators.fingerprints import Fingerprint
from understudy.generators.generator import Conditioning, PlanRow, encode_distinct
from understudy.generators.image_features import ImageFeatures, check_image_encoder
from understudy.generators.memory import save_memory
from understudy.generators.pipeline_checks import Layout
from understudy.generators.pipeline_parts import Parts, load_parts
from understudy.generators.precision import computing
from understudy.generators.samplers import build_sampler
from understudy.generators.schedules import DiffusionSchedule, Schedule, strength_near
from understudy.generators.settings import GeneratorSettings
from understudy.generators.sources import noise_of, shared_by, source_pixels
from understudy.generators.token_limits import check_lengths

_WEIGHT_METHODS = ("lora", "full")  # the other methods learn tokens
_DECODED_AT_ONCE = 16 * 512**2  # pixels; of more, layers have 2^31 values, too many for a GPU


class AbstractDiffusersGenerator(ABC):
    """A pipeline with autoencoder, text encoders and a denoiser, on one device.

    Args:
        parts: the pipeline and what is used with it.
        settings: which files it was read from, and memory savers.

    Raises:
        InputError: for a scheduler or a memory saver that does not fit the family.

    Attributes:
        pipeline: the diffusers pipeline.
        from_text, from_image: pipeline classes of the family.
        layout: name and inputs of the denoiser.
        draw_options: additional arguments of the pipeline classes for drawing.
        vae_may_overflow: whether the family has autoencoders that overflow in float16.
        rounds_steps_up: whether the image-to-image pipeline rounds the number of executed steps up.
    """

    from_text: ClassVar[Any]
    from_image: ClassVar[Any]
    layout: ClassVar[Layout] = Layout()
    draw_options: ClassVar[dict[str, Any]] = {}
    vae_may_overflow: ClassVar[bool] = False
    rounds_steps_up: ClassVar[bool] = False

    def __init__(self, parts: Parts, settings: GeneratorSettings) -> None:
        self.pipeline = parts.pipeline
        self.pipeline.set_progress_bar_config(disable=True)
        self._vae, self._features, self._offload = parts.vae, parts.features, parts.offload
        self._image_size = parts.image_size
        self._schedule = self._schedule_of(parts.pipeline, parts.image_size)
        self._has_adapter = False
        self._freeze()
        self._fingerprint = Fingerprint(self._networks(), settings)
        save_memory(self.pipeline, self._vae, self.denoiser, settings, device=str(self.device))

    @classmethod
    def _loading(cls, settings: GeneratorSettings) -> dict[str, Any]:
        """Additional arguments of ``from_pretrained``."""
        return {}

    @classmethod
    def _schedule_of(cls, pipeline: Any, image_size: int) -> Schedule:
        """Training timesteps of a pipeline that draws images of this width and height in pixels."""
        return DiffusionSchedule(pipeline.scheduler.config)

    @abstractmethod
    def _encode(self, prompts: list[str]) -> Conditioning:
        """Encode texts for the denoiser."""

    @abstractmethod
    def _predict(self, x_t: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        """The denoiser's prediction for x_t (B, C, h, w), same shape; times (B,) are in its unit."""

    @abstractmethod
    def _token_limits(self) -> list[tuple[Any, int]]:
        """Each tokenizer with the largest number of tokens, begin and end included, for its encoder."""

    def _encode_negative(self, prompts: list[str]) -> Conditioning:
        """Encode texts to draw away from; one row per text."""
        return encode_distinct(self.encode_prompts, prompts)

    def _guidance(self, rows: Sequence[PlanRow]) -> dict[str, Any]:
        """Arguments of the pipeline for guidance away from the negative prompts."""
        scale = rows[0].guidance_scale
        if scale <= 1:
            return {"guidance_scale": scale}
        negative = self._encode_negative([row.negative_prompt for row in rows])
        return {"guidance_scale": scale, **negative.arguments(prefix="negative_")}

    def _start(self, pixels: Tensor, rows: Sequence[PlanRow], solver: Any) -> dict[str, Any]:
        """Arguments with which ``from_image`` takes the last int(steps * strength) steps of a solver.

        Args:
            pixels: the real image that each row starts from, uint8 (N, 3, H, W).
            rows: N rows.
            solver: on whose grid drawing starts.
        """
        _, steps, _, strength, _ = rows[0].shared
        image = pixels.to(self.device, self.pipeline.vae.dtype) / 255
        if not self.rounds_steps_up:
            return {"image": image, "strength": strength}
        strength = (int(steps * strength) - 0.5) / steps
        return {"image": image, "strength": strength, "height": self.image_size, "width": self.image_size}

    def _images(self, pipeline: Any, call: dict[str, Any]) -> np.ndarray:
        """What a pipeline draws when it is called with these arguments, float (N, H, W, 3) in [0, 1]."""
        return cast("np.ndarray", pipeline(**call, output_type="np").images)

    def _pack(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) in the form in which the pipeline hands them to its solver."""
        return latents

    def _unpack(self, latents: Tensor) -> Tensor:
        """The inverse of :meth:`_pack`."""
        return latents

    @property
    def token_width(self) -> int:
        """Width D of the text states; the sum of both widths if the states of two encoders are joined."""
        return int(cast("Any", self.denoiser).config[self.layout.width_key])

    @classmethod
    def load(cls, name: str, *, device: str | torch.device = "cpu", **settings: Any) -> Self:
        """Load a pipeline of this family.

        Args:
            name: a folder with ``model_index.json``, a single file (then with ``config``), or a hub name.
            device: device of the networks.
            settings: other fields of :class:`understudy.generators.settings.GeneratorSettings`.

        Raises:
            InputError: if it cannot be loaded, the hub cannot be reached, or a setting does not fit.
        """
        return cls.from_settings(GeneratorSettings(name=name, **settings), device=device)

    @classmethod
    def from_settings(cls, settings: GeneratorSettings, *, device: str | torch.device) -> Self:
        """Load a pipeline as :meth:`load` does."""
        parts = load_parts(
            cls.from_text,
            cls.layout,
            settings,
            device=torch.device(device),
            options=cls._loading(settings),
            vae_may_overflow=cls.vae_may_overflow,
        )
        return cls(parts, settings)

    @property
    def image_size(self) -> int:
        """Width and height of drawn images in pixels."""
        return self._image_size

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the weights of all networks, shortened."""
        return self._fingerprint.of(self._networks())

    def restore(self) -> bool:
        """Take the layers out that adaptation has added; whether everything is then as it was loaded."""
        denoiser = cast("Any", self.denoiser)
        if getattr(denoiser, "peft_config", None):
            denoiser.unload_lora()
        self._freeze()
        return not self._has_adapter and self._fingerprint.is_current(self._networks())

    def _freeze(self) -> None:
        for network in (*self._networks(), self._vae):
            network.requires_grad_(requires_grad=False).eval()

    @property
    def device(self) -> torch.device:
        """Device of the denoiser, on which everything is computed."""
        return next(self.denoiser.parameters()).device

    @property
    def denoiser(self) -> nn.Module:
        """The UNet or transformer."""
        return cast("nn.Module", self.pipeline.components[self.layout.part])

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio (of powers) at each training timestep, decreasing, float32 (T,)."""
        return self._schedule.snr.to(self.device)

    @property
    def prediction_type(self) -> PredictionType:
        """What the denoiser predicts."""
        return self._schedule.prediction_type

    @property
    def feature_width(self) -> int:
        """Width F of :meth:`encode_features`.

        Raises:
            InputError: if there is no image encoder.
        """
        return self.image_encoder().width

    def available(self, class_names: Sequence[str]) -> np.ndarray | None:
        """None: there is no limit."""
        return None

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Encode images as scaled latents, the mean of :meth:`posterior`."""
        return self.posterior(pixels)[0]

    @torch.no_grad()
    def posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the normal distribution of scaled latents that encodes an image.

        Args:
            pixels: uint8 of shape (B, 3, H, W).

        Returns:
            Twice float of shape (B, C, H / f, W / f) with the reduction f of the autoencoder.
        """
        x = pixels.to(self.device, self._vae.dtype) / 127.5 - 1
        (mean, std), scale = moments(self._vae.encode(x)), self._vae.config.scaling_factor
        self._park()
        mean, std = (mean - self._latent_shift()) * scale, std * scale
        return mean.to(self._dtype()), std.to(self._dtype())

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, h, w) to pixels, float32 (B, 3, H, W), about -1 to 1, differentiably."""
        latents = latents / self._vae.config.scaling_factor + self._latent_shift()
        return cast("Tensor", self._vae.decode(latents.to(self._vae.dtype)).sample.float())

    def encode_features(self, pixels: Tensor) -> Tensor:
        """Projected features, float32 (B, F), of pixels, float (B, 3, H, W) in [-1, 1], differentiably.

        Raises:
            InputError: if there is no image encoder.
        """
        return self.image_encoder()(pixels, device=self.device)

    def check_prompts(self, prompts: Sequence[str], *, keep_last: bool) -> None:
        """See :meth:`understudy.generators.generator.Generator.check_prompts`."""
        written = {prompt: self._written_out(prompt) for prompt in prompts}
        for tokenizer, limit in self._token_limits():
            check_lengths(written, tokenizer, limit, keep_last=keep_last)

    def encode_prompts(self, prompts: Sequence[str], *, gradients: bool = False) -> Conditioning:
        """Encode B texts as states, float (B, L, D), and pooled vectors where the denoiser takes them.

        Args:
            prompts: B texts.
            gradients: keep the graph to the learned tokens, unless gradients are switched off.
        """
        with torch.set_grad_enabled(gradients and torch.is_grad_enabled()):
            conditioning = self._encode(list(prompts))
        self._park()
        return conditioning

    def learn_classes(self, words: Sequence[str], *, seed: int) -> None:  # noqa: B027  no family needs it
        """Do nothing: prompts are free text."""

    def learn_images(self, train: LabelledSet) -> None:  # noqa: B027  no family needs it
        """Do nothing: the network was trained on other images."""

    def learn_augmentation(self, num_parameters: int) -> None:
        """Not available: the denoiser was pretrained without parameters of augmentations.

        Raises:
            InputError: always.
        """
        raise InputError(
            "adapt.augmentation_probability needs the generator 'class_conditional', because the denoiser of "
            f"{type(self.pipeline).__name__} takes no parameters of augmentations: leave it out"
        )

    def learn_tokens(
        self, names: Sequence[str], *, num_vectors: int, initial_word: str
    ) -> list[nn.Parameter]:
        """Add tokens that prompts may use; see :func:`understudy.generators.learned_tokens.learn_tokens`.

        Raises:
            InputError: if the family cannot learn tokens, a name is taken, or the initial word is empty.
        """
        raise self._no_tokens()

    def denoising_residual(self, x0: Tensor, eps: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """Prediction minus target, with gradients to the denoiser.

        Args:
            x0: clean latents, float of shape (B, C, h, w).
            eps: standard normal noise, as x0.
            t: timesteps, int64 of shape (B,).
            conditioning: B rows from :meth:`encode_prompts`.

        Returns:
            float32, as x0.
        """
        x_t = self._schedule.noised(x0, eps, t)
        prediction = self._predict(x_t.to(self._dtype()), self._schedule.network_time(t), conditioning)
        return prediction.float() - self._schedule.target(x0, eps, t).float()

    def strength_at(self, snr: float, *, sampler: str, steps: int) -> float:
        """The strength, in (0, 1], at which drawing starts at the grid point nearest to an SNR.

        Raises:
            InputError: for a sampler that is unknown or does not fit the generator, or cannot take so many
                steps.
        """
        return strength_near(snr, self._schedule, self._solver(sampler), sampler=sampler, steps=steps)

    @torch.inference_mode()
    def draw(
        self, rows: Sequence[PlanRow], sources: LabelledSet | None = None, tokens: Tensor | None = None
    ) -> np.ndarray:
        """Draw one image per row.

        Args:
            rows: N rows with the same sampler, steps, guidance scale, strength and precision.
            sources: real train images, needed by rows with a strength below 1 or with an exemplar.
            tokens: image features, float (N, D), that replace the last state of the prompts, but not of the
                negative prompts.

        Returns:
            uint8 of shape (N, 3, H, W). Row i and token i decide image i, up to rounding within the batch.

        Raises:
            ValueError: for rows that differ in a shared setting, or tokens of another shape.
            InputError: if a source image is missing or not a train image, or the sampler does not fit.
        """
        *_, precision = shared_by(rows)
        with computing(precision, self._dtype(), self.device):
            images = self._draw(rows, sources, tokens)
        self._park()
        levels = np.round(np.nan_to_num(images) * 255)  # a failed image is black, and curation rejects it
        return cast("np.ndarray", levels.astype(np.uint8).transpose(0, 3, 1, 2))

    def _draw(
        self, rows: Sequence[PlanRow], sources: LabelledSet | None, tokens: Tensor | None
    ) -> np.ndarray:
        """As :meth:`draw`, but float (N, H, W, 3) in [0, 1]."""
        sampler, steps, _, strength, _ = shared_by(rows)
        conditional = encode_distinct(self.encode_prompts, [row.prompt for row in rows])
        if tokens is not None:
            conditional = conditional.with_last(tokens)
        call: dict[str, Any] = conditional.arguments() | self._guidance(rows)
        call |= {
            "num_inference_steps": steps,
            "generator": [torch.Generator().manual_seed(row.seed) for row in rows],
        }
        solver = self._solver(sampler)
        if strength < 1:
            call |= self._start(source_pixels(rows, sources, self.image_size), rows, solver)
        else:
            call |= {"height": self.image_size, "width": self.image_size}
            if any(row.noise_scale != 1 for row in rows):  # otherwise the pipeline draws the noise itself
                call["latents"] = self._pack(self._noise(rows))
        if any(row.exemplar_weight for row in rows):
            guidance = ExemplarGuidance(self, rows, sources)
            guide(solver, guidance, grid_snr=self._schedule.grid_snr, pack=self._pack, unpack=self._unpack)
        if len(rows) * self.image_size**2 > _DECODED_AT_ONCE:
            self.pipeline.vae.enable_slicing()
        pipeline = self._assemble(self.from_image if strength < 1 else self.from_text, solver)
        return self._images(pipeline, call)

    def save_adapter(self, folder: Path, *, method: str) -> None:
        """Write the adapted weights, or the learned tokens for ``pipeline.load_textual_inversion``.

        See :func:`understudy.generators.denoiser_files.save_denoiser` for the weights.
        """
        if method in _WEIGHT_METHODS:
            save_denoiser(self.pipeline, self.layout.part, folder, method=method)
        else:
            self._save_tokens(folder)

    def load_adapter(self, folder: Path, *, method: str, scale: float = 1.0) -> None:
        """Apply what :meth:`save_adapter` wrote; low-rank updates are merged into the weights.

        Args:
            folder: adapter folder.
            method: adaptation method.
            scale: how far the weights move towards the adapted ones, 1 is all the way; must be 1 for
                learned tokens.

        Raises:
            InputError: if the folder holds no adapter of this method, or for learned tokens with a scale
                other than 1.
        """
        self._has_adapter = True
        if method in _WEIGHT_METHODS:
            load_denoiser(self.pipeline, self.layout.part, folder, method=method, scale=scale)
        elif scale != 1:
            raise InputError(
                f"draw.adapter_scale must be 1 for learned tokens, got {scale}: a token cannot be applied in "
                "part; leave the setting out"
            )
        else:
            self._load_tokens(folder)

    def _written_out(self, prompt: str) -> str:
        """The prompt as the text encoder reads it: a token with several embeddings is several tokens."""
        return prompt

    def _save_tokens(self, folder: Path) -> None:
        raise self._no_tokens()

    def _load_tokens(self, folder: Path) -> None:
        raise self._no_tokens()

    def _no_tokens(self) -> InputError:
        return InputError(
            "a learned token needs a pipeline whose only text encoder is CLIP, Stable Diffusion 1.x, 2.x or "
            f"mini, got {type(self.pipeline).__name__}: choose another adapt.method"
        )

    def _assemble(self, pipeline_class: Any, solver: Any) -> Any:
        parts = {name: part for name, part in self.pipeline.components.items() if name != "scheduler"}
        pipeline = pipeline_class(**parts, scheduler=solver, **self.draw_options)
        pipeline._exclude_from_cpu_offload = self.pipeline._exclude_from_cpu_offload
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _solver(self, sampler: str) -> Any:
        return build_sampler(
            sampler,
            self.pipeline.scheduler.config,
            kind="flow matching" if self._schedule.is_flow else "diffusion",
        )

    def _networks(self) -> list[nn.Module]:
        """All networks that influence an image, in a fixed order."""
        names = ("vae", "text_encoder", "text_encoder_2", "text_encoder_3", self.layout.part)
        networks = [self.pipeline.components.get(name) for name in names]
        encoder = [self._features.encoder] if self._features else []
        return [network for network in networks if network is not None] + encoder

    def image_encoder(self) -> ImageFeatures:
        """The encoder of image features.

        Raises:
            InputError: if there is none.
        """
        return check_image_encoder(self._features, self.pipeline)

    def _latent_shift(self) -> float:
        return float(self._vae.config.get("shift_factor") or 0.0)

    def _dtype(self) -> torch.dtype:
        return cast("torch.dtype", cast("Any", self.denoiser).dtype)

    def _park(self) -> None:
        if self._offload is not None:
            self._offload.park()

    def _noise(self, rows: Sequence[PlanRow]) -> Tensor:
        """The initial noise of rows in the form of latents, (N, C, h, w)."""
        size = self.image_size // self.pipeline.vae_scale_factor
        shape = (self.pipeline.vae.config.latent_channels, size, size)
        return noise_of(rows, shape).to(self.device, self._dtype())
