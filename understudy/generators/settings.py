"""Which generator draws, and whether features of real images guide it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from understudy.core.config import LICENCE_PATTERN, Need, Section, setting, unless, when
from understudy.core.errors import InputError

_PIPELINE = unless("generator.name", "mini", "class_conditional", "folder", "glyphs")
_CLASS_CONDITIONAL = when("generator.name", "class_conditional")
_READY_MADE = ("folder", "glyphs")
FEWEST_FROM_SCRATCH = 500
"""Steps after which the images of ``class_conditional`` show their class, on `digits`: fewer draw noise."""
TOO_FEW_FOR_PHOTOGRAPHS = 2000
"""Steps after which its photographs of 64 pixels hardly show their class, on two sets of 1,300 to 1,600."""
CHECKPOINTS = (".safetensors", ".ckpt")
"""Endings of whole pipelines in a single file."""


class GeneratorSettings(Section):
    """Which generator draws."""

    name: str = setting("mini", decides="pixels")
    """`mini` (bundled), `class_conditional` (trained from scratch), `folder` (ready-made images), or the
    folder or hub name of a pipeline of Stable Diffusion, FLUX.1 or Sana, or a single file of Stable Diffusion
    (`.safetensors`, `.ckpt`)."""
    resolution: int | None = setting(None, ge=8, decides="pixels")
    """Width and height of drawn images in pixels; the generator's default if not set."""
    precision: Literal["float32", "bfloat16", "float16"] = setting("float32", decides="pixels")
    """Number format of the networks. With 16 bits they need half the memory; images change a little. Sana
    needs `bfloat16` or `float32`."""
    variant: str | None = setting(None, decides="pixels", needs=_PIPELINE, pattern=r"^\w[\w.-]*$")
    """Variant of the pipeline's files with weights, such as `fp16` or `ema`; if not set, the files without
    one, or `fp16` if there are no others."""
    revision: str | None = setting(None, decides="pixels", needs=_PIPELINE)
    """Branch, tag or commit of the pipeline on the hub; `main` if not set. A commit never changes."""
    config: str | None = setting(
        None,
        decides="pixels",
        needs=Need(
            "generator.name",
            "`generator.name` is a single file",
            lambda settings: Path(settings.generator.name).suffix in CHECKPOINTS,
        ),
    )
    """Folder or hub name of a pipeline of the same family as a checkpoint in a single file, which is read
    with its configuration and tokenizers; if not set, those of the original pipeline on the hub."""
    adapters: tuple[Path, ...] = setting((), decides="pixels", needs=_PIPELINE)
    """LoRA files of kohya or diffusers, which are merged into the pipeline at full strength, and embeddings
    of textual inversion, whose tokens prompts may use. Adaptation starts from the pipeline with them."""
    images: tuple[Path, ...] = setting((), decides="pixels")
    """Ready-made sets for the generator `folder`, which needs at least one: image folders, zip, Parquet or
    WebDataset files. Several sets are used in equal shares."""
    retrieved: tuple[Path, ...] = setting(
        (),
        needs=Need(
            "compare.arms",
            "an arm has the strategy `retrieved`",
            lambda settings: settings.compare.has_arm_with("retrieved"),
        ),
    )
    """Images of your classes from the set that the generator was pretrained on, for the control arms with
    `@retrieved`, in the same forms as `generator.images`; `mini` needs none."""
    channels: tuple[Annotated[int, Field(ge=8, le=4096, multiple_of=8)], ...] = setting(
        (64, 128), min_length=1, decides="pixels", needs=_CLASS_CONDITIONAL
    )
    """Channels of the network at each of its resolutions, multiples of 8; each resolution is half of the
    previous one. The first must be at least 3 `generator.patch`^2, so that nothing of a patch is lost."""
    patch: int = setting(2, ge=1, decides="pixels", needs=_CLASS_CONDITIONAL)
    """Width and height in pixels of the patches that the network treats as one position. With 4 instead of 2,
    a step takes a third of the time."""
    image_encoder: str | None = setting(None, decides="pixels")
    """Folder or hub name of a CLIP vision model with projection, such as `openai/clip-vit-large-patch14` for
    Stable Diffusion 1.5; the pipeline's image encoder if not set."""
    autoencoder: str | None = setting(None, decides="pixels", needs=_PIPELINE)
    """Folder or hub name of another autoencoder with latents of the same kind, such as `madebyollin/taesd`
    for Stable Diffusion 1 and 2 or `madebyollin/taesdxl` for XL. These tiny ones encode and decode much
    faster, and images lose details: for previews."""
    attention_slicing: bool = setting(False, decides="nothing")
    """Compute attention in slices: less memory, more time. Only possible with a UNet: not for SD3, FLUX.1 and
    Sana."""
    vae_slicing: bool = setting(False, decides="nothing")
    """Encode and decode the images of a batch one by one: less memory, a little more time."""
    vae_tiling: bool = setting(False, decides="pixels")
    """Encode and decode large images in tiles: less memory. Tiles are blended, which changes large images a
    little."""
    cpu_offload: bool = setting(False, decides="nothing")
    """Keep encoders and autoencoder in main memory while they are not needed: less GPU memory, more time."""
    gradient_checkpointing: bool | None = setting(
        None, decides="nothing", needs=unless("adapt.method", "none", "neutral-token")
    )
    """Recompute activations while adapting: less memory, about a third more time. If not set, only for a
    pipeline of the size of Stable Diffusion on a device with less than 24 GB of free memory."""
    compile: bool = setting(False, decides="pixels")
    """Compile the denoiser with `torch.compile`: starts slowly, then runs faster. Images change slightly.
    On an H100 it paid from about 2,000 images of 512 pixels on: the first batch took 70 to 88 s longer, the
    others ran 1.3 times as fast."""
    safety_checker: bool = setting(False, decides="pixels")
    """Keep the pipeline's safety checker. Images that it blacks out are rejected as constant, and
    replaced."""
    licence: str | None = setting(
        None,
        pattern=LICENCE_PATTERN,
        decides="card",
        needs=unless("generator.name", "mini", "class_conditional", "glyphs"),
    )
    """Licence of the weights or of the ready-made images, for the cards of exports; if not set, it is read
    from a `README.md` beside them."""

    @property
    def is_ready_made(self) -> bool:
        """Whether images come without a network: nothing can be adapted, guided or started from real ones."""
        return self.name in _READY_MADE

    def check_only(self, used: Collection[str]) -> None:
        """Check that nothing but the settings ``used`` differs from its default.

        Raises:
            InputError: for the first setting that has no effect on this generator.
        """
        for name, field in type(self).model_fields.items():
            if name not in used and getattr(self, name) != field.default:
                raise InputError(
                    f"generator.{name} has no effect on the generator {self.name!r}: leave it out"
                )

    @model_validator(mode="after")
    def _images_fit_name(self) -> Self:
        if (self.name == "folder") != bool(self.images):
            raise ValueError(
                "the generator 'folder' needs generator.images, which no other generator uses, got "
                f"{self.name!r} and {len(self.images)} sets: give both, as in --set generator.name=folder "
                '--set "generator.images=[PATH]", or neither'
            )
        places = [path.resolve() for path in self.images]
        if twice := [
            path for path, place in zip(self.images, places, strict=True) if places.count(place) > 1
        ]:
            raise ValueError(
                f"generator.images must name each set once, got {twice[0]} and {twice[1]}, which are the "
                "same: leave one out"
            )
        return self


class VisualSettings(Section):
    """Whether features of real images guide the generator, in addition to the text."""

    kind: str = setting("none", decides="pixels", registry="generators.visual_guidance:VISUALS")
    """Kind of feature while adapting; see `understudy list visuals`."""
    draw_kind: str | None = setting(None, decides="pixels", registry="generators.visual_guidance:VISUALS")
    """Kind of feature while drawing; `visual.kind` if not set. To draw with features that no real image has,
    adapt with `per-image` and draw with `sampled`."""
    images: int = setting(
        8,
        ge=1,
        decides="pixels",
        needs=Need(
            "visual.kind",
            "`visual.kind` or `visual.draw_kind` is `class-mean`",
            lambda settings: "class-mean" in (settings.visual.kind, settings.visual.when_drawing),
        ),
    )
    """How many images of a class each mean feature (`class-mean`) is computed from."""
    projection: bool = setting(False, decides="pixels", needs=unless("visual.kind", "none"))
    """Learn a linear map from the features to the width of the text states."""

    @property
    def when_drawing(self) -> str:
        """The kind of feature used while drawing."""
        return self.draw_kind or self.kind

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.kind == "none") != (self.when_drawing == "none"):
            raise ValueError(
                "visual guidance must be used both to adapt and to draw, or for neither, got kind "
                f"{self.kind!r} and draw_kind {self.draw_kind!r}: set both"
            )
        return self
