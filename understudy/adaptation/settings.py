"""How the generator is adapted to the real images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from understudy.core.config import Section, setting, unless, when

TOKEN_METHODS = ("style-inversion", "textual-inversion", "neutral-token")
"""Methods that add tokens to the vocabulary of the text encoder."""

DRAWN_FORMS = ("moments", "drawn")
"""Forms of the distribution term that compare images drawn by the generator."""
FEATURE_FORMS = ("kernel", "covariance", "drawn")
"""Forms of the distribution term that compare features of images."""
GENERATOR = "generator"
"""Name of the generator's own image encoder."""

_ADAPTS = unless("adapt.method", "none")
_NEW_ADAPTER = when("adapt.adapter", None)
# neutral-token trains nothing, but measures the validation loss
_MEASURES = (_ADAPTS, _NEW_ADAPTER)
_TRAINS = (unless("adapt.method", "none", "neutral-token"), _NEW_ADAPTER)
_LORA = (when("adapt.method", "lora"), _NEW_ADAPTER)
_TOKEN = when("adapt.method", *TOKEN_METHODS)


class AdaptSettings(Section):
    """How the generator is adapted to the real images."""

    method: str = setting("full", decides="pixels", registry="adaptation.methods:METHODS")
    """What is trained; see `understudy list adaptations`. `none` uses the generator as it is."""
    adapter: Path | None = setting(None, decides="pixels", needs=_ADAPTS)
    """Folder of an adapter made earlier for the same generator. It is used unchanged, instead of adapting."""
    prompt: str = setting("a photo of {class}", decides="pixels", needs=_MEASURES)
    """Prompt for each real image: a template, the name of a template set (`understudy list templates`), or a
    file with one template per line. `{class}` stands for the class name, `{caption}` for the image's caption,
    `{token}` for the learned token."""
    steps: int = setting(600, ge=1, decides="pixels", needs=_TRAINS)
    """Optimisation steps."""
    until: Literal["steps", "plateau"] = setting("steps", decides="pixels", needs=_TRAINS)
    """When adaptation ends: after `adapt.steps`, or at the first plateau after them. At a plateau, the second
    half of all steps has lowered the loss on validation images by less than 1%."""
    max_steps: int | None = setting(
        None, ge=1, decides="pixels", needs=(*_TRAINS, when("adapt.until", "plateau"))
    )
    """Most steps until a plateau, at least `adapt.steps`; five times as many if not set. `preview` assumes
    all of them."""
    batch_size: int = setting(32, ge=1, decides="pixels", needs=_MEASURES)
    """Images per step, over all processes together."""
    micro_batch: int | None = setting(None, ge=1, decides="nothing", needs=_MEASURES)
    """Images that a process computes at once; fewer need less memory and give the same result, because
    gradients are accumulated. If not set, the process's whole share of the batch. Half as many each time a
    GPU runs out of memory."""
    learning_rate: float = setting(5e-4, gt=0, decides="pixels", needs=_TRAINS)
    """Learning rate of AdamW, constant after a short warm-up."""
    rank: int = setting(16, ge=1, decides="pixels", needs=_LORA)
    """Rank of the low-rank update."""
    alpha: float | None = setting(None, gt=0, decides="pixels", needs=_LORA)
    """The low-rank update is scaled by alpha / rank; equal to the rank if not set."""
    targets: tuple[str, ...] = setting(("attention", "convolutions"), decides="pixels", needs=_LORA)
    """Layers with a low-rank update: `attention`, `convolutions`, or endings of module names."""
    token: str = setting("S*", pattern=r"^[^\s{}]+$", decides="pixels", needs=_TOKEN)
    """Name of the learned token. It must be new to the tokenizer and not part of a class name. With
    `textual-inversion`, the number of the class follows: `S*-0`, `S*-1` and so on."""
    num_vectors: int = setting(1, ge=1, decides="pixels", needs=(_TOKEN, _NEW_ADAPTER))
    """Number of embeddings of each learned token; each takes one place in the prompt. With more than one, the
    tokenizer must not change the token's name; `s*` works."""
    initial_word: str = setting("photo", decides="pixels", needs=(_TOKEN, _NEW_ADAPTER))
    """The learned embeddings start from the embedding of this word (the mean if it has several tokens)."""
    min_snr_gamma: float | None = setting(5.0, gt=0, decides="pixels", needs=_MEASURES)
    """Loss weight min(snr, gamma) / snr (Hang et al. 2023). If null, all timesteps have the same weight."""
    distribution: str = setting("none", decides="pixels", registry="adaptation.terms:TERMS", needs=_TRAINS)
    """Form of the distribution term added to the loss; see `understudy list terms`."""
    distribution_weight: float | None = setting(
        None, gt=0, decides="pixels", needs=(*_TRAINS, unless("adapt.distribution", "none"))
    )
    """Weight of the distribution term; each form has a default."""
    distribution_encoders: tuple[str, ...] = setting(
        (GENERATOR,),
        decides="pixels",
        min_length=1,
        needs=(*_TRAINS, when("adapt.distribution", *FEATURE_FORMS)),
    )
    """Networks whose features the distribution term compares; the term is the mean over them, each with
    bandwidths or moments of its own. Names as for `fidelity.encoder`, but not `auto`: `generator` is the
    generator's image encoder, `backbone` the network that arms start from."""
    distribution_steps: int = setting(
        100, ge=1, decides="pixels", needs=(*_TRAINS, when("adapt.distribution", *DRAWN_FORMS))
    )
    """Number of steps with the distribution term, at the end of `adapt.steps`, for forms that compare drawn
    images: they cost much, and need a generator that draws the classes already. With `adapt.until=plateau`,
    all steps after `adapt.steps` have it too."""
    drawn_images: int = setting(
        64, ge=2, decides="pixels", needs=(*_TRAINS, when("adapt.distribution", *DRAWN_FORMS))
    )
    """Images drawn at each of these steps, from `adapt.classes_per_batch` classes."""
    drawn_steps: int = setting(
        10, ge=2, decides="pixels", needs=(*_TRAINS, when("adapt.distribution", *DRAWN_FORMS))
    )
    """Solver steps from noise to each of these images; gradients flow through the last two."""
    classes_per_batch: int = setting(
        4,
        ge=1,
        decides="pixels",
        needs=(
            unless("adapt.method", "none", *TOKEN_METHODS),
            _NEW_ADAPTER,
            when("adapt.distribution", "class-mean", "kernel", "covariance", *DRAWN_FORMS),
        ),
    )
    """Classes in a batch, for forms of the distribution term that compare images of the same class; for
    `moments` and `drawn`, classes of the drawn images."""
    caption_dropout: float = setting(0.1, ge=0, lt=1, decides="pixels", needs=_TRAINS)
    """Share of prompts replaced by the empty prompt, which keeps classifier-free guidance working."""
    ema_length: float | None = setting(None, gt=0, le=0.25, decides="pixels", needs=_TRAINS)
    """Width of the average of the weights that is kept as the result, as a share of all steps so far: an
    average with a power profile (Karras et al. 2024, arXiv:2312.02696), usually 0.05 to 0.15. If not set, a
    moving average with `adapt.ema_decay`."""
    ema_decay: float = setting(
        0.99, ge=0, lt=1, decides="pixels", needs=(*_TRAINS, when("adapt.ema_length", None))
    )
    """Decay per step of the moving average of the weights, which is kept as the result. 0 keeps the last
    weights."""
    augmentation: Literal["affine", "flip-crop", "flip", "none"] = setting(
        "affine", decides="pixels", needs=_TRAINS
    )
    """Augmentation of the real images while adapting: `affine` shifts, rotates and scales a little;
    `flip-crop` mirrors and shifts, for natural images; `flip` only mirrors."""
    augmentation_probability: float | None = setting(
        None,
        gt=0,
        le=1,
        decides="pixels",
        needs=(
            *_TRAINS,
            when("generator.name", "class_conditional"),
            unless("adapt.augmentation", "none"),
        ),
    )
    """Probability of each change that `adapt.augmentation` makes to an image; mirroring keeps a probability
    of one half, so with `flip` every value does the same. The network is conditioned on the changes and draws
    images without them (Karras et al. 2022, arXiv:2206.00364, appendix F.2). If not set, every image is
    changed, without conditioning, and drawn images are changed in the same way."""
    crop: Literal["centre", "random"] = setting("centre", decides="pixels", needs=_TRAINS)
    """Which square of an image that is not square is shown: the central one, or another one at every step.
    The shorter side is resized to the generator's resolution. Validation uses the central square."""
    latents: Literal["mean", "sample"] = setting(
        "mean", decides="pixels", needs=(*_TRAINS, unless("generator.name", "class_conditional"))
    )
    """What the autoencoder makes of a real image: the mean of its posterior, which can be computed once and
    kept, or a new sample at every step. Validation uses the mean."""
    validate_every: int = setting(100, ge=1, decides="pixels", needs=_TRAINS)
    """Steps between measurements of the loss on real validation images."""
    keep: Literal["best", "last"] = setting(
        "best", decides="pixels", needs=(*_TRAINS, unless("adapt.distribution", *DRAWN_FORMS))
    )
    """Which weights are the result: those with the lowest loss on validation images, or the last ones. Either
    way they are the running average of `adapt.ema_length` or `adapt.ema_decay`. With `moments` and `drawn`,
    always the last ones: the denoising loss does not measure what these forms improve."""
    validation_pairs: int = setting(512, ge=1, decides="pixels", needs=_MEASURES)
    """Number of pairs of image and timestep in each of these measurements."""
    checkpoint_every: int = setting(100, ge=1, decides="nothing", needs=_TRAINS)
    """Steps between checkpoints, from which an interrupted run continues. If steps are slow, one is also
    written after the first minute, and whenever ten minutes have passed without one."""

    @model_validator(mode="after")
    def _most_steps_are_not_fewer(self) -> Self:
        if self.until == "plateau" and self.max_steps is not None and self.max_steps < self.steps:
            raise ValueError(
                f"max_steps must be at least adapt.steps, the fewest steps, which is {self.steps}, got "
                f"{self.max_steps}: raise it, or lower adapt.steps"
            )
        return self

    @model_validator(mode="after")
    def _encoders_are_named_once(self) -> Self:
        names = self.distribution_encoders
        if "auto" in names or len(set(names)) < len(names):
            raise ValueError(
                f"distribution_encoders must name each encoder once, and not as 'auto', got "
                f"{', '.join(names)}: see understudy list encoders"
            )
        return self

    @property
    def has_token(self) -> bool:
        """Whether the method adds a token to the vocabulary, so that prompts must contain ``{token}``."""
        return self.method in TOKEN_METHODS

    @property
    def needs_class(self) -> bool:
        """Whether prompts must contain ``{class}``, which they need not if each class has a token."""
        return self.method != "textual-inversion"

    @property
    def num_steps(self) -> int:
        """Most optimisation steps that the method takes; 0 if it trains nothing."""
        if self.method in ("neutral-token", "none"):
            return 0
        return self.steps if self.until == "steps" else self.max_steps or 5 * self.steps

    @property
    def compares_features(self) -> bool:
        """Whether the adaptation compares features of images."""
        return self.distribution in FEATURE_FORMS

    @property
    def needs_image_encoder(self) -> bool:
        """Whether the adaptation uses the image encoder of the generator."""
        return self.compares_features and GENERATOR in self.distribution_encoders

    @property
    def further_encoders(self) -> tuple[str, ...]:
        """Encoders besides that of the generator whose features the adaptation compares."""
        names = self.distribution_encoders if self.compares_features else ()
        return tuple(name for name in names if name != GENERATOR)

    @property
    def keeps_last(self) -> bool:
        """Whether the last weights are the result."""
        return self.keep == "last" or self.distribution in DRAWN_FORMS

    @property
    def conditions_on_augmentation(self) -> bool:
        """Whether the generator is conditioned on the augmentation of each image."""
        return self.augmentation_probability is not None and self.augmentation != "none"

    def draws_at(self, step: int) -> bool:
        """Whether step ``step``, from 0, compares drawn images."""
        return self.distribution in DRAWN_FORMS and step >= self.steps - self.distribution_steps

    def tokens(self, num_classes: int) -> tuple[str, ...]:
        """What ``{token}`` stands for in the prompts of each class; empty if the method has no token."""
        if self.method == "textual-inversion":
            return tuple(f"{self.token}-{label}" for label in range(num_classes))
        return (self.token if self.has_token else "",) * num_classes
