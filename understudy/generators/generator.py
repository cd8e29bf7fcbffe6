"""What a generator can do, what it is told, and what it draws from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import Tensor, nn

from understudy.data.labelled_set import LabelledSet


@final
@dataclass(frozen=True, eq=False)
class Conditioning:
    """What the denoiser is told besides the noisy latents.

    Attributes:
        states: of the text encoder or encoders, float (B, L, D).
        pooled: one vector per prompt where the denoiser takes one (SDXL, SD3), float (B, P).
    """

    states: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.states)

    def select(self, index: Tensor) -> Conditioning:
        """The rows at ``index``, int64 (B,) or bool (len,)."""
        return Conditioning(self.states[index], None if self.pooled is None else self.pooled[index])

    def with_last(self, tokens: Tensor) -> Conditioning:
        """The same with the last state of row b replaced by token b, (len, D): visual guidance.

        Raises:
            ValueError: for tokens of another shape.
        """
        expected = (len(self), self.states.shape[2])
        if tokens.shape != expected:
            raise ValueError(f"tokens must be of shape {expected}, one per row, got {tuple(tokens.shape)}")
        return Conditioning(torch.cat([self.states[:, :-1], tokens.to(self.states)[:, None]], dim=1), self.pooled)

    def where(self, mask: Tensor, other: Conditioning) -> Conditioning:
        """These rows where ``mask`` (B,) holds, the single row of ``other`` elsewhere."""
        states = torch.where(mask.view(-1, 1, 1).to(self.states.device), self.states, other.states)
        if self.pooled is None or other.pooled is None:
            return Conditioning(states)
        return Conditioning(states, torch.where(mask.view(-1, 1).to(states.device), self.pooled, other.pooled))


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """Everything that decides one image to draw.

    Attributes:
        id: unique name, ``synthetic-`` and class and number, and member where there are several.
        number: of the image within its class, from 0.
        label: class, an index into the class names.
        class_name: its name.
        prompt, negative_prompt: texts.
        seed: of this image's noise.
        sampler: name of the solver.
        steps: solver steps of the full grid.
        guidance_scale: classifier-free guidance; 1 is none.
        noise_scale: spread of the noise at the start, 1 as the generator was trained.
        strength: 1 starts from noise; less, from the real image ``source_id`` noised that far.
        source_id: id of a real train image, or an empty string.
        visual: kind of visual guidance, see ``understudy list visuals``.
        visual_id: id of the real train image whose feature guides, where the kind is ``per-image``; or an empty string.
        adapter: fingerprint of the adapter in use, or an empty string.
        adapter_scale: how much of the adapter is applied; 1 is all.
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


class Generator(Protocol):
    """What can draw images and be adapted. Latents are float (B, C, h, w)."""

    @property
    def image_size(self) -> int:
        """Width and height of drawn images in pixels."""

    @property
    def fingerprint(self) -> str:
        """Changes when the weights change."""

    @property
    def device(self) -> torch.device:
        """Where the networks are."""

    @property
    def denoiser(self) -> nn.Module:
        """The network that adaptation trains."""

    @property
    def snr(self) -> Tensor:
        """Signal power over noise power at each training timestep, decreasing, float32 (T,)."""

    @property
    def prediction_type(self) -> Any:
        """``epsilon``, ``v_prediction`` or ``flow``."""

    @property
    def token_width(self) -> int:
        """D of the states."""

    @property
    def feature_width(self) -> int:
        """F of :meth:`encode_features`.

        Raises:
            InputError: if there is no image encoder; the setting that names one is named.
        """

    def available(self, class_names: Sequence[str]) -> np.ndarray | None:
        """Images of each class that can be drawn, int64 (num_classes,); None for any number.

        Raises:
            InputError: if the generator has images of other classes.
        """

    def encode_images(self, pixels: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) to scaled latents."""

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Scaled latents to pixels, float32 (B, 3, H, W), about -1 to 1, with gradients to the latents."""

    def encode_features(self, pixels: Tensor) -> Tensor:
        """Pixels, float (B, 3, H, W) in [-1, 1], to features of the image encoder, float32 (B, F), with gradients.

        Raises:
            InputError: as :attr:`feature_width`.
        """

    def check_prompts(self, prompts: Sequence[str], *, keep_last: bool) -> None:
        """Refuse prompts that the tokenizer would cut.

        Args:
            prompts: texts.
            keep_last: the last position is needed for an image feature and must be padding.

        Raises:
            InputError: naming the first prompt that is too long, its tokens and the limit.
        """

    def encode_prompts(self, prompts: Sequence[str], *, gradients: bool = False) -> Conditioning:
        """Texts to what the denoiser takes, with gradients to learned tokens if asked for."""

    def learn_classes(self, words: Sequence[str], *, seed: int) -> None:
        """Before adaptation: the classes that prompts will name, for generators that know no others; ``seed`` decides new weights.

        Raises:
            InputError: for classes that cannot be told apart.
        """

    def learn_tokens(self, names: Sequence[str], *, num_vectors: int, initial_word: str) -> list[nn.Parameter]:
        """Add tokens for prompts; their embeddings, a parameter (num_vectors, D) per token.

        Raises:
            InputError: if a name is taken, the initial word is empty, or the generator has no such tokens.
        """

    def denoising_residual(self, x0: Tensor, eps: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """Prediction minus target at timestep t, float32, with gradients to the denoiser."""

    def strength_at(self, snr: float, *, sampler: str, steps: int) -> float:
        """The strength at which drawing starts from about this signal-to-noise ratio, in (0, 1]."""

    def draw(self, rows: Sequence[PlanRow], sources: LabelledSet | None, tokens: Tensor | None = None) -> np.ndarray:
        """One image per row, uint8 (N, 3, H, W); row i and token i (N, D) alone decide image i, up to rounding in the batch."""

    def save_adapter(self, folder: Path, *, method: str) -> None:
        """Write what adaptation changed, so that plain diffusers can load it."""

    def load_adapter(self, folder: Path, *, method: str, scale: float = 1.0) -> None:
        """Apply what :meth:`save_adapter` wrote, ``scale`` times."""
