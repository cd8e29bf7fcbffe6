"""What draws, and whether image features guide it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from understudy.core.config import LICENCE_PATTERN, Section


class GeneratorSettings(Section):
    """What draws.

    Attributes:
        name: ``mini``, ``class_conditional``, ``folder``, the folder of a Stable Diffusion-class diffusers pipeline, or its hub name.
        resolution: width and height of drawn images in pixels; the generator's own if not set.
        images: ready-made sets, each an image folder, zip, Parquet or WebDataset (``folder``); several are used in equal shares.
        channels: of the network at each of its resolutions, each half the one before (``class_conditional``).
        patch: width and height in pixels of the patches that the network takes as one (``class_conditional``).
        precision: number format of the networks.
        image_encoder: folder or hub name of a CLIP vision model with projection; the pipeline's own if not set.
        attention_slicing, vae_tiling, cpu_offload: less memory, more time.
        gradient_checkpointing: less memory while adapting, about a third more time.
        compile: compile the denoiser with ``torch.compile``.
        safety_checker: keep the pipeline's safety checker; what it blacks out is rejected.
        licence: of the weights, or of the ready-made images, for the cards of what is exported; known of ``mini``.
    """

    name: str = "mini"
    resolution: int | None = Field(default=None, ge=8)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    images: tuple[Path, ...] = ()
    channels: tuple[Annotated[int, Field(ge=8, le=4096, multiple_of=8)], ...] = Field(default=(64, 128), min_length=1)
    patch: int = Field(default=2, ge=1)
    image_encoder: str | None = None
    attention_slicing: bool = False
    vae_tiling: bool = False
    cpu_offload: bool = False
    gradient_checkpointing: bool = False
    compile: bool = False
    safety_checker: bool = False
    licence: str | None = Field(default=None, pattern=LICENCE_PATTERN)

    @model_validator(mode="after")
    def _images_fit_name(self) -> Self:
        if (self.name == "folder") != bool(self.images):
            raise ValueError(
                f"the generator 'folder' and generator.images belong together, got {self.name!r} and {len(self.images)} sets: give both, "
                'as in --set generator.name=folder --set "generator.images=[PATH]", or neither'
            )
        places = [path.resolve() for path in self.images]
        if twice := [path for path, place in zip(self.images, places, strict=True) if places.count(place) > 1]:
            raise ValueError(f"generator.images must name each set once, got {twice[0]} and {twice[1]}, which are the same: leave one out")
        return self


class VisualSettings(Section):
    """Whether image features of real images condition the generator, besides the text.

    Attributes:
        kind: while adapting: ``none``, ``class-mean``, ``per-image`` or ``sampled``; see ``understudy list visuals``.
        draw_kind: while drawing; ``kind`` if not set.
        images: images of the class behind each mean (``class-mean``).
        projection: learn a linear map from features to the width of the text states.
    """

    kind: str = "none"
    draw_kind: str | None = None
    images: int = Field(default=8, ge=1)
    projection: bool = False

    @property
    def when_drawing(self) -> str:
        """The kind that drawing uses."""
        return self.draw_kind or self.kind

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.kind == "none") != (self.when_drawing == "none"):
            raise ValueError(f"a generator must be adapted and drawn with visual guidance or without, got {self.kind} and {self.draw_kind}")
        return self
