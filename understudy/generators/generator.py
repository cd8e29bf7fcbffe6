"""The contract of generators: `Generator` draws images, `Adaptable` can also be fitted to real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, final

import numpy as np
import torch
from torch import Tensor, nn

from understudy.core.errors import InputError

if TYPE_CHECKING:
    from understudy.data.labelled_set import LabelledSet
    from understudy.functional.denoising import PredictionType


@final
@dataclass(frozen=True, eq=False)
class Conditioning:
    """What the denoiser is conditioned on: the encoded prompts of B images.

    Attributes:
        states: output of the text encoders, one state per token, float (B, L, D).
        pooled: one vector per prompt, float (B, P), for denoisers that take it (SDXL, SD3, FLUX.1); otherwise
            None.
        augmentation: parameters of the augmentation of each image, float (B, A), for denoisers with a layer
            for them; zeros, or None for the whole batch, stand for images without augmentation.
        attended: 1 for states that the denoiser attends to and 0 for padding, int64 (B, L), for denoisers
            that take such a mask (Sana); None if they attend to all states.
    """

    states: Tensor
    pooled: Tensor | None = None
    augmentation: Tensor | None = None
    attended: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence[Conditioning]) -> Conditioning:
        """The rows of several encoded batches of prompts, one batch after the other."""
        return cls(
            torch.cat([part.states for part in parts]),
            pooled=_joined([part.pooled for part in parts]),
            augmentation=_joined([part.augmentation for part in parts]),
            attended=_joined([part.attended for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.states)

    def select(self, index: Tensor) -> Conditioning:
        """The rows at ``index``, int64 (B,) or bool (len,)."""
        pooled, augmentation, attended = (
            None if tensor is None else tensor[index]
            for tensor in (self.pooled, self.augmentation, self.attended)
        )
        return Conditioning(self.states[index], pooled, augmentation, attended)

    def with_last(self, tokens: Tensor) -> Conditioning:
        """A copy in which token b, of ``tokens`` (len, D), replaces the last state of row b.

        The denoiser attends to it.

        Raises:
            ValueError: for tokens of another shape.
        """
        expected = (len(self), self.states.shape[2])
        if tokens.shape != expected:
            raise ValueError(f"tokens must be of shape {expected}, one per row, got {tuple(tokens.shape)}")
        states = torch.cat([self.states[:, :-1], tokens.to(self.states)[:, None]], dim=1)
        if self.attended is None:
            return replace(self, states=states)
        attended = torch.cat([self.attended[:, :-1], torch.ones_like(self.attended[:, -1:])], dim=1)
        return replace(self, states=states, attended=attended)

    def arguments(self, *, prefix: str = "") -> dict[str, Tensor]:
        """Arguments of a diffusers pipeline; ``prefix`` is ``negative_`` for negative prompts."""
        named = {
            f"{prefix}prompt_embeds": self.states,
            f"{prefix}pooled_prompt_embeds": self.pooled,
            f"{prefix}prompt_attention_mask": self.attended,
        }
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def where(self, mask: Tensor, other: Conditioning) -> Conditioning:
        """Keep the prompts where ``mask``, bool (B,), is true; elsewhere take the only one of ``other``.

        Each row keeps its augmentation.
        """
        here = mask.to(self.states.device).view(-1, 1)
        pooled, attended = (
            None if ours is None or theirs is None else torch.where(here, ours, theirs)
            for ours, theirs in ((self.pooled, other.pooled), (self.attended, other.attended))
        )
        states = torch.where(here[:, :, None], self.states, other.states)
        return replace(self, states=states, pooled=pooled, attended=attended)


def _joined(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """The rows of all tensors; None if all are None."""
    given = [tensor for tensor in tensors if tensor is not None]
    assert len(given) in (0, len(tensors)), "either all batches have these rows, or none has"
    return torch.cat(given) if given else None


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """Everything that decides one image to draw, apart from the generator.

    Attributes:
        id: unique name, made of ``synthetic-``, the class, and the numbers of the generator and the image.
        number: position of the image within its class, from 0.
        label: class as an index into the class names.
        class_name: name of the class.
        prompt, negative_prompt: texts that the image is drawn towards and away from.
        seed: seed of the image's noise.
        sampler: name of the solver, a key of ``SAMPLERS``.
        steps: number of steps of the full solver grid.
        guidance_scale: strength of classifier-free guidance; 1 is none.
        noise_scale: factor on the initial noise; 1 is the noise that the generator was trained with.
        strength: noise added to the real image ``source_id`` that drawing starts from; 1 is pure noise.
        source_id: id of a real train image, or an empty string.
        visual: kind of visual guidance; see ``understudy list visuals``.
        visual_id: for the kind ``per-image``, id of the real train image whose feature guides; otherwise
            empty.
        adapter: fingerprint of the adapter in use, or an empty string.
        adapter_scale: share of the adapter that is applied; 1 applies all of it.
        precision: number format of the products while drawing; plans of version 0.1 do not have it.
        exemplar_id: id of the real train image whose features guide, or an empty string.
        exemplar_weight: root mean square by which a guided step moves the predicted clean latents at pure
            noise; 0 is no guidance.
        exemplar_every: steps from one guided step to the next.
    """

    id: str
    number: int
    label: int
    class_name: str
    prompt: str
    negative_prompt: str
    seed: int
    sampler: str
    steps: int
    guidance_scale: float
    noise_scale: float
    strength: float
    source_id: str
    visual: str
    visual_id: str
    adapter: str
    adapter_scale: float
    precision: str = "float32"
    exemplar_id: str = ""
    exemplar_weight: float = 0.0
    exemplar_every: int = 1

    @classmethod
    def from_noise(
        cls, prompt: str, *, sampler: str, steps: int, guidance_scale: float, seed: int = 0
    ) -> PlanRow:
        """A row outside a plan: an image of a prompt from pure noise, without adapter or visual guidance."""
        return cls(
            id=f"from-noise-{seed}",
            number=seed,
            label=0,
            class_name=prompt,
            prompt=prompt,
            negative_prompt="",
            seed=seed,
            sampler=sampler,
            steps=steps,
            guidance_scale=guidance_scale,
            noise_scale=1.0,
            strength=1.0,
            source_id="",
            visual="none",
            visual_id="",
            adapter="",
            adapter_scale=1.0,
        )

    @property
    def shared(self) -> tuple[str, int, float, float, str]:
        """Sampler, steps, guidance scale, strength and precision: what the rows of a batch have in common."""
        return self.sampler, self.steps, self.guidance_scale, self.strength, self.precision


class Generator(Protocol):
    """A source of synthetic images."""

    @property
    def image_size(self) -> int:
        """Width and height of drawn images in pixels."""

    @property
    def fingerprint(self) -> str:
        """Hash of what decides images in addition to the plan row, such as the weights."""

    def available(self, class_names: Sequence[str]) -> np.ndarray | None:
        """Number of images that can be drawn of each class, int64 (num_classes,); None if there is no limit.

        Raises:
            InputError: if the generator has images of other classes.
        """

    def check_prompts(self, prompts: Sequence[str], *, keep_last: bool) -> None:
        """Check that every prompt can be encoded without losing its end.

        Args:
            prompts: texts.
            keep_last: the last position must be padding, because an image feature will replace it.

        Raises:
            InputError: for the first prompt that is too long, with its number of tokens and the limit.
        """

    def learn_classes(self, words: Sequence[str], *, seed: int) -> None:
        """Prepare for prompts that name these classes; pipelines with a text encoder need no preparation.

        Args:
            words: what prompts call each class.
            seed: of new weights.

        Raises:
            InputError: for classes that cannot be told apart.
        """

    def strength_at(self, snr: float, *, sampler: str, steps: int) -> float:
        """The strength, in (0, 1], at which drawing starts closest to this signal-to-noise ratio.

        Raises:
            InputError: for a sampler that is unknown or does not fit the generator.
        """

    def draw(
        self, rows: Sequence[PlanRow], sources: LabelledSet | None, tokens: Tensor | None = None
    ) -> np.ndarray:
        """Draw one image per row.

        Args:
            rows: N rows of a plan.
            sources: real train images, needed by rows with a strength below 1 or with an exemplar.
            tokens: image features that replace the last text state of each row, float (N, D).

        Returns:
            uint8 (N, 3, H, W). Row i and token i alone decide image i, up to rounding within the batch.
        """


class NoiseSchedule(Protocol):
    """The training timesteps of a denoiser, in order of increasing noise."""

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio (of powers) at each training timestep, decreasing, float32 (T,)."""

    @property
    def prediction_type(self) -> PredictionType:
        """What the denoiser predicts: ``epsilon``, ``v_prediction`` or ``flow``."""


class Adaptable(Generator, NoiseSchedule, Protocol):
    """A generator with a denoiser that can be fitted to images. Latents are float (B, C, h, w)."""

    @property
    def device(self) -> torch.device:
        """Device of the networks."""

    @property
    def denoiser(self) -> nn.Module:
        """The network that adaptation trains."""

    @property
    def token_width(self) -> int:
        """Width D of the text states."""

    @property
    def feature_width(self) -> int:
        """Width F of :meth:`encode_features`.

        Raises:
            InputError: if there is no image encoder, with the setting that can name one.
        """

    def learn_images(self, train: LabelledSet) -> None:
        """Prepare a new network for the train images, before the first step; trained ones need nothing."""

    def learn_augmentation(self, num_parameters: int) -> None:
        """Condition the denoiser on the parameters of each image's augmentation while it is trained.

        Raises:
            InputError: if the denoiser takes no such parameters.
        """

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Encode pixels, uint8 (B, 3, H, W), as scaled latents."""

    def posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean, which :meth:`encode_images` gives, and standard deviation of the latents of each image."""

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode scaled latents to pixels, float32 (B, 3, H, W), about -1 to 1, differentiably."""

    def encode_features(self, pixels: Tensor) -> Tensor:
        """Features of pixels, float (B, 3, H, W) in [-1, 1], from the image encoder, differentiably.

        Returns:
            float32 (B, F).

        Raises:
            InputError: as :attr:`feature_width`.
        """

    def encode_prompts(self, prompts: Sequence[str], *, gradients: bool = False) -> Conditioning:
        """Encode texts for the denoiser; ``gradients`` keeps the graph to the learned tokens."""

    def learn_tokens(
        self, names: Sequence[str], *, num_vectors: int, initial_word: str
    ) -> list[nn.Parameter]:
        """Add tokens that prompts may use; returns one parameter (num_vectors, D) of embeddings per token.

        Raises:
            InputError: if a name is taken, the initial word has no token, or the generator has no text
                encoder.
        """

    def denoising_residual(self, x0: Tensor, eps: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """Prediction minus target at timesteps ``t``, float32, with gradients to the denoiser."""

    def save_adapter(self, folder: Path, *, method: str) -> None:
        """Write what adaptation changed, in a format that plain diffusers can load."""

    def load_adapter(self, folder: Path, *, method: str, scale: float = 1.0) -> None:
        """Apply the share ``scale`` of what :meth:`save_adapter` wrote."""


def fingerprint_of(networks: Iterable[nn.Module], *, start: bytes = b"") -> str:
    """SHA-256 over ``start`` and the weights of networks, shortened."""
    digest = hashlib.sha256(start)
    for network in networks:
        for name, value in network.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def encode_distinct(encode: Callable[[list[str]], Conditioning], prompts: Sequence[str]) -> Conditioning:
    """Encode each distinct prompt once; one row per prompt.

    Args:
        encode: the encoding, such as ``encode_prompts`` of a generator.
        prompts: texts, any of them several times.
    """
    distinct = list(dict.fromkeys(prompts))
    encoded = encode(distinct)
    index = torch.tensor([distinct.index(prompt) for prompt in prompts], device=encoded.states.device)
    return encoded.select(index)


def adaptable(generator: Generator) -> Adaptable:
    """The same generator, typed as one that can be fitted to images.

    Raises:
        InputError: for ready-made images.
    """
    if not hasattr(type(generator), "save_adapter"):
        raise InputError(
            "adaptation and visual guidance need networks, which ready-made images (generators 'folder' and "
            "'glyphs') do not have: set adapt.method=none and visual.kind=none"
        )
    return cast("Adaptable", generator)
