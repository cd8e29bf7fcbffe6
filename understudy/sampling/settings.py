"""How many images are drawn, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from understudy.core.config import Need, Section, facts_of, setting, unless, when

_Strength = Annotated[float, Field(gt=0, le=1)]
_COUNTED = when("draw.per_class", None)
_DRAWS = Need(
    "generator.name",
    "images are drawn, not ready-made (`folder`, `glyphs`)",
    lambda settings: not settings.generator.is_ready_made,
)

_GUIDED = (
    Need(
        "draw.exemplar_weight",
        "`draw.exemplar_weight` is above 0",
        lambda settings: settings.draw.exemplar_weight > 0,
    ),
    _DRAWS,
)


def resembles_real_images(settings: Any) -> bool:
    """Whether drawn images resemble single real ones: these are their start, exemplar, or feature."""
    guided = settings.visual.when_drawing == "per-image" or settings.draw.exemplar_weight > 0
    return bool(settings.draw.starts_from_real or guided)


def _uses_real_images(settings: Any) -> bool:
    """Whether a drawn image uses a real one: it resembles it, or has its caption."""
    return resembles_real_images(settings) or bool(settings.captions.source != "none")


def _refreshes(settings: Any) -> bool:
    return bool(settings.gap.measure or settings.compare.has_arm_with("refresh", "refresh_every"))


class DrawSettings(Section):
    """How many images are drawn, and how."""

    per_class: int | None = setting(None, ge=1)
    """Images per class; if not set, `draw.times` and `draw.min_per_class` decide."""
    times: float = setting(1.0, gt=0, le=10_000, needs=_COUNTED)
    """Synthetic images per real train image; classes are as frequent as in the train split."""
    min_per_class: int = setting(100, ge=1, needs=_COUNTED)
    """Minimum number of images per class, whatever `draw.times` says."""
    of_classes: dict[str, Annotated[int, Field(ge=1, strict=True)]] = setting({})
    """Images of single classes, by name, in place of what the settings above give: `{scratch: 500}`."""
    prompt: str = setting("a photo of {class}", decides="pixels", needs=_DRAWS)
    """Prompt for drawing: a template, the name of a template set, or a file of templates, as for
    `adapt.prompt`."""
    negative_prompt: str = setting("", decides="pixels", needs=_DRAWS)
    """Negative prompt, in the same forms; needs a guidance scale above 1. FLUX.1 dev takes none."""
    sampler: str = setting("unipc", decides="pixels", registry="generators.samplers:SAMPLERS", needs=_DRAWS)
    """Solver of the diffusion process; see `understudy list samplers`."""
    steps: int = setting(20, ge=1, decides="pixels", needs=_DRAWS)
    """Solver steps from pure noise to the image. If drawing starts from a real image, only the last steps are
    taken."""
    guidance_scale: float = setting(1.0, ge=1, decides="pixels", needs=_DRAWS)
    """Classifier-free guidance. 1 means none, which takes half the time and gives the most varied images.
    FLUX.1 dev was distilled from guidance: it takes the scale as an input, at no cost in time."""
    strength: _Strength | Annotated[tuple[_Strength, ...], Field(min_length=1)] = setting(
        1.0, decides="pixels", expects="above 0 and at most 1, or a list of such numbers"
    )
    """Noise added to the real image that drawing starts from: 1 is pure noise, 0.3 stays close to it. With a
    list, such as [0.3, 0.5, 0.75, 1], equal shares of the images of each class have each strength."""
    start_snr: float | None = setting(None, gt=0, decides="pixels")
    """Signal-to-noise ratio at which drawing from a real image starts: the same as `draw.strength`, but in a
    unit that does not depend on the noise schedule. Set only one of the two."""
    exemplar_weight: float = setting(0.0, ge=0, le=100, decides="pixels", needs=_DRAWS)
    """Guidance by exemplars: how far a guided step moves the predicted image towards the features of a real
    image of its class. The unit is the standard deviation of the latents at pure noise, and steps become
    smaller as noise falls; 0 is no guidance. Needs a generator with an image encoder."""
    exemplars: int | None = setting(None, ge=1, decides="pixels", needs=_GUIDED)
    """Real images per class that serve as exemplars, all equally often; all train images if not set."""
    exemplar_every: int = setting(2, ge=1, decides="pixels", needs=_GUIDED)
    """Steps from one guided step to the next, beginning with the first."""
    noise_scale: float = setting(1.0, ge=0.5, le=2, decides="pixels", needs=_DRAWS)
    """Standard deviation of the noise that drawing starts from. Above 1, images are more varied; below 1,
    more typical. Not possible if drawing starts from real images."""
    members: int = setting(1, ge=1, le=100)
    """Number of generators, adapted with different seeds, that draw equal shares of the images."""
    refresh_times: float = setting(
        10.0,
        ge=1,
        needs=Need("compare.arms", "an arm refreshes its images, or the gap is measured", _refreshes),
    )
    """For arms that refresh their images: how many images are drawn at most, in multiples of the number in
    use at the same time. After that, the oldest images are used again."""
    allocation: Literal["as-real", "weak-classes"] = setting("as-real")
    """How images are divided among classes: `as-real`, as set above; `weak-classes`, the same total, but more
    for classes that a classifier trained on synthetic images confuses on validation images."""
    pairing: Literal["paired", "random"] = setting(
        "paired",
        decides="pixels",
        needs=(
            Need(
                "draw.strength",
                "drawing starts from real images, or uses exemplars, captions or `per-image` features",
                _uses_real_images,
            ),
            _DRAWS,
        ),
    )
    """Whether the start, caption, feature and exemplar of a drawn image come from one real image (`paired`),
    or each from any image of the class (`random`). With `draw.exemplars`, exemplars have an order of their
    own."""
    adapter_scale: float = setting(
        1.0,
        gt=0,
        le=1,
        decides="pixels",
        needs=(
            unless("adapt.method", "none", "style-inversion", "textual-inversion", "neutral-token"),
            _DRAWS,
        ),
    )
    """Share of the adaptation that is applied; 1 applies all of it."""
    precision: Literal["auto", "float32", "bfloat16"] = setting(
        "auto", decides="pixels", needs=(when("generator.precision", "float32"), _DRAWS)
    )
    """Number format of matrix products while drawing; weights and sums stay in float32. `auto` is bfloat16 on
    devices that are faster with it (processors with AMX, NVIDIA GPUs since 2020), else float32. Every drawn
    image names its format. `float32` draws the same images on all devices, up to rounding."""
    part_size: int = setting(256, ge=1)
    """Images per part, the unit in which images are drawn, stored and resumed; fixed once a run has begun."""
    batch_size: int = setting(128, ge=1, decides="nothing")
    """Images drawn at once; half as many each time a GPU runs out of memory."""

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        weakest = min(self.strengths)
        if int(self.steps * weakest) < 1:
            raise ValueError(
                f"strength {weakest} of {self.steps} steps leaves no step to execute: raise one of them"
            )
        if self.strength != 1 and self.start_snr is not None:
            raise ValueError(
                f"strength and start_snr set the same thing, got {self.strength} and {self.start_snr}: leave "
                "one out, or set strength=1"
            )
        if self.noise_scale != 1 and self.starts_from_real:
            raise ValueError(
                f"noise_scale {self.noise_scale} has no effect on drawing that starts from real images: "
                "leave it out"
            )
        if self.negative_prompt and self.guidance_scale == 1:
            raise ValueError(
                "negative_prompt has no effect at guidance_scale 1: set draw.negative_prompt=\"''\" or "
                "raise the guidance"
            )
        return self

    @property
    def starts_from_real(self) -> bool:
        """Whether drawing starts from noised real images."""
        return min(self.strengths) < 1 or self.start_snr is not None

    @property
    def strengths(self) -> tuple[float, ...]:
        """The strengths that images have, in equal shares."""
        return self.strength if isinstance(self.strength, tuple) else (self.strength,)

    @property
    def mean_strength(self) -> float:
        """The mean of :attr:`strengths`; drawing takes time in proportion to it."""
        return sum(self.strengths) / len(self.strengths)

    @classmethod
    def idle_for_ready_made(cls) -> dict[str, Any]:
        """The settings that have no effect on ready-made images, with their defaults."""
        names = [name for name, field in cls.model_fields.items() if _DRAWS in facts_of(field).needs]
        return {name: cls.model_fields[name].default for name in (*names, "strength", "start_snr", "members")}
