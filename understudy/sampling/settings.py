"""How images are drawn."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from understudy.core.config import Section


class DrawSettings(Section):
    """How images are drawn.

    Attributes:
        per_class: images per class; if not set, ``times`` and ``min_per_class`` decide.
        times: synthetic images per real train image, per class as in the train split.
        min_per_class: but at least as many per class as this.
        prompt, negative_prompt: texts, as ``adapt.prompt``.
        sampler: ``unipc``, ``ddim``, ``dpm++``, ``ddpm`` or, for flow-matching pipelines, ``flow-euler``.
        steps: solver steps of the full grid; fewer are executed when drawing starts from a real image.
        guidance_scale: classifier-free guidance; 1 is none, which is half the work and gives the most varied images.
        strength: how far a real image of the class is noised to start from; 1 starts from pure noise.
        start_snr: the same as a signal-to-noise ratio, which carries over to other noise schedules.
        noise_scale: spread of the noise that drawing starts from; more than 1 gives more varied images, less more typical ones.
        members: generators, adapted with different seeds, that draw an equal share each.
        refresh_times: largest number of images drawn for arms that refresh theirs, in multiples of those in use at once; then the oldest
            come again.
        allocation: ``as-real`` shares images out as above, ``weak-classes`` shares as many out so that classes get more which a
            classifier of synthetic images confuses on validation images.
        pairing: ``paired`` takes start, caption and feature from one real image, ``random`` each from any of the class.
        adapter_scale: how much of what adaptation changed is applied; 1 is all.
        part_size: images per part, the unit of work and of resume.
        batch_size: images drawn at once.
    """

    per_class: int | None = Field(default=None, ge=1)
    times: float = Field(default=1.0, gt=0, le=10_000)
    min_per_class: int = Field(default=100, ge=1)
    prompt: str = "a photo of {class}"
    negative_prompt: str = ""
    sampler: str = "unipc"
    steps: int = Field(default=20, ge=1)
    guidance_scale: float = Field(default=1.0, ge=1)
    strength: float = Field(default=1.0, gt=0, le=1)
    start_snr: float | None = Field(default=None, gt=0)
    noise_scale: float = Field(default=1.0, ge=0.5, le=2)
    members: int = Field(default=1, ge=1, le=100)
    refresh_times: float = Field(default=10.0, ge=1)
    allocation: Literal["as-real", "weak-classes"] = "as-real"
    pairing: Literal["paired", "random"] = "paired"
    adapter_scale: float = Field(default=1.0, gt=0, le=1)
    part_size: int = Field(default=256, ge=1)
    batch_size: int = Field(default=128, ge=1)

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if int(self.steps * self.strength) < 1:
            raise ValueError(f"strength {self.strength} of {self.steps} steps leaves no step to execute: raise one of them")
        if self.strength < 1 and self.start_snr is not None:
            raise ValueError(
                f"strength and start_snr say the same thing, got {self.strength} and {self.start_snr}: leave one out or set strength=1"
            )
        if self.noise_scale != 1 and self.starts_from_real:
            raise ValueError(f"noise_scale {self.noise_scale} has no effect on drawing that starts from real images: leave it out")
        if self.negative_prompt and self.guidance_scale == 1:
            raise ValueError("negative_prompt has no effect at guidance_scale 1: set draw.negative_prompt=\"''\" or raise the guidance")
        return self

    @property
    def starts_from_real(self) -> bool:
        """Whether drawing starts from noised real images."""
        return self.strength < 1 or self.start_snr is not None
