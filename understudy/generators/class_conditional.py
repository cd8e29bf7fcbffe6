"""A class-conditional diffusion model of pixels (EDM), trained from scratch on the target images alone.

For users without a text-to-image model, and for those who may not use one trained on other images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, final

import numpy as np
import torch
from diffusers import UNet2DModel
from safetensors import SafetensorError
from torch import Tensor, nn

from understudy.core.errors import InputError
from understudy.core.files import read_json, write_json
from understudy.core.listing import listed
from understudy.core.weight_files import incomplete_adapter
from understudy.data.labelled_set import LabelledSet
from understudy.functional.denoising import (
    PredictionType,
    add_noise,
    denoising_target,
    num_steps_from_snr,
    signal_to_noise_ratio,
    strength_of,
)
from understudy.functional.edm import SIGMA_DATA, alpha_bar, lognormal_sigmas
from understudy.generators.generator import Conditioning, PlanRow, fingerprint_of
from understudy.generators.image_statistics import ImageStatistics
from understudy.generators.patch_unet import PatchUNet
from understudy.generators.precision import computing
from understudy.generators.samplers import build_sampler
from understudy.generators.settings import GeneratorSettings
from understudy.generators.sources import noise_of, shared_by, source_pixels

_DEFAULT_SIZE = 32
_NUM_LEVELS = 1000
_FOLDER, _CLASSES = "class_conditional", "classes.json"
_IDLE = ("attention_slicing", "vae_tiling", "cpu_offload", "safety_checker", "compile")


@final
class ClassConditionalGenerator:
    """EDM with classifier-free guidance; it has no network before it learns classes or loads an adapter.

    Karras et al. 2022 (arXiv:2206.00364); guidance: Ho & Salimans 2022 (arXiv:2207.12598). Its "latents" are
    pixels divided by their standard deviation, and its prompts are the words for the classes.

    Args:
        settings: ``resolution``, ``channels``, ``patch`` and ``gradient_checkpointing`` are used.
        device: torch device.

    Raises:
        InputError: for settings that do not fit together, or have no effect on this generator.
    """

    prediction_type: PredictionType = "v_prediction"

    def __init__(self, settings: GeneratorSettings, device: str | torch.device) -> None:
        self._settings = settings
        self._device = torch.device(device)
        self._network: PatchUNet | None = None
        self._classes: tuple[str, ...] = ()
        self._set_images(ImageStatistics())
        unit = settings.patch * 2 ** (len(settings.channels) - 1)
        if self.image_size % unit:
            raise InputError(
                f"generator.resolution must be a multiple of {unit}, because the network has patches of "
                f"{settings.patch} pixels and {len(settings.channels)} resolutions, got {self.image_size}"
            )
        idle = [name for name in _IDLE if getattr(settings, name)]
        idle += ["image_encoder"] if settings.image_encoder else []
        if idle:
            raise InputError(
                f"generator.{idle[0]} has no effect on the generator 'class_conditional': leave it out"
            )
        if settings.precision == "float16":
            raise InputError(
                "the generator 'class_conditional' needs generator.precision float32 or bfloat16, got float16"
            )

    @property
    def image_size(self) -> int:
        """Width and height of drawn images in pixels."""
        return self._settings.resolution or _DEFAULT_SIZE

    def available(self, class_names: Sequence[str]) -> np.ndarray | None:
        """None: there is no limit."""
        return None

    def learn_classes(self, words: Sequence[str], *, seed: int) -> None:
        """Make a network for these classes; ``seed`` decides its random weights.

        Raises:
            InputError: if two classes have the same words.
        """
        if len(set(words)) != len(words):
            raise InputError(
                f"the generator 'class_conditional' needs different words for each class, got {listed(words)}"
            )
        self._classes = tuple(words)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._wrapped(self._new_unet(len(words)), self._settings.patch)
        for parameter in network.unet.conv_out.parameters():
            nn.init.zeros_(parameter)  # as in EDM: training starts from the prediction without a network
        self._use(network)

    def learn_images(self, train: LabelledSet) -> None:
        """Measure mean, deviation, noise levels and patches of the images that the network will learn."""
        size, patch = self.image_size, self._settings.patch
        self._set_images(ImageStatistics.measured(train, size=size, patch=patch))

    def learn_augmentation(self, num_parameters: int) -> None:
        """Condition the network on augmentations, as in EDM (appendix F.2), so that it draws without them.

        Adapters do not contain the new layer, because drawing does not use it.
        """
        cast("PatchUNet", self.denoiser).learn_augmentation(num_parameters)

    def _set_images(self, images: ImageStatistics) -> None:
        levels = images.levels
        self._images = images
        if self._network is not None:
            self._network.set_patches(images.patches)
        self._sigmas = lognormal_sigmas(
            _NUM_LEVELS,
            mean=levels.p_mean,
            std=levels.p_std,
            smallest=levels.sigma_min,
            largest=levels.sigma_max,
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the shape of the network and, once it exists, its weights, shortened."""
        shape = (self.image_size, self._settings.channels, self._settings.patch)
        # Without the layer for augmentations, which decides no image.
        networks = [] if self._network is None else [nn.ModuleDict({"unet": self._network.unet})]
        return fingerprint_of(networks, start=repr(shape).encode())

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self._device

    @property
    def denoiser(self) -> nn.Module:
        """The network.

        Raises:
            InputError: before the generator has learned classes.
        """
        if self._network is None:
            raise InputError(
                "the generator 'class_conditional' is not trained yet: adapt it (adapt.method=full), or set "
                "adapt.adapter to the adapter of another run"
            )
        return self._network

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio (of powers) at each training timestep, decreasing, float32 (T,)."""
        return signal_to_noise_ratio(self._alpha_bar, torch.arange(_NUM_LEVELS)).to(self._device)

    @property
    def token_width(self) -> int:
        """Width D of the states, which are class numbers: 1."""
        return 1

    @property
    def feature_width(self) -> int:
        """Not available: there is no image encoder.

        Raises:
            InputError: always.
        """
        raise InputError(
            "image features need an image encoder, and the generator 'class_conditional' has none: leave "
            "them out, or choose another generator"
        )

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Centre and scale pixels, uint8 (B, 3, H, W), to float32 of unit standard deviation."""
        return (pixels.to(self._device).float() / 127.5 - 1 - self._mean) / self._images.std

    def posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`encode_images` and zeros: nothing is random without an autoencoder."""
        latents = self.encode_images(pixels)
        return latents, torch.zeros_like(latents)

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Scale and shift back to pixels, float32, about -1 to 1."""
        return latents * self._images.std + self._mean

    def encode_features(self, pixels: Tensor) -> Tensor:
        """Not available, as :attr:`feature_width`."""
        raise InputError(
            f"features of {len(pixels)} images need an image encoder, and the generator 'class_conditional' "
            "has none: leave them out, or choose another generator"
        )

    def check_prompts(self, prompts: Sequence[str], *, keep_last: bool) -> None:
        """Check that every prompt names a class.

        Raises:
            InputError: for the first prompt that is not the words of a class, or for image features.
        """
        if keep_last:
            raise InputError(
                "the generator 'class_conditional' cannot use image features: set visual.kind=none"
            )
        for prompt in prompts:
            self._label(prompt)

    def encode_prompts(self, prompts: Sequence[str], *, gradients: bool = False) -> Conditioning:
        """Encode words of classes as class numbers, float32 (B, 1, 1); the empty prompt means no class."""
        labels = [self._label(prompt) for prompt in prompts]
        return Conditioning(torch.tensor(labels, dtype=torch.float32, device=self._device).view(-1, 1, 1))

    def learn_tokens(
        self, names: Sequence[str], *, num_vectors: int, initial_word: str
    ) -> list[nn.Parameter]:
        """Not available: there is no text encoder.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"learned tokens ({listed(names)}) need a text encoder, and the generator 'class_conditional' "
            "has none: set adapt.method=full"
        )

    def denoising_residual(self, x0: Tensor, eps: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """Prediction minus target at timesteps ``t``, float32, with gradients to the network."""
        table = self._alpha_bar.to(x0.device)
        prediction = self.denoiser(
            add_noise(x0, eps, table, t),
            self._sigmas.to(x0.device)[t],
            _labels(conditioning),
            conditioning.augmentation,
        )
        return cast("Tensor", prediction - denoising_target(x0, eps, table, t, "v_prediction"))

    def strength_at(self, snr: float, *, sampler: str, steps: int) -> float:
        """The strength, in (0, 1], at which drawing starts at the grid point nearest to an SNR.

        Raises:
            InputError: for a sampler that is unknown or does not fit.
        """
        solver = self._solver(sampler, steps)
        return strength_of(num_steps_from_snr((SIGMA_DATA / solver.sigmas[:-1].cpu()) ** 2, snr), steps)

    @torch.inference_mode()
    def draw(
        self, rows: Sequence[PlanRow], sources: LabelledSet | None = None, tokens: Tensor | None = None
    ) -> np.ndarray:
        """Draw one image per row, uint8 (N, 3, H, W); row i decides image i, up to rounding in the batch.

        Raises:
            ValueError: for rows with different samplers, steps, guidance scales, strengths or precisions.
            InputError: if a source image is missing, the sampler does not fit, or a row has an exemplar.
        """
        if any(row.exemplar_weight for row in rows):
            _ = self.feature_width  # raises an error
        *_, precision = shared_by(rows)
        with computing(precision, torch.float32, self._device):
            x = self._draw(rows, sources)
        return np.asarray(((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy())

    def _draw(self, rows: Sequence[PlanRow], sources: LabelledSet | None) -> Tensor:
        """Images, float (N, 3, H, W), about -1 to 1."""
        sampler, steps, guidance_scale, strength, _ = shared_by(rows)
        solver = self._solver(sampler, steps)
        solver.set_begin_index(steps - int(steps * strength))
        times = solver.timesteps[solver.begin_index :]
        noise = noise_of(rows, (3, self.image_size, self.image_size))
        x = noise.to(self._device) * solver.sigmas[solver.begin_index].to(self._device)
        if strength < 1:
            x = x + SIGMA_DATA * self.encode_images(source_pixels(rows, sources, self.image_size))
        conditions = self.encode_prompts([row.prompt for row in rows])
        negative = self.encode_prompts([row.negative_prompt for row in rows]) if guidance_scale > 1 else None
        for index, time in enumerate(times, start=solver.begin_index):
            sigma = solver.sigmas[index].to(self._device).expand(len(rows))
            x_in = solver.scale_model_input(x, time)
            v = self.denoiser(x_in, sigma, _labels(conditions))
            if negative is not None:
                v = torch.lerp(self.denoiser(x_in, sigma, _labels(negative)), v, guidance_scale)
            x = solver.step(v, time, x).prev_sample
        return self.decode_latents(x / SIGMA_DATA)

    def save_adapter(self, folder: Path, *, method: str) -> None:
        """Write the network and its classes; ``UNet2DModel.from_pretrained`` reads it."""
        cast("PatchUNet", self.denoiser).unet.save_pretrained(folder / _FOLDER)
        write_json(folder / _FOLDER / _CLASSES, {"classes": self._classes, "patch": self._settings.patch})
        self._images.save(folder / _FOLDER)

    def load_adapter(self, folder: Path, *, method: str, scale: float = 1.0) -> None:
        """Load what :meth:`save_adapter` wrote.

        Raises:
            InputError: if the network in the folder is incomplete, or for a scale other than 1.
        """
        if scale != 1:
            raise InputError(
                f"draw.adapter_scale must be 1 for the generator 'class_conditional', got {scale}: its "
                "adapter is the whole network; leave the setting out"
            )
        try:
            stored = read_json(folder / _FOLDER / _CLASSES, keys=("classes", "patch"))
            unet = cast("UNet2DModel", UNet2DModel.from_pretrained(folder / _FOLDER))
            images = ImageStatistics.load(folder / _FOLDER)
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            raise incomplete_adapter(folder / _FOLDER) from error
        self._classes = tuple(stored["classes"])
        self._use(self._wrapped(unet, stored["patch"]))
        self._set_images(images)
        self.denoiser.requires_grad_(requires_grad=False)

    @property
    def _mean(self) -> Tensor:
        return torch.tensor(self._images.mean, device=self._device).view(3, 1, 1)

    @property
    def _alpha_bar(self) -> Tensor:
        return alpha_bar(self._sigmas)

    def _wrapped(self, unet: UNet2DModel, patch: int) -> PatchUNet:
        return PatchUNet(unet, patch, precision=self._settings.precision)

    def _use(self, network: PatchUNet) -> None:
        if self._settings.gradient_checkpointing:
            network.unet.enable_gradient_checkpointing()
        self._network = network.to(self._device).eval()

    def _new_unet(self, num_classes: int) -> UNet2DModel:
        channels, patch = self._settings.channels, self._settings.patch
        return UNet2DModel(
            sample_size=self.image_size // patch,
            in_channels=3 * patch**2,
            out_channels=3 * patch**2,
            block_out_channels=channels,
            down_block_types=(*["DownBlock2D"] * (len(channels) - 1), "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", *["UpBlock2D"] * (len(channels) - 1)),
            layers_per_block=2,
            attention_head_dim=math.gcd(32, channels[-1]),
            norm_num_groups=8,
            num_class_embeds=num_classes + 1,
        )

    def _label(self, prompt: str) -> int:
        if not prompt:
            return len(self._classes)
        if prompt not in self._classes:
            raise InputError(
                "prompts for the generator 'class_conditional' must be the words of a class "
                f"({listed(self._classes)}), got {prompt!r}: set adapt.prompt and draw.prompt to "
                "'{class}', and leave negative prompts out; for an adapter that knows other words, give them "
                "with --class-names FILE"
            )
        return self._classes.index(prompt)

    def _solver(self, sampler: str, steps: int) -> Any:
        config = {
            "sigma_min": float(self._sigmas[0]),
            "sigma_max": float(self._sigmas[-1]),
            "sigma_data": SIGMA_DATA,
            "prediction_type": self.prediction_type,
        }
        solver = build_sampler(sampler, config, kind="edm")
        solver.set_timesteps(steps)
        return solver


def _labels(conditioning: Conditioning) -> Tensor:
    return conditioning.states[:, 0, 0].long()
