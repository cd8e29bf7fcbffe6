"""What stages hand to each other besides labelled sets: small frozen records, and what a generator can do.

Stages do not import one another, so what two of them share stands here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from understudy.data import LabelledSet


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """Everything that decides one image to draw.

    Attributes:
        id: unique name, ``synthetic-`` and class, round and number.
        label: class, an index into the class names.
        class_name: its name.
        prompt, negative_prompt: texts.
        seed: of this image's noise.
        sampler: name of the solver.
        steps: solver steps of the full grid.
        guidance_scale: classifier-free guidance; 1 is none.
        strength: 1 starts from noise; less, from the real image ``source_id`` noised that far.
        source_id: id of a real train image, or an empty string.
        adapter: fingerprint of the adapter in use, or an empty string.
    """

    id: str
    label: int
    class_name: str
    prompt: str
    negative_prompt: str
    seed: int
    sampler: str
    steps: int
    guidance_scale: float
    strength: float
    source_id: str
    adapter: str


class Generator(Protocol):
    """What can draw images and be adapted. Latents are float (B, C, h, w); prompts become float states (B, L, D)."""

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
    def alpha_bar(self) -> Tensor:
        """Cumulative signal power of the training schedule, (T,)."""

    @property
    def prediction_type(self) -> Any:
        """``epsilon`` or ``v_prediction``."""

    def encode_images(self, pixels: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) to scaled latents."""

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Texts to states."""

    def denoising_residual(self, x0: Tensor, eps: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """Prediction minus target at timestep t, with gradients to the denoiser."""

    def draw(self, rows: Sequence[PlanRow], sources: LabelledSet | None) -> np.ndarray:
        """One image per row, uint8 (N, 3, H, W); row i alone decides image i, up to rounding in the batch."""

    def save_adapter(self, folder: Path, *, method: str) -> None:
        """Write what adaptation changed, so that plain diffusers can load it."""

    def load_adapter(self, folder: Path, *, method: str) -> None:
        """Apply what :meth:`save_adapter` wrote."""


class Classifier(Protocol):
    """Anything that gives class probabilities."""

    def predict(self, data: LabelledSet) -> np.ndarray:
        """Probabilities, float64 of shape (N, num_classes), rows sum to 1."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A measured value with a 95% interval.

    Attributes:
        mean: the value.
        low, high: ends of the interval.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What one arm reached on real test images.

    Attributes:
        arm: its name.
        seeds: seed of each training.
        probabilities: predicted probabilities on the test set, float (num_seeds, N, num_classes).
        labels: true labels of the test set, int64 (N,).
        val_accuracy: accuracy on validation images per seed; the only figure used to choose among arms.
        seconds: training time, all seeds together.
    """

    arm: str
    seeds: tuple[int, ...]
    probabilities: np.ndarray
    labels: np.ndarray
    val_accuracy: tuple[float, ...]
    seconds: float
