"""How the generator is matched to the real set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from understudy.core.config import Section


class AdaptSettings(Section):
    """How the generator is matched to the real set.

    Attributes:
        method: ``lora``, ``full``, ``style-inversion``, ``textual-inversion``, ``neutral-token`` or ``none``.
        adapter: folder of an adapter made before, used as it is instead of adapting.
        prompt: caption of a real image: a template, the name of a template set, or a file with one template per line;
            ``{class}`` stands for the class name, ``{caption}`` for the image's caption, ``{token}`` for the learned token.
        steps: optimisation steps.
        batch_size: images per step, over all processes.
        micro_batch: images at once in one process, gradients are accumulated; the whole share of the batch if not set.
        learning_rate: of AdamW, constant after a short warm-up.
        rank: of the low-rank update (``lora``).
        alpha: the update is scaled by alpha / rank; the rank if not set (``lora``).
        targets: layers with a low-rank update: ``attention``, ``convolutions``, or endings of module names (``lora``).
        token: name of the learned token; with ``textual-inversion`` the number of the class follows, ``S*-0`` and so on.
        num_vectors: embeddings behind it.
        initial_word: its embedding is where they begin.
        min_snr_gamma: loss weight min(snr, gamma) / snr; if null, what the network predicts has the same weight at every timestep.
        distribution: form of the distribution term that is added to the loss; see ``understudy list terms``.
        distribution_weight: its weight; the form's own if not set.
        classes_per_batch: classes in a batch, for the forms that compare within a class.
        caption_dropout: share of captions replaced by the empty one, so that guidance keeps working.
        ema_decay: decay of the weight average that is kept.
        augmentation: of the real images while adapting: ``affine`` (shift, rotate and scale a little), ``flip-crop`` (mirror and shift,
            for natural images), ``flip`` (mirror alone) or ``none``.
        validate_every: steps between measurements of the loss on held-out real images; the best weights are kept.
        validation_pairs: (image, timestep) pairs behind each of these measurements.
        checkpoint_every: steps between checkpoints to go on from.
    """

    method: str = "full"
    adapter: Path | None = None
    prompt: str = "a photo of {class}"
    steps: int = Field(default=600, ge=1)
    batch_size: int = Field(default=32, ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    rank: int = Field(default=16, ge=1)
    alpha: float | None = Field(default=None, gt=0)
    targets: tuple[str, ...] = ("attention", "convolutions")
    token: str = Field(default="S*", pattern=r"^[^\s{}]+$")
    num_vectors: int = Field(default=1, ge=1)
    initial_word: str = "photo"
    min_snr_gamma: float | None = Field(default=5.0, gt=0)
    distribution: str = "none"
    distribution_weight: float | None = Field(default=None, gt=0)
    classes_per_batch: int = Field(default=4, ge=1)
    caption_dropout: float = Field(default=0.1, ge=0, lt=1)
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    augmentation: Literal["affine", "flip-crop", "flip", "none"] = "affine"
    validate_every: int = Field(default=100, ge=1)
    validation_pairs: int = Field(default=512, ge=1)
    checkpoint_every: int = Field(default=100, ge=1)

    @property
    def has_token(self) -> bool:
        """Whether the method puts a token into the vocabulary, and prompts therefore must have ``{token}``."""
        return self.method in ("style-inversion", "textual-inversion", "neutral-token")

    @property
    def needs_class(self) -> bool:
        """Whether prompts must have ``{class}``: not where each class has a token of its own."""
        return self.method != "textual-inversion"

    @property
    def num_steps(self) -> int:
        """Optimisation steps that the method takes."""
        return 0 if self.method in ("neutral-token", "none") else self.steps

    def tokens(self, num_classes: int) -> tuple[str, ...]:
        """What ``{token}`` stands for in the prompts of each class; empty strings where the method has no token."""
        if self.method == "textual-inversion":
            return tuple(f"{self.token}-{label}" for label in range(num_classes))
        return (self.token if self.has_token else "",) * num_classes
